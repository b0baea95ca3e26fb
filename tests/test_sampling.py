"""Sampling: the frames of TSN's segments and of PySlowFast's dense clips, from hand-computed numbers."""

import numpy as np
import pytest

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.datasets.sampling import (
    ClipSampling,
    dense_indices,
    dense_views,
    segment_indices,
    segment_views,
)


def test_segment_centres():
    assert segment_indices(24, 8, None) == [1, 4, 7, 10, 13, 16, 19, 22]
    assert segment_indices(10, 4, None) == [1, 3, 6, 8]  # 1.25, 3.75, 6.25, 8.75


def test_short_videos_repeat_frames():
    assert segment_indices(3, 6, None) == [0, 0, 1, 1, 2, 2]
    assert segment_indices(1, 4, None) == [0, 0, 0, 0]
    generator = np.random.default_rng(0)
    for num_video_frames in (1, 2, 5):
        indices = segment_indices(num_video_frames, 8, generator)
        assert indices == sorted(indices) and set(indices) <= set(range(num_video_frames))


@pytest.mark.parametrize("num_video_frames", [24, 40, 8, 72])
def test_a_reversed_video_gives_the_reversed_clip(num_video_frames):
    indices = segment_views(num_video_frames, 8, 1)[0]
    assert [num_video_frames - 1 - index for index in reversed(indices)] == indices


def test_random_segments_use_all_of_every_part():
    generator = np.random.default_rng(0)
    clips = np.array([segment_indices(24, 8, generator) for _ in range(300)])
    for part in range(8):
        values, counts = np.unique(clips[:, part], return_counts=True)
        assert values.tolist() == [3 * part, 3 * part + 1, 3 * part + 2]
        assert counts.min() > 60


def test_segment_views_are_different_clips():
    views = segment_views(24, 8, 3)
    assert views == [[3 * part + view for part in range(8)] for view in range(3)]
    assert len({tuple(view) for view in segment_views(250, 8, 10)}) == 10


def test_dense_views_start_where_pyslowfast_does():
    # 300 frames, 8 x 8: 64 frames of span, 236 of room, spread over its two ends: 63 / 7 = 9 apart
    views = dense_views(300, 8, 8, 10)
    assert views[0] == list(range(0, 64, 9))
    assert [view[0] for view in views] == [int(23.6 * v) for v in range(10)]
    with_offset = dense_views(300, 8, 8, 3, use_offset=True)
    assert [view[0] for view in with_offset] == [0, 118, 236]
    assert with_offset[-1][-1] == 299
    assert dense_views(300, 8, 8, 1, use_offset=True)[0][0] == 118
    assert dense_views(300, 8, 8, 1)[0][0] == 0


def test_dense_clips_of_short_videos_repeat_the_last_frame():
    assert dense_views(20, 4, 8, 2) == [[0, 10, 19, 19]] * 2
    assert dense_indices(1, 4, 8, np.random.default_rng(0)) == [0, 0, 0, 0]


def test_dense_training_starts_anywhere():
    generator = np.random.default_rng(0)
    clips = [dense_indices(100, 8, 4, generator) for _ in range(400)]
    assert min(clip[0] for clip in clips) <= 2
    assert max(clip[-1] for clip in clips) >= 97
    assert {clip[-1] - clip[0] for clip in clips} <= {31, 30, 32}


def _sampling(**keys) -> ClipSampling:
    cfg = get_defaults()
    for key, value in keys.items():
        cfg.DATA[key] = value
    return ClipSampling.from_cfg(cfg)


def test_the_frame_rate_of_the_video_counts():
    sampling = _sampling(SAMPLING="dense", NUM_FRAMES=4, SAMPLING_RATE=8, TARGET_FPS=30)
    assert sampling.views(300, 15.0, 1) == dense_views(300, 4, 4.0, 1)
    assert sampling.views(300, None, 1) == dense_views(300, 4, 8.0, 1)


def test_segments_do_not_care_for_the_frame_rate():
    sampling = _sampling(SAMPLING="segment", NUM_FRAMES=8)
    assert sampling.views(24, 60.0, 2) == segment_views(24, 8, 2)
    assert sampling.train(24, 12.0, np.random.default_rng(3)) == segment_indices(24, 8, np.random.default_rng(3))
