"""Data sets: the published layouts become records, and every fault of a list is a sentence with its place."""

import json
from pathlib import Path

import pytest

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.kinetics import Kinetics
from slowfast_gta.datasets.records import VideoDataset, VideoRecord
from slowfast_gta.datasets.something import SSv1, SSv2
from slowfast_gta.errors import ConfigError, DataError

CLASSES = [
    "Pulling something from left to right",
    "Closing something",
    "Turning leftover food upright",
    "Moving something to the Right",
    "Opening something",
]


def _template(name: str) -> str:
    return name.replace("something", "[something]")


def _write_ssv2(root: Path, newer: bool = False) -> Path:
    """The json files of v2 and its video folder; in the newer layout the files are labels/train.json, ..."""
    (root / "20bn-something-something-v2").mkdir(parents=True)
    (root / "labels").mkdir()
    listing = [
        {
            "id": str(78687 + n),
            "label": "closing a box",
            "template": _template(CLASSES[n % 5]),
            "placeholders": ["a box"],
        }
        for n in range(7)
    ]
    contents = {
        "labels": {name: str(CLASSES.index(name)) for name in sorted(CLASSES)},
        "train": listing[:5],
        "validation": listing[5:],
        "test": [{"id": "1420"}],
    }
    for word, content in contents.items():
        name = f"labels/{word}.json" if newer else f"something-something-v2-{word}.json"
        (root / name).write_text(json.dumps(content))
    return root


def _write_ssv1(root: Path) -> Path:
    (root / "20bn-something-something-v1").mkdir(parents=True)
    (root / "something-something-v1-labels.csv").write_text("\n".join(CLASSES) + "\n")
    (root / "something-something-v1-train.csv").write_text(f"100218;{CLASSES[3]}\n24413;{CLASSES[1]}\n")
    (root / "something-something-v1-validation.csv").write_text(f"7;{CLASSES[0]}\n")
    (root / "something-something-v1-test.csv").write_text("8\n")
    return root


@pytest.mark.parametrize("newer", [False, True])
def test_ssv2_as_published(tmp_path, newer):
    dataset = SSv2(_write_ssv2(tmp_path, newer))
    assert dataset.class_names() == CLASSES
    records = dataset.records("train")
    assert [record.label for record in records] == [0, 1, 2, 3, 4]
    assert records[1] == VideoRecord(str(tmp_path / "20bn-something-something-v2/78688.webm"), 1, "78688")
    assert [record.video_id for record in dataset.records("val")] == ["78692", "78693"]


def test_a_test_split_without_labels_becomes_the_validation_split_with_a_warning(tmp_path, caplog):
    caplog.set_level("INFO")
    dataset = SSv2(_write_ssv2(tmp_path))
    assert dataset.records("test") == dataset.records("val")
    assert "SSv2" in caplog.text and "test list has no labels" in caplog.text


def test_videos_may_be_elsewhere(tmp_path):
    (tmp_path / "videos").mkdir()
    dataset = SSv2(_write_ssv2(tmp_path / "lists"), tmp_path / "videos")
    assert dataset.records("train")[0].path == str(tmp_path / "videos" / "78687.webm")


def test_direction_words_are_whole_words_in_any_case(tmp_path):
    assert SSv2(_write_ssv2(tmp_path)).mirror_labels() == [None, 1, 2, None, 4]
    assert Kinetics(tmp_path, num_classes=2).mirror_labels() == [0, 1]


def test_ssv1_as_published(tmp_path):
    dataset = SSv1(_write_ssv1(tmp_path))
    assert dataset.class_names() == CLASSES
    assert dataset.records("train") == [
        VideoRecord(str(tmp_path / "20bn-something-something-v1/100218"), 3, "100218"),
        VideoRecord(str(tmp_path / "20bn-something-something-v1/24413"), 1, "24413"),
    ]
    assert dataset.records("test") == dataset.records("val")


def test_ssv1_labels_in_alphabetical_order(tmp_path):
    dataset = SSv1(_write_ssv1(tmp_path), label_order="alphabetical")
    assert dataset.class_names() == sorted(CLASSES)
    assert [record.label for record in dataset.records("train")] == [1, 0]
    assert dataset.mirror_labels() == [0, None, 2, None, 4]


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_kinetics_lists(tmp_path, separator):
    lines = [("a/b c.mp4", "3"), ("/abs/d.mp4", "120", "0"), ("e f 1.mp4", "2")]
    (tmp_path / "train.csv").write_text("\n".join(separator.join(line) for line in lines) + "\n\n")
    records = Kinetics(tmp_path, num_classes=4, separator=separator).records("train")
    assert records == [
        VideoRecord(str(tmp_path / "a/b c.mp4"), 3, "a/b c.mp4"),
        VideoRecord("/abs/d.mp4", 0, "/abs/d.mp4", 120),
        VideoRecord(str(tmp_path / "e f 1.mp4"), 2, "e f 1.mp4"),
    ]


def test_kinetics_class_names(tmp_path):
    assert Kinetics(tmp_path, num_classes=2).class_names() == ["class 0", "class 1"]
    (tmp_path / "classes.txt").write_text("abseiling\nair drumming\nzumba\n")
    assert Kinetics(tmp_path, num_classes=2).class_names() == ["abseiling", "air drumming", "zumba"]


