"""The lists of any data set, written for other codebases and read back."""

import re
from pathlib import Path

import pytest
from epic_miniature import TRAIN, VAL_100, make_epic, make_frames
from made_videos import write_frames, write_video
from miniatures import ROOT, make_ssv1, make_ssv2

from slowfast_gta.commands import run_command
from slowfast_gta.datasets.kinetics import Kinetics
from slowfast_gta.datasets.lists import read_frame_list
from slowfast_gta.datasets.something import SSv1, SSv2

CONFIGS = {name: str(ROOT / "configs" / name / "R2D50.yaml") for name in ("SSv1", "SSv2", "Kinetics")}


def lists(cfg: str, data: Path, output: Path, *words: object, classes: object = 3) -> int:
    keys = ["DATA.PATH_TO_DATA_DIR", data, "MODEL.NUM_CLASSES", classes, "--output", output]
    return run_command("prepare_data", ["lists", "--cfg", cfg, *map(str, keys), *map(str, words)])


def test_kinetics_lists_of_ssv2_are_read_back(ssv2, tmp_path, capsys):
    assert lists(CONFIGS["SSv2"], ssv2, tmp_path / "out") == 0
    assert f"{tmp_path / 'out' / 'train.csv'}: 12 videos\n" in capsys.readouterr().out
    theirs, ours = SSv2(ssv2), Kinetics(tmp_path / "out")
    assert ours.class_names() == theirs.class_names()
    for split in ("train", "val", "test"):
        found = [[(record.path, record.label) for record in one.records(split)] for one in (ours, theirs)]
        assert found[0] == found[1]


def test_tsms_lists_of_frames_are_read_back(tmp_path):
    data = make_ssv1(tmp_path / "ssv1", num_classes=3)
    assert lists(CONFIGS["SSv1"], data, tmp_path / "out", "--format", "tsm") == 0
    ours = Kinetics(tmp_path / "out").records("train")
    theirs = SSv1(data).records("train")
    assert [(record.path, record.label) for record in ours] == [(record.path, record.label) for record in theirs]
    assert [record.num_frames for record in ours] == [10, 11, 12, 13]


def test_frame_lists_of_ssv1(tmp_path):
    data = make_ssv1(tmp_path / "ssv1", num_classes=3)
    assert lists(CONFIGS["SSv1"], data, tmp_path / "out", "--format", "frames") == 0
    head, first, *_ = (tmp_path / "out" / "train.csv").read_text().splitlines()
    folder = data / "20bn-something-something-v1" / "1000"
    assert head == "original_vido_id video_id frame_id path labels"
    assert first == f'1000 0 0 {folder}/00001.jpg "0"'
    assert read_frame_list(tmp_path / "out" / "train.csv")["1003"] == (str(folder.with_name("1003")), (1, 13))


def test_parts_of_long_videos_are_frames_with_both_labels(tmp_path, capsys):
    data = make_epic(tmp_path / "epic", 100, TRAIN[1:], VAL_100)
    make_frames(data, "P02_101")
    make_frames(data, VAL_100[0]["video_id"])
    cfg = str(ROOT / "configs" / "EPIC" / "R2D50_TSM.yaml")
    assert lists(cfg, data, tmp_path / "out", classes=[3, 4]) == 1
    assert re.search(r"\bformat kinetics\b.*\bwhole videos\b.*\bone label\b", capsys.readouterr().err)
    assert not (tmp_path / "out" / "train.csv").exists()
    assert lists(cfg, data, tmp_path / "out", "--format", "frames", classes=[3, 4]) == 0
    lines = (tmp_path / "out" / "train.csv").read_text().splitlines()
    name = TRAIN[1]["narration_id"]
    assert lines[1].startswith(f"{name} 0 0 ") and lines[1].endswith('frame_0000000012.jpg "0,3"')
    assert len(lines) == 1 + 31


def test_files_have_no_frames_to_list(tmp_path, ssv2, capsys):
    assert lists(CONFIGS["SSv2"], ssv2, tmp_path / "out", "--format", "frames") == 1
    assert re.search(r"\b1000\.webm: this is a video file\b.*\bframes\b", capsys.readouterr().err)
    assert not list((tmp_path / "out").iterdir())


