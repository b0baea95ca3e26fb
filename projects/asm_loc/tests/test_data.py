"""Annotations, features, packs: what is read, what is counted, and sentences for what is wrong."""

import json

import numpy as np
import pytest
from asm_loc.annotations import class_names, read_activitynet_json, read_csv
from asm_loc.datasets import acmnet_pack, for_training, join, split_off, wtalc_pack
from asm_loc.features import NpyFolders
from asm_loc.timeline import Timeline

from slowfast_gta.errors import ConfigError, DataError

TAU = 0.64


def entry(subset, *annotations):
    return {
        "subset": subset,
        "duration": 1.0,
        "annotations": [{"segment": [s, e], "label": n} for n, s, e in annotations],
    }


@pytest.fixture
def pack(tmp_path):
    """ACM-Net's layout; test_2 is annotated but neither listed nor on disk, as two videos of THUMOS-14 are."""
    database = {
        "train_0": entry("validation", ("Run", 1, 2), ("Jump", 3, 4), ("Run", 5, 6)),
        "train_1": entry("validation", ("Jump", 0, 2)),
        "test_0": entry("test", ("Jump", 1, 2)),
        "test_1": entry("test", ("Run", 1, 2), ("Run", 200, 300)),  # ends after "duration": not clipped
        "test_2": entry("test", ("Run", 1, 2), ("Jump", 3, 4), ("Jump", 5, 6)),
    }
    (tmp_path / "gt.json").write_text(json.dumps({"version": "1", "taxonomy": [], "database": database}))
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        names = [f"{split}_0", f"{split}_1"]
        (tmp_path / f"split_{split}.txt").write_text("\n".join(names) + "\n")
        for i, name in enumerate(names):
            np.save(tmp_path / split / f"{name}.npy", rng.standard_normal((10 + i, 8)))
    return tmp_path


SUBSETS = {"train": "validation", "test": "test"}


def test_acmnet_pack(pack):
    sets = acmnet_pack(pack, TAU, SUBSETS)
    train, test = sets["train"], sets["test"]
    assert train.classes == ["Jump", "Run"]
    assert [a.video for a in train.videos] == ["train_0", "train_1"]
    assert train.labels().tolist() == [[1, 1], [1, 0]]
    features = train.features(1)
    assert features.rows.shape == (11, 8)
    assert features.rows.dtype == np.float32
    assert features.timeline.end == pytest.approx(11 * TAU)
    assert test.truth()["test_1"].to_rows() == [[1, 1.0, 2.0, 1.0], [1, 200.0, 300.0, 1.0]]


def test_instances_of_videos_without_features_are_counted(pack):
    test = acmnet_pack(pack, TAU, SUBSETS)["test"]
    assert test.counts() == {
        "num_videos": 2,
        "num_instances": 3,
        "num_videos_without_features": 1,
        "num_instances_without_features": 3,
    }
    assert "test_2" in test.summary()
    assert sum(map(len, test.truth().values())) == 3
    assert sum(map(len, test.truth(with_missing=True).values())) == 6


def test_training_cannot_see_instances(pack):
    train = for_training(acmnet_pack(pack, TAU, SUBSETS)["train"])
    assert all(a.instances == () for a in train.videos)
    assert train.labels().tolist() == [[1, 1], [1, 0]]
    assert all(len(s) == 0 for s in train.truth().values())


def test_a_listed_video_must_be_there(pack):
    (pack / "train" / "train_1.npy").unlink()
    with pytest.raises(DataError, match="train_1"):
        acmnet_pack(pack, TAU, SUBSETS)
    (pack / "split_train.txt").write_text("train_0\nnobody\n")
    with pytest.raises(DataError, match="nobody"):
        acmnet_pack(pack, TAU, SUBSETS)


@pytest.mark.parametrize("content", [b"\xff\xfet\x00", b"train_1\ntrain_0\ntrain_1\n", b""])
def test_damaged_lists(pack, content):
    """Another encoding, one video twice, nothing at all."""
    (pack / "split_train.txt").write_bytes(content)
    with pytest.raises(DataError):
        acmnet_pack(pack, TAU, SUBSETS)


