"""predict --submission: a file for the server, complete or said not to be, and never called a score."""

import json
from pathlib import Path

import pytest
import torch
from made_videos import write_video
from miniatures import TINY, keys, make_ssv2

from slowfast_gta import build_model, load_config
from slowfast_gta.commands import run_command


@pytest.fixture
def run(tmp_path):
    data = make_ssv2(tmp_path / "ssv2", 2, 2)
    words = keys(*TINY, "DATA.PATH_TO_DATA_DIR", data, "NUM_GPUS", 0, "TEST.NUM_SPATIAL_CROPS", 1)
    cfg = load_config("configs/SSv2/R2D50.yaml", words)
    torch.save({"model_state": build_model(cfg).state_dict()}, tmp_path / "weights.pyth")
    command = ["--weights", str(tmp_path / "weights.pyth"), "--submission", str(tmp_path / "out"), "--json"]
    return data, [*command, "--cfg", "configs/SSv2/R2D50.yaml", *words]


def test_the_test_list_is_answered(run, capsys):
    data, command = run
    write_video(data / "20bn-something-something-v2" / "9000.webm", 12)
    assert run_command("predict", command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["scored"], answer["num_videos"], answer["missing"]) == (False, 1, {})
    (line,) = Path(answer["files"][0]).read_text().splitlines()
    assert line.startswith("9000;") and sorted(line.split(";")[1:]) == ["0", "1", "2"]


def test_a_missing_video_makes_it_incomplete(run, capsys):
    data, command = run
    write_video(data / "20bn-something-something-v2" / "9000.webm", 12)
    (data / "something-something-v2-test.json").write_text('[{"id": "9000"}, {"id": "9001"}]')
    assert run_command("predict", command) == 1
    assert list(json.loads(capsys.readouterr().out)["missing"]) == ["9001"]


def test_no_video_at_all_and_both_ways_at_once_are_refused(run, tmp_path):
    _, command = run
    assert run_command("predict", command) == 1
    assert not (tmp_path / "out").exists()
    assert run_command("predict", [*command[:2], *command[5:]]) == 2


def test_a_file_at_the_folder_s_path_is_refused_before_any_video_is_read(run, tmp_path, capsys):
    _, command = run  # whose only test video is missing, which would be the answer otherwise
    (tmp_path / "out").write_text("mine")
    assert run_command("predict", command) == 1
    assert f"{tmp_path / 'out'} is not a folder" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_weights_may_be_the_folder_of_a_run(run, tmp_path, capsys):
    _, command = run
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    words = [*command[4:], "--weights", str(tmp_path / "run"), str(write_video(tmp_path / "a.webm", 12))]
    assert run_command("predict", words) == 1
    (tmp_path / "weights.pyth").rename(folder / "checkpoint_epoch_00002.pyth")
    (folder / "checkpoint_epoch_00001.pyth").write_bytes(b"an older one")
    assert run_command("predict", words) == 0
    assert len(json.loads(capsys.readouterr().out)[0]["top5"]) == 3


@pytest.mark.parametrize("words", [["--topk", "3"], ["--format", "csv"], ["--windows"], ["--output", "a.csv"]])
def test_flags_that_a_submission_cannot_follow_are_refused(run, tmp_path, capsys, words):
    _, command = run
    assert run_command("predict", [*command, *words]) == 2
    assert words[0] in capsys.readouterr().err and not (tmp_path / "out").exists()
