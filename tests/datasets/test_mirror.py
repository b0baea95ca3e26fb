"""Mirror images: what becomes of a class's name, that clip and label change together, and what is never mirrored."""

import cv2
import numpy as np
import pytest
from made_videos import write_video

from slowfast_gta import load_config
from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.datasets.mirror import directed_names, exchanged_names, mirror_labels, without_exchange
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import ConfigError
from slowfast_gta.loading.clips import TrainClips
from slowfast_gta.loading.loader import build_train_loader
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TrainTransform

WORDS = ("left", "right", "clockwise", "anticlockwise")
# Classes of Something-Something v2 at the places they have there.
SSV2 = {
    86: "Pulling something from left to right",
    87: "Pulling something from right to left",
    93: "Pushing something from left to right",
    94: "Pushing something from right to left",
    166: "Turning the camera left while filming something",
    167: "Turning the camera right while filming something",
}


def test_the_pairs_of_something_something():
    names = [SSV2.get(label, f"Doing thing {label}") for label in range(174)]
    labels = mirror_labels(names, ("left", "right"))
    pairs = {(own, mirrored) for own, mirrored in enumerate(labels) if own < mirrored}
    assert pairs == {(86, 87), (93, 94), (166, 167)}
    assert all(labels[labels[label]] == label for label in range(174))
    assert len(exchanged_names(names, labels)) == 3 and len(directed_names(names, labels)) == 6
    assert sum(label is None for label in without_exchange(labels)) == 6


def test_names_that_a_mirror_changes():
    names = ["Swipe LEFT", "Swipe right", "Turn clockwise", "Turn counter-clockwise", "Leftover food", "Look left"]
    assert mirror_labels(names, WORDS) == [1, 0, 3, 2, 4, None]
    assert mirror_labels(names) == [1, 0, 3, 2, 4, None]
    assert mirror_labels(["Go east", "Go west"], ("east", "west")) == [None, None]  # no opposite is known: never
    assert mirror_labels(["Turn anti-clockwise", "Turn clockwise"], WORDS) == [1, 0]


@pytest.mark.parametrize("policy", [True, False, "swap-labels"])
def test_a_clip_and_its_label_are_mirrored_together(tmp_path, policy):
    names = ["Moving something left", "Closing something", "Moving something right", "Facing left"]
    for label in range(4):
        folder = tmp_path / "20bn-something-something-v1" / str(label)
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "00001.jpg"), np.tile(np.arange(0, 240, 5, np.uint8)[:, None], (48, 1, 3)))
    lists = {"labels": names, "train": [f"{label};{name}" for label, name in enumerate(names)]}
    for word, lines in lists.items():
        (tmp_path / f"something-something-v1-{word}.csv").write_text("\n".join(lines) + "\n")
    cfg = get_defaults()
    cfg.MODEL.NUM_CLASSES, cfg.TRAIN.DATASET, cfg.TRAIN.BATCH_SIZE, cfg.DATA_LOADER.NUM_WORKERS = 4, "SSv1", 4, 0
    data = cfg.DATA
    data.PATH_TO_DATA_DIR, data.RANDOM_FLIP, data.SAMPLING, data.NUM_FRAMES = str(tmp_path), policy, "segment", 1
    data.RESIZE, data.MULTI_SCALES, data.TRAIN_CROP_SIZE = [48, 48], [1.0], 48
    clips = build_train_loader(cfg).clips
    seen = {index: set() for index in range(4)}
    for epoch in range(24):
        for index in range(4):
            item = clips[epoch, index]
            row = item.frames[0, 0, 0, 24]  # brighter to the right, unless it is mirrored
            seen[index].add((item.label, bool(row[0] > row[-1])))
    both = {False, True} if policy else {False}
    other = {0: 2, 2: 0} if policy == "swap-labels" else {}
    for index in (0, 2):
        assert seen[index] == {(index, False)} | ({(other[index], True)} if other else set())
    assert seen[1] == {(1, mirrored) for mirrored in both}
    assert seen[3] == {(3, False)}


def test_several_outputs_are_mirrored_only_together(tmp_path):
    path = write_video(tmp_path / "a.webm", 1)
    transform = TrainTransform(48, (48, 48), (1.0,), (48, 48), False, flip=True)
    sampling = ClipSampling("segment", 1, 1, 30, False)

    def labels(*mirrors) -> set:
        clips = TrainClips([VideoRecord(str(path), (0, 1), "a")], sampling, transform, mirrors, seed=0)
        return {clips[epoch, 0].label for epoch in range(12)}

    assert labels([1, 0], [0, 1]) == {(0, 1), (1, 1)}
    assert labels([1, 0], [1, 0]) == {(0, 1), (1, 0)}
    assert labels([1, 0], [0, None]) == {(0, 1)}


def test_the_key_takes_three_words():
    config = "configs/SSv2/R2D50.yaml"
    for given, value in (("swap-labels", "swap-labels"), ("True", True), (False, False), ("false", False)):
        found = load_config(config, ["DATA.RANDOM_FLIP", given]).DATA.RANDOM_FLIP
        assert found == value
    with pytest.raises(ConfigError, match=r"DATA.RANDOM_FLIP.*'swap'"):
        load_config(config, ["DATA.RANDOM_FLIP", "swap"])