def test_strings_as_segments(pack):
    document = json.loads((pack / "gt.json").read_text())
    for video in document["database"].values():
        video.pop("duration")
        for annotation in video["annotations"]:
            annotation["segment"] = [str(t) for t in annotation["segment"]]
    expected = read_activitynet_json(pack / "gt.json")
    (pack / "gt.json").write_text(json.dumps(document))
    assert read_activitynet_json(pack / "gt.json") == expected


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"database": 3}',
        '{"database": {"v": {}}}',
        '{"database": {"v": {"annotations": [{"segment": [1, 2]}]}}}',
        '{"database": {"v": {"annotations": [{"segment": [2, 1], "label": "a"}]}}}',
        '{"database": {"v": {"annotations": [{"segment": [1], "label": "a"}]}}}',
        '{"database": {"v": {"annotations": [{"segment": ["x", 1], "label": "a"}]}}}',
        '{"database": {"v": {"annotations": [{"segment": [0, NaN], "label": "a"}]}}}',
    ],
)
def test_damaged_annotations(tmp_path, text):
    (tmp_path / "gt.json").write_text(text)
    with pytest.raises(DataError, match=r"gt.json"):
        read_activitynet_json(tmp_path / "gt.json")


def test_csv(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("video,label,start,end\na.mp4,Run,1,2.5\na.mp4,Run;Jump,3,4\nb.mp4,Jump,,\n")
    found = read_csv(path)
    assert found["a.mp4"].labels == ("Run", "Jump")
    assert [(i.label, i.start, i.end) for i in found["a.mp4"].instances] == [
        ("Run", 1, 2.5),
        ("Run", 3, 4),
        ("Jump", 3, 4),
    ]
    assert found["b.mp4"].instances == ()
    assert class_names(found) == ["Jump", "Run"]
    path.write_text("video, label\nx, a; b\n")
    assert read_csv(path)["x"].labels == ("a", "b")


@pytest.mark.parametrize(
    "text",
    ["", "name,label\n", "video,label\na\n", "video,label\na,\n", "video,label\na,b,c\n",
     "video,label,start,end\na,b,1,\n", "video,label,start,end\na,b,2,1\n", "video,label,start,end\na,b,x,1\n"],
)  # fmt: skip
def test_damaged_csv(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=r"labels.csv"):
        read_csv(tmp_path / "labels.csv")


def test_missing_files(tmp_path):
    for read in (read_csv, read_activitynet_json):
        with pytest.raises(DataError, match="nothing"):
            read(tmp_path / "nothing")
    with pytest.raises(DataError):
        NpyFolders((tmp_path / "nothing",), TAU)
    with pytest.raises(ConfigError):
        NpyFolders((tmp_path,), 0.0)


@pytest.mark.parametrize(
    "rows",
    [np.zeros((0, 8)), np.zeros((3, 0)), np.zeros(8), np.zeros((2, 3, 4)), np.full((3, 8), np.nan), np.array([["a"]]),
     np.zeros((2, 2), complex)],
)  # fmt: skip
def test_features_that_are_none(tmp_path, rows):
    np.save(tmp_path / "v.npy", rows)
    with pytest.raises(DataError, match=r"v.npy"):
        NpyFolders((tmp_path,), TAU).load("v")


def test_labels_that_no_class_has(pack):
    source = NpyFolders((pack / "train",), TAU)
    annotations = list(read_activitynet_json(pack / "gt.json").values())
    with pytest.raises(DataError, match="Run"):
        join("train", annotations, source, ["Jump"])
    with pytest.raises(DataError):
        join("train", annotations[2:], source, ["Jump", "Run"])  # none has features


def test_a_training_video_needs_a_label(pack):
    document = json.loads((pack / "gt.json").read_text())
    document["database"]["train_1"]["annotations"] = []
    (pack / "gt.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="train_1"):
        for_training(acmnet_pack(pack, TAU, SUBSETS)["train"])


def test_split_off_is_drawn_by_the_seed(pack):
    videos = join("all", read_activitynet_json(pack / "gt.json").values(),
                  NpyFolders((pack / "train", pack / "test"), TAU), ["Jump", "Run"])  # fmt: skip
    rest, held_out = split_off(videos, 0.25, seed=1)
    names = [a.video for a in (*rest.videos, *held_out.videos)]
    assert (len(rest), len(held_out), sorted(names)) == (3, 1, sorted(a.video for a in videos.videos))
    assert [a.video for a in split_off(videos, 0.25, seed=1)[1].videos] == [a.video for a in held_out.videos]
    with pytest.raises(DataError):
        split_off(videos, 0.01, seed=1)


# ------------------------------------------------------------ W-TALC's object arrays


def objects(items):
    array = np.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = item
    return array


@pytest.fixture
def wtalc(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "features.npy", objects([rng.standard_normal((n, 8)).astype(np.float32) for n in (5, 7, 9)]))
    folder = tmp_path / "annotations"
    folder.mkdir()
    arrays = {
        "classlist": np.array([b"Jump", b"Run"], "S17"),
        "videoname": np.array([b"v0", b"v1", b"v2"], "S24"),
        "subset": np.array([b"validation", b"test", b"test"], "S10"),
        "labels": objects([["Run", "Run"], ["Jump"], []]),
        "labels_all": objects([["Run"], ["Jump"], []]),
        "segments": objects([[[0.5, 1.0], [2.0, 2.5]], [[1.0, 2.0]], []]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return tmp_path


def test_wtalc_pack(wtalc):
    sets = wtalc_pack(wtalc / "features.npy", wtalc / "annotations", TAU, SUBSETS)
    train, test = sets["train"], sets["test"]
    assert [a.video for a in train.videos] == ["v0"]
    assert train.features(0).rows.shape == (5, 8)
    assert train.truth()["v0"].to_rows() == [[1, 0.5, 1.0, 1.0], [1, 2.0, 2.5, 1.0]]
    assert (len(test), test.counts()["num_instances"]) == (2, 1)


def test_wtalc_pack_that_does_not_match(wtalc):
    np.save(wtalc / "annotations" / "videoname.npy", np.array([b"v0"], "S24"))
    with pytest.raises(DataError):
        wtalc_pack(wtalc / "features.npy", wtalc / "annotations", TAU, SUBSETS)


@pytest.mark.parametrize("segment", [[2.0, 1.0], [np.nan, 1.0], [0.5, 1.0, 2.0], "soon", ["a", "b"], None])
def test_wtalc_segments_that_are_none(wtalc, segment):
    np.save(wtalc / "annotations" / "segments.npy", objects([[[0.5, 1.0], segment], [[1.0, 2.0]], []]))
    with pytest.raises(DataError, match="v0"):
        wtalc_pack(wtalc / "features.npy", wtalc / "annotations", TAU, SUBSETS)


# ------------------------------------------------------------ timeline


def test_timeline():
    line = Timeline(np.array([0.0, 1.0, 1.5, 4.0]))
    assert line.to_seconds([0.5, 1.5, 3, 4, -1]).tolist() == [0.5, 1.25, 4.0, 6.5, -1.0]
    assert line.to_snippets([0.5, 1.25, 4.0, 6.5, -1.0]).tolist() == [0.5, 1.5, 3, 4, -1]
    assert Timeline.from_windows([1.0], [3.0]).edges.tolist() == [1.0, 3.0]
    uniform = Timeline.uniform(4, TAU)
    again = Timeline.from_windows(uniform.edges[:-1], uniform.edges[1:])
    np.testing.assert_allclose(again.edges, uniform.edges, atol=1e-12)
    for edges in ([0.0], [0.0, 0.0], [1.0, 0.5], [0.0, np.nan], [[0.0, 1.0]]):
        with pytest.raises(DataError):
            Timeline(np.array(edges))