def test_videos_that_are_not_there_can_be_left_out(tmp_path, capsys):
    data = make_ssv2(tmp_path / "ssv2", num_train=3, num_val=3)
    (data / "20bn-something-something-v2" / "1001.webm").unlink()
    assert lists(CONFIGS["SSv2"], data, tmp_path / "out", "--skip-missing") == 0
    assert re.search(r"\btrain\.csv: 2 videos\b.*\bleft out\b.*\b1 video\b.*\b1001\.webm\b", capsys.readouterr().out)
    assert len(Kinetics(tmp_path / "out").records("train")) == 2


def test_lists_are_not_written_over(tmp_path, ssv2, capsys):
    assert lists(CONFIGS["SSv2"], ssv2, tmp_path) == 0
    assert lists(CONFIGS["SSv2"], ssv2, tmp_path) == 1
    assert re.search(r"\btrain\.csv\b.*\balready\b.* --output\b.* --overwrite\b", capsys.readouterr().err)
    assert lists(CONFIGS["SSv2"], ssv2, tmp_path, "--overwrite") == 0
    assert lists(CONFIGS["SSv2"], ssv2, ssv2, "--overwrite") == 1
    assert re.search(rf"{ssv2}\b.*\bDATA\.PATH_TO_DATA_DIR\b", capsys.readouterr().err)
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "lists"):
        assert lists(CONFIGS["SSv2"], ssv2, output) == 1
        assert re.search(
            rf"{tmp_path / 'file'}(/lists)?\. .*\balready exists\b.*\bOUTPUT_DIR\b", capsys.readouterr().err
        )


def test_class_folders_of_names_with_spaces(tmp_path):
    for name in ("long jump", "high jump"):
        (tmp_path / "my videos" / name).mkdir(parents=True)
        for number in range(3):
            write_video(tmp_path / "my videos" / name / f"{number}.webm", 3)
    assert lists(CONFIGS["Kinetics"], tmp_path / "my videos", tmp_path / "out", classes=2) == 0
    records = Kinetics(tmp_path / "out").records("train")
    assert len(records) == 2 and all(Path(record.path).is_file() for record in records)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--format", "xml"], 2, "invalid choice: 'xml'"),
        (["--flag"], 2, "there is no flag --flag"),
        ([str(ROOT / "configs/SSv1/R2D50.yaml")], 2, "takes one config, but --cfg names 2 files"),
        (["MODEL.NUM_CLASSES", "7"], 2, "MODEL.NUM_CLASSES is 7, but SSv2 has 3 classes"),
        (["DATA.PATH_TO_DATA_DIR", "/nowhere"], 1, "there is no such file"),
    ],
)
def test_wrong_use_is_refused(ssv2, tmp_path, capsys, words, code, message):
    try:
        found = lists(CONFIGS["SSv2"], ssv2, tmp_path / "out", *words)
    except SystemExit as stop:  # argparse's
        found = stop.code
    err = capsys.readouterr().err
    assert found == code and message in err and "Traceback" not in err


def test_names_with_spaces_cannot_be_in_a_list_of_frames(tmp_path, capsys):
    for name in ("a", "b"):
        for number in range(2):
            write_frames(tmp_path / "videos" / name / f"no {number}", 2)
    assert lists(CONFIGS["Kinetics"], tmp_path / "videos", tmp_path / "out", "--format", "frames", classes=2) == 1
    assert re.search(r"/no \d/00001\.jpg: .*\blist of frames\b.*\bspaces\b", capsys.readouterr().err)


def test_a_path_that_the_list_cannot_represent_is_refused(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for number in range(3):
            write_video(tmp_path / "videos" / name / f"{number}\n.webm", 3)
    assert lists(CONFIGS["Kinetics"], tmp_path / "videos", tmp_path / "out", classes=2) == 1
    assert re.search(r"/\d\\n\.webm\W+this path\b.*\blist\b", capsys.readouterr().err)
    assert not list((tmp_path / "out").glob("*.csv"))
