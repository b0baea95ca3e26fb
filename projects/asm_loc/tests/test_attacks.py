"""Packs, annotations and manifests that attack: refused in a sentence, whatever is in them; nothing runs or swells."""

import numpy as np
import pytest
from asm_loc.annotations import read_activitynet_json
from asm_loc.datasets import ANNOTATION_ARRAYS, wtalc_pack
from asm_loc.features import ExtractedFeatures, ObjectArrayFeatures

from slowfast_gta.errors import DataError


def doubled(levels: int = 14) -> list:
    """Lists of ten times the list before: a few bytes that stand for 10 ** 14 letters."""
    content = ["x"]
    for _ in range(levels):
        content = [content] * 10
    return content


def objects(*items: object) -> np.ndarray:
    array = np.empty(len(items), object)
    for number, item in enumerate(items):
        array[number] = item
    return array


ENTRIES = {
    "brackets": "[" * 100_000,
    "a number of 5000 digits": '{"database": {"v": {"annotations": [{"label": "a", "segment": [1, %s]}]}}}'
    % ("9" * 5000),
    "a number of 400 digits": '{"database": {"v": {"annotations": [{"label": "a", "segment": [1, %s]}]}}}'
    % ("9" * 400),
    "no numbers": '{"database": {"v": {"annotations": [{"label": "a", "segment": [NaN, Infinity]}]}}}',
    "letters for times": '{"database": {"v": {"annotations": [{"label": "a", "segment": "ab"}]}}}',
    "a number for all": '{"database": {"v": {"annotations": 3}}}',
}


@pytest.mark.parametrize("name", ENTRIES)
def test_annotations(tmp_path, name):
    (tmp_path / "gt.json").write_text(ENTRIES[name])
    with pytest.raises(DataError, match=r"gt\.json"):
        read_activitynet_json(tmp_path / "gt.json")


RECORDS = {
    "a byte 0": ('{"video": "a", "file": "a\\u0000.npz"}', "outside"),
    "half a letter": ('{"video": "a", "file": "\\ud800.npz"}', "outside"),
    "out of the folder": ('{"video": "a", "file": "../a.npy"}', "outside"),
    "another file": ('{"video": "a", "file": "/etc/passwd"}', "outside"),
    "the folder": ('{"video": "a", "file": "."}', "not a complete file"),
    "a long number": ('{"video": "a", "file": "a.npy", "fps": %s}' % ("9" * 5000), "damaged"),
    "brackets": ("[" * 100_000, "damaged"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_manifests(tmp_path, name):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    content, word = RECORDS[name]
    (tmp_path / "manifest.jsonl").write_text(content + "\n")
    with pytest.raises(DataError, match=rf"\b{word}\b"):
        ExtractedFeatures(tmp_path).load("a")


def test_a_list_in_the_place_of_features(tmp_path):
    np.save(tmp_path / "x.npy", objects(doubled(), np.zeros((2, 3))), allow_pickle=True)
    source = ObjectArrayFeatures(tmp_path / "x.npy", ["a", "b"], 1.0)
    with pytest.raises(DataError, match="list"):
        source.load("a")
    assert source.load("b").rows.shape == (2, 3)


GOOD = {
    "classlist": objects(b"run"),
    "videoname": objects(b"v"),
    "subset": objects(b"test"),
    "labels": objects([b"run"]),
    "labels_all": objects([b"run"]),
    "segments": objects([[1.0, 2.0]]),
}
CHANGES = {
    "labels": {
        "of letters": objects([doubled(6)]),
        "a number": objects(3),
        "no axis": np.array(3),
        "no text": objects([b"\xff"]),
    },
    "segments": {
        "that swell": objects([doubled(6)]),
        "a number": objects(3),
        "a long time": objects([[0, doubled(6)]]),
    },
    "labels_all": {"that swell": objects([doubled(6)]), "none": objects(None), "no text": objects([b"\xff"])},
    "videoname": {"that swells": objects(doubled()), "no text": objects(b"\xff")},
    "subset": {"no axis": np.array("test")},
}


@pytest.mark.parametrize(("array", "change"), [(array, name) for array, names in CHANGES.items() for name in names])
def test_annotation_arrays(tmp_path, array, change):
    assert set(GOOD) == set(ANNOTATION_ARRAYS)
    for name, content in (GOOD | {array: CHANGES[array][change]}).items():
        np.save(tmp_path / f"{name}.npy", content, allow_pickle=True)
    np.save(tmp_path / "x.npy", objects(np.zeros((2, 3))), allow_pickle=True)
    with pytest.raises(DataError, match=rf"\b{array}\.npy\b") as caught:
        wtalc_pack(tmp_path / "x.npy", tmp_path, 1.0, {"test": "test"})
    assert len(str(caught.value)) < 1000, "what a list stands for is not printed"


def test_good_annotation_arrays_are_read(tmp_path):
    for name, content in GOOD.items():
        np.save(tmp_path / f"{name}.npy", content, allow_pickle=True)
    np.save(tmp_path / "x.npy", objects(np.zeros((2, 3))), allow_pickle=True)
    (video,) = wtalc_pack(tmp_path / "x.npy", tmp_path, 1.0, {"test": "test"})["test"].videos
    assert (video.video, video.labels) == ("v", ("run",))
