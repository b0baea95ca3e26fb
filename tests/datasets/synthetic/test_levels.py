"""Harder Synthetic videos: what they add tells no direction, and the easy ones stay what they were."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from slowfast_gta.config.defaults import CHOICES
from slowfast_gta.datasets.synthetic import rendering
from slowfast_gta.datasets.synthetic.dataset import PAIRS, Settings, Synthetic, label_of_video, render_video
from slowfast_gta.datasets.synthetic.levels import LEVELS, at_random_time, num_frames_at, render_at
from slowfast_gta.errors import DataError
from slowfast_gta.loading.sampling import segment_indices

SMALL = Settings(num_train=18, num_val=9, num_frames=24, height=36, width=48, codec="vp9", seed=3)


def test_the_config_offers_these_levels():
    assert CHOICES["SYNTHETIC.LEVEL"] == (0, *LEVELS)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_pair_is_one_rendering_played_both_ways(level, number):
    """The backward class is what the forward rendering gives for the same random numbers, in reverse, bit for bit: the
    same set of frames, which is all that a frame-wise classifier sees."""
    settings, index = replace(SMALL, level=level), 2 * number + 1
    generator = np.random.default_rng([settings.seed, index])
    course = rendering.phases(num_frames_at(level, settings.num_frames), generator)
    forward = render_at(level, PAIRS[number][0], course, settings.height, settings.width, generator)
    backward = render_video(settings, index)
    np.testing.assert_array_equal(backward, forward[::-1])
    assert Counter(frame.tobytes() for frame in backward) == Counter(frame.tobytes() for frame in forward)
    assert len(backward) == 24 * LEVELS[level].length


@pytest.mark.parametrize("level", LEVELS)
def test_the_test_clip_of_a_reversed_video_is_the_reversed_clip(level):
    length = num_frames_at(level, 24)
    chosen = segment_indices(length, 8, None)
    assert chosen == [length - 1 - index for index in reversed(chosen)]


def test_each_level_is_harder_on_the_eye_than_the_one_below():
    """More changes from frame to frame that have nothing to do with the action: where it rests, in the first two."""
    changes = []
    for level in (0, *LEVELS):
        some = [render_video(replace(SMALL, level=level), index).astype(float) for index in range(0, 16, 4)]
        changes.append(np.mean([np.abs(frames[1] - frames[0]).mean() for frames in some]))
    assert changes == sorted(changes) and changes[-1] > 3 * changes[0]


def test_actions_take_any_part_of_the_video_from_the_shortest_on():
    course, parts, starts = np.linspace(0, 1, 100), [], []
    for seed in range(200):
        path = at_random_time(course, 100, 0.2, np.random.default_rng(seed))
        assert path[0] == 0 and path[-1] > 0.99 and (np.diff(path) >= 0).all()
        moving = np.flatnonzero(np.diff(path) > 1e-6)
        parts.append(len(moving) / 99)
        starts.append(moving[0] / 99)
    assert 0.19 < min(parts) < 0.25 and max(parts) > 0.9
    assert min(starts) < 0.05 and max(starts) > 0.5


def test_level_0_is_what_it_was(tmp_path):
    """Lists and manifest byte for byte, whose digest is that of an earlier version's; and the drawing is the same."""
    dataset = Synthetic(tmp_path, replace(SMALL, num_frames=8))
    dataset.prepare()
    files = sorted(path for path in tmp_path.iterdir() if path.is_file())
    assert [path.name for path in files] == [
        *(f"something-something-v2-{word}.json" for word in ("labels", "test", "train", "validation")),
        "synthetic.json",
    ]
    found = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    assert found == "0eb5dafc2858c883"
    generator = np.random.default_rng([3, 4])
    path = rendering.phases(8, generator)
    frames = rendering.render(PAIRS[2][0], path, 36, 48, generator)
    np.testing.assert_array_equal(render_video(replace(SMALL, num_frames=8), 4), frames)


# ---------------------------------------------------------------------------------------- a test set of their own


@pytest.fixture(scope="module")
def tested(tmp_path_factory) -> Synthetic:
    dataset = Synthetic(tmp_path_factory.mktemp("tested"), replace(SMALL, num_frames=8, level=1, num_test=20))
    dataset.prepare()
    return dataset


def test_test_videos_are_others_than_those_of_validation(tested):
    records = {split: tested.records(split) for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in records.items()} == {"train": 18, "val": 9, "test": 20}
    ids = [record.video_id for found in records.values() for record in found]
    assert len(set(ids)) == 47
    assert [record.label for record in records["test"]] == [index % 18 for index in range(20)]
    for record in records["test"]:
        assert record.label == label_of_video(tested.settings, int(record.video_id) - 1)


def test_they_depend_on_no_number_of_other_videos():
    more = replace(SMALL, num_train=36, num_test=4)
    for index in range(4):
        mine, theirs = render_video(replace(SMALL, num_test=4), 27 + index), render_video(more, 45 + index)
        np.testing.assert_array_equal(mine, theirs)
        assert np.abs(mine.astype(float) - render_video(SMALL, index)).mean() > 5  # no training video


def test_the_other_videos_stay_what_they_are():
    for index in (0, 17, 26):
        np.testing.assert_array_equal(render_video(replace(SMALL, num_test=4), index), render_video(SMALL, index))


def test_a_folder_of_another_level_is_refused(tested):
    with pytest.raises(DataError, match=r"SYNTHETIC\.LEVEL.*0,.*1; SYNTHETIC\.NUM_TEST.*0"):
        Synthetic(tested.data_dir, replace(SMALL, num_frames=8)).prepare()
    with pytest.raises(DataError, match=r"SYNTHETIC\.LEVEL.*2,.*1"):
        Synthetic(tested.data_dir, replace(tested.settings, level=2)).prepare()
