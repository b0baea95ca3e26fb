"""Faults of lists that would be found after a training, or never, are found before it."""

import re

import pytest
from made_videos import write_video
from miniatures import TINY, keys, make_ssv2

from slowfast_gta import load_config
from slowfast_gta.commands import run_command
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.loading.check import check_splits

SPLITS = ("train", "val", "test")


@pytest.fixture
def lists(tmp_path):
    """A folder of PySlowFast's lists, of four videos."""
    for number in range(4):
        write_video(tmp_path / f"{number}.mp4", 8 + number)
    for split in SPLITS:
        (tmp_path / f"{split}.csv").write_text("".join(f"{number}.mp4 {number % 2}\n" for number in range(4)))
    return tmp_path


def cfg_of(lists, num_classes=2):
    return load_config(
        "configs/Kinetics/R2D50.yaml", keys("DATA.PATH_TO_DATA_DIR", lists, "MODEL.NUM_CLASSES", num_classes)
    )


def test_sound_lists_pass(lists):
    check_splits(cfg_of(lists), SPLITS)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("content", [None, "", "0.mp4 7\n", "0.mp4 zero\n"])
def test_a_missing_or_wrong_list(lists, split, content):
    path = lists / f"{split}.csv"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=rf"{split}\.csv"):
        check_splits(cfg_of(lists), SPLITS)


@pytest.mark.parametrize("split", SPLITS)
def test_a_list_without_one_readable_video(lists, split):
    (lists / "empty.mp4").touch()
    (lists / f"{split}.csv").write_text("nowhere.mp4 0\nempty.mp4 1\n")
    with pytest.raises(DataError, match=rf"\bNo video of the split {split}\b.*\(of 2\)"):
        check_splits(cfg_of(lists), SPLITS)
    (lists / f"{split}.csv").write_text("nowhere.mp4 0\n3.mp4 1\n")
    check_splits(cfg_of(lists), SPLITS)


def test_one_class_only(lists):
    (lists / "train.csv").write_text("0.mp4 1\n1.mp4 1\n")
    with pytest.raises(DataError, match="label 1"):
        check_splits(cfg_of(lists), SPLITS)
    check_splits(cfg_of(lists), ["test"])


def test_far_more_classes_than_labels(lists, caplog):
    with pytest.raises(ConfigError, match=r"MODEL\.NUM_CLASSES is 400.*MODEL\.NUM_CLASSES 2"):
        check_splits(cfg_of(lists, 400), SPLITS)
    check_splits(cfg_of(lists, 400), ["test"])  # a network of 400 classes may be tested on videos of two
    (lists / "classes.txt").write_text("".join(f"name {label}\n" for label in range(400)))
    check_splits(cfg_of(lists, 400), SPLITS)
    assert re.search(r"\btraining video\b.*\b398 of 400 classes\b", caplog.text)


def test_quoted_fields_are_read_as_csv_does(lists):
    write_video(lists / "a, b.mp4", 9)
    (lists / "train.csv").write_text('"0.mp4",0\n"a, b.mp4","1"\n1.mp4,1\n')
    check_splits(cfg_of(lists), SPLITS)


def test_a_run_finds_it_before_its_first_step(tmp_path, capsys):
    data = make_ssv2(tmp_path / "ssv2", 4, 2)
    for path in (data / "20bn-something-something-v2").glob("100[45].webm"):
        path.write_bytes(b"")
    words = keys(*TINY, "DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", tmp_path / "out", "NUM_GPUS", 0)
    assert run_command("run_net", ["--cfg", "configs/SSv2/R2D50.yaml", *words]) == 1
    assert re.search(r"\bNo video of the split val\b.*\(of 2\)", capsys.readouterr().err)
    assert not list((tmp_path / "out").glob("checkpoints/*"))