def _spoil_ssv2(root: Path, word: str, content) -> SSv2:
    text = content if isinstance(content, str) else json.dumps(content)
    (root / f"something-something-v2-{word}.json").write_text(text)
    return SSv2(root)


CLOSING = {"id": "1", "template": "Closing [something]"}


@pytest.mark.parametrize(
    ("word", "content", "message"),
    [
        ("train", "[\n{,\n]", r"train\.json:2: not valid JSON"),
        ("train", {"a": 1}, "must be a JSON list"),
        ("train", [], "the list is empty"),
        ("train", [CLOSING, CLOSING], r"entry 1: the video id '1' was already given at .*entry 0"),
        ("train", [{"id": "1"}], 'entry 0: an entry must be an object with "id" and "template"'),
        ("train", ["1"], "entry 0: an entry must be an object"),
        (
            "train",
            [CLOSING, {"id": "9", "template": "Closng [something]"}],
            r"entry 1 \(id 9\): the label 'Closng something' is not one of .*\(5\).* nearest is 'Closing something'",
        ),
        ("labels", {"Closing something": "1"}, "must be the numbers from 0 on"),
        ("labels", {"Closing something": "one"}, "every class must have a number"),
        ("labels", {}, "must be the numbers from 0 on"),
    ],
)
def test_faults_of_ssv2_files(tmp_path, word, content, message):
    dataset = _spoil_ssv2(_write_ssv2(tmp_path), word, content)
    with pytest.raises(DataError, match=message) as caught:
        dataset.records("train")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3", r"train\.csv:2: a line must be 'id;label'"),
        ("3;Closing something;x", r"train\.csv:2: the label 'Closing something;x' is not one of .*\(5\)"),
        ("24413;Closing something", r"train\.csv:2: the video id '24413' was already given at .*train\.csv:1"),
    ],
)
def test_faults_of_ssv1_files(tmp_path, line, message):
    root = _write_ssv1(tmp_path)
    (root / "something-something-v1-train.csv").write_text(f"24413;Closing something\n{line}\n")
    with pytest.raises(DataError, match=message):
        SSv1(root).records("train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.mp4", r"val\.csv:2: a line must be 'path label' with a number as label; it is 'b\.mp4'"),
        ("b.mp4,1", r"val\.csv:2: the label is preceded by a comma, but at .*val\.csv:1 by a space"),
        ("b.mp4 x", "with a number as label"),
        ("b\0.mp4 1", r"val\.csv:2: the text contains a byte 0"),
        ("b.mp4 4", r"val\.csv:2: the label 4 is outside 0\.\.3"),
        ("b.mp4 -1", r"the label -1 is outside 0\.\.3"),
        ("a.mp4 2", r"val\.csv:2: the video id 'a\.mp4' was already given at .*val\.csv:1"),
    ],
)
def test_faults_of_kinetics_lists(tmp_path, line, message):
    (tmp_path / "val.csv").write_text(f"a.mp4 0\n{line}\n")
    with pytest.raises(DataError, match=message):
        Kinetics(tmp_path, num_classes=4).records("val")


@pytest.mark.parametrize("dataset", [SSv1, SSv2, Kinetics])
def test_wrong_folders(tmp_path, dataset):
    with pytest.raises(DataError, match=rf"{tmp_path / 'nowhere'}\b.*(no such file|does not exist)"):
        dataset(tmp_path / "nowhere").records("train")


def test_missing_video_folder_is_named(tmp_path):
    root = _write_ssv2(tmp_path)
    (root / "20bn-something-something-v2").rmdir()
    with pytest.raises(DataError, match=r"20bn-something-something-v2 .*\bDATA\.PATH_PREFIX\b"):
        SSv2(root).records("train")


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"a.mp4 0\nb\xff.mp4 1\n")
    with pytest.raises(DataError, match=r"train\.csv\b.*\bUTF-8\b.*\bbyte 9\b"):
        Kinetics(tmp_path).records("train")
    (tmp_path / "train.csv").write_bytes("﻿a.mp4 0\r\nb.mp4 1\r\n".encode())  # as Windows writes it
    assert [record.video_id for record in Kinetics(tmp_path).records("train")] == ["a.mp4", "b.mp4"]


def _config(root: Path, name: str, num_classes: int):
    cfg = get_defaults()
    cfg.DATA.PATH_TO_DATA_DIR = str(root)
    cfg.TRAIN.DATASET = cfg.TEST.DATASET = name
    cfg.MODEL.NUM_CLASSES = num_classes
    return cfg


def test_build_dataset(tmp_path):
    cfg = _config(_write_ssv1(tmp_path), "SSv1", 5)
    cfg.DATA.LABEL_ORDER = "alphabetical"
    assert build_dataset(cfg, "train").class_names() == sorted(CLASSES)
    cfg.TEST.DATASET = "Kinetics"
    assert isinstance(build_dataset(cfg, "test"), Kinetics)


def test_the_number_of_classes_must_be_the_models(tmp_path):
    with pytest.raises(ConfigError, match=r"MODEL\.NUM_CLASSES.*400,.*SSv2.*5"):
        build_dataset(_config(_write_ssv2(tmp_path), "SSv2", 400), "train")


def test_unknown_data_set_names_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"TRAIN\.DATASET.*Did you mean SSv2.*Kinetics"):
        build_dataset(_config(tmp_path, "SSv3", 5), "val")


def test_the_base_class_has_no_pairs(tmp_path):
    assert VideoDataset(tmp_path).reversed_pairs() == []
