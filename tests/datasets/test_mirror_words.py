"""Direction-sensitive classes follow from class names alone: the same videos are flipped alike by every data set."""

import json

import pytest

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.kinetics import Kinetics
from slowfast_gta.datasets.mirror import DIRECTION_WORDS, directed_labels, mirror_labels
from slowfast_gta.datasets.something import SSv1, SSv2
from slowfast_gta.datasets.synthetic import Settings, Synthetic

SMALL = Settings(num_train=1, num_val=1, num_frames=4, height=16, width=16, codec="h264", seed=0)


def test_every_data_set_reports_the_same_class_names_alike(tmp_path):
    synthetic = Synthetic(tmp_path, SMALL)
    names = synthetic.class_names()
    labels = {name: str(label) for label, name in enumerate(names)}
    (tmp_path / "something-something-v2-labels.json").write_text(json.dumps(labels))
    (tmp_path / "something-something-v1-labels.csv").write_text("\n".join(names) + "\n")
    (tmp_path / "classes.txt").write_text("\n".join(names) + "\n")
    expected = mirror_labels(names)
    assert expected[names.index("Turning something clockwise")] == names.index("Turning something anticlockwise")
    assert len([one for label, one in enumerate(expected) if one != label]) == 4
    for dataset in (synthetic, SSv2(tmp_path), SSv1(tmp_path), Kinetics(tmp_path)):
        assert dataset.mirror_labels() == expected, type(dataset).__name__


def test_no_data_set_has_direction_words_of_its_own():
    packaged = [one for _, one in DATASET_REGISTRY if one.__module__.startswith("slowfast_gta.")]
    assert len(packaged) >= 6
    assert all(one.direction_words == () for one in packaged)


@pytest.mark.parametrize(
    "name",
    [
        *("turn left", "turn_left", "Turn-LEFT", "turnLeft", "left2", "Leftwards", "spin clockwise"),
        *("counter_clockwise", "anti-clockwise", "contraclockwise", "left-hand grip", "ccw"),
    ],
)
def test_spellings_of_a_direction(name):
    assert directed_labels([name]) == [0] and mirror_labels([name]) == [None]


@pytest.mark.parametrize("name", ["leftover", "bright", "upright", "cleft", "righteous", "clock", "class 3"])
def test_words_that_only_contain_one(name):
    assert directed_labels([name]) == [] and mirror_labels([name]) == [0]


def test_every_word_has_an_opposite_and_more_words_can_be_named():
    for word in DIRECTION_WORDS:
        (partner,) = {one for one in DIRECTION_WORDS if mirror_labels([f"go {word}", f"go {one}"]) == [1, 0]}
        assert partner != word
    assert mirror_labels(["go east", "go far"], ("east",)) == [None, 1]
