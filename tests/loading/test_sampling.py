"""Sampling: the frames of TSN's segments and of PySlowFast's dense clips, from hand-computed numbers."""

import math

import numpy as np
import pytest
import torch
from made_videos import number_of, write_uneven, write_video

from slowfast_gta import load_config
from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import ConfigError
from slowfast_gta.loading.clips import TestViews, collate
from slowfast_gta.loading.sampling import (
    ClipSampling,
    covering_views,
    dense_indices,
    dense_views,
    segment_indices,
    segment_views,
    twice_sampled_views,
    uneven_times,
    uniform_indices,
)
from slowfast_gta.loading.transforms import TestTransform


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
    assert len(np.unique(clips % 3, axis=0)) > 200, "the places in the parts of a clip are drawn by themselves"


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
    assert dense_views(10, 4, 0.125, 19)[10] == [5] * 4, "of less than one frame: that frame"


def test_dense_training_starts_anywhere():
    generator = np.random.default_rng(0)
    clips = [dense_indices(100, 8, 4, generator) for _ in range(400)]
    assert min(clip[0] for clip in clips) <= 2
    assert max(clip[-1] for clip in clips) >= 97
    assert {clip[-1] - clip[0] for clip in clips} <= {31, 30, 32}


def test_covering_views_begin_and_end_with_the_video():
    views = covering_views(300, 8, 8, 3)
    assert [view[0] for view in views] == [0, 118, 236] and views[-1][-1] == 299
    assert covering_views(300, 8, 8, 1) == [dense_views(300, 8, 8, 1, use_offset=True)[0]]  # the centre
    assert covering_views(20, 4, 8, 2) == dense_views(20, 4, 8, 2)  # no room


def test_uniform_clips_are_equally_far_apart():
    generator = np.random.default_rng(0)
    clips = [uniform_indices(80, 8, generator) for _ in range(300)]
    assert {tuple(np.diff(clip)) for clip in clips} == {(10,) * 7}
    assert {clip[0] for clip in clips} == set(range(10))
    assert uniform_indices(1, 4, generator) == [0, 0, 0, 0]


def test_twice_sampled_views_are_tsms():
    assert twice_sampled_views(24, 8) == [[1, 4, 7, 10, 13, 16, 19, 22], [0, 3, 6, 9, 12, 15, 18, 21]]
    for num_video_frames in range(1, 120):
        for num_frames in (8, 16):
            tick = num_video_frames / num_frames  # TSM's own arithmetic
            centres = [int(tick / 2 + tick * part) for part in range(num_frames)]
            assert twice_sampled_views(num_video_frames, num_frames)[0] == centres
            starts = [int(tick * part) for part in range(num_frames)]
            assert twice_sampled_views(num_video_frames, num_frames)[1] == starts


@pytest.mark.parametrize("use_offset", [False, True])
def test_exact_views_are_pyslowfasts(use_offset):
    """get_start_end_idx and temporal_sampling of its decoder, as peers' facts have them, in torch's arithmetic."""
    for num_video_frames in range(1, 340, 7):
        for num_frames, step in ((8, 8.0), (32, 2.0), (4, 16.0), (8, 6.66)):
            for num_views in (1, 3, 10):
                clip = max(num_frames * step, 1.0)
                delta = max(num_video_frames - clip, 0)
                for view, found in enumerate(dense_views(num_video_frames, num_frames, step, num_views, use_offset)):
                    start = delta * view / num_views
                    if use_offset:
                        start = math.floor(delta / 2) if num_views == 1 else view * math.floor(delta / (num_views - 1))
                    positions = torch.linspace(start, start + clip - 1, num_frames, dtype=torch.float64)
                    assert found == positions.clamp(0, num_video_frames - 1).long().tolist()


@pytest.mark.parametrize("num_views", [2, 3, 10])
def test_views_are_different_clips(num_views):
    """Of any video with a little more than a clip: as many frames of room, or frames in each part, as views."""
    for num_frames in (4, 8, 32):
        for extra in range(60):
            room = num_views + extra
            for views in (
                dense_views(num_frames * 2 + room, num_frames, 2, num_views),
                dense_views(num_frames * 2 + room, num_frames, 2, num_views, use_offset=True),
                covering_views(num_frames * 2 + room, num_frames, 2, num_views),
                segment_views(num_frames * num_views + extra, num_frames, num_views),
            ):
                assert len({tuple(view) for view in views}) == num_views
                assert all(view == sorted(view) and view[0] >= 0 for view in views)


def test_frames_that_are_shown_unevenly_follow_the_time():
    """Ten frames a second for a second, then two for three: a clip at two a second has one of every half second."""
    times = np.concatenate([np.arange(10) / 10, 1 + np.arange(6) / 2])
    sampling = _sampling(SAMPLING="dense", NUM_FRAMES=4, SAMPLING_RATE=1, TARGET_FPS=2)
    shown = uneven_times(times, 16 / 4)
    assert shown[0] == 0 and shown[-1] == 15
    clip = sampling.views(16, 4.0, 1, times)[0]
    wanted = np.linspace(0, 2 - times[-1] / 15, 4)  # T x step intervals, less one, from the start
    assert clip == [int(np.flatnonzero(times <= moment + 1e-9)[-1]) for moment in wanted] == [0, 5, 10, 11]
    assert sampling.views(16, 4.0, 1) != [clip], "by the index alone it is another clip"
    assert sampling.views(16, 30.0, 1, times) == [clip], "the times tell the rate, whatever the file says"
    (centre,) = sampling.centred().views(16, 4.0, 1, times)
    start = (16 - 4 * (15 / times[-1]) / 2) / 2
    positions = np.linspace(start, start + 4 * (15 / times[-1]) / 2 - 1, 4) * times[-1] / 15
    assert centre == [int(np.flatnonzero(times <= moment + 1e-9)[-1]) for moment in positions]
    generator = np.random.default_rng(0)
    starts = [sampling.train(16, 4.0, generator, times)[0] for _ in range(400)]
    # The start is uniform over time: the first second, with 10 of the frames, is a third of the room of 2.5 s.
    assert 0.3 < np.mean([times[start] < 1 for start in starts]) < 0.6
    assert sampling.views(16, 4.0, 3, times)[-1][-1] <= 15


@pytest.mark.parametrize("fps", [12.0, 30.0, 30000 / 1001])
def test_a_constant_rate_changes_nothing(fps):
    """Whether its times are exact or rounded to milliseconds, as in .webm and .mkv."""
    sampling = _sampling(SAMPLING="dense", NUM_FRAMES=8, SAMPLING_RATE=2, TARGET_FPS=30)
    for num_frames in (1, 2, 40, 300):
        exact = np.arange(num_frames) / fps
        for times in (exact, np.round(exact, 3)):
            assert uneven_times(times, fps) is None and uneven_times(times, None) is None
            assert sampling.views(num_frames, fps, 10, times) == sampling.views(num_frames, fps, 10)
            drawn = [sampling.train(num_frames, fps, np.random.default_rng(3), given) for given in (times, None)]
            assert drawn[0] == drawn[1]


def test_validation_takes_the_centre():
    sampling = _sampling(SAMPLING="dense", NUM_FRAMES=8, SAMPLING_RATE=8, TARGET_FPS=30)
    assert sampling.views(300, 30.0, 1)[0][0] == 0
    assert sampling.centred().views(300, 30.0, 1)[0][0] == 118


def test_words_that_do_not_go_together():
    for pairs in (
        ["TEST.NUM_ENSEMBLE_VIEWS", 3, "DATA.SAMPLING", "segment"],
        ["TEST.NUM_ENSEMBLE_VIEWS", 2, "DATA.SAMPLING", "dense"],
    ):
        with pytest.raises(ConfigError, match=r"TEST\.CLIP_POSITIONS twice\b.*\bTEST\.NUM_ENSEMBLE_VIEWS\b"):
            load_config("configs/SSv2/R2D50.yaml", ["TEST.CLIP_POSITIONS", "twice", *pairs])
    load_config("configs/SSv2/R2D50.yaml", ["TEST.CLIP_POSITIONS", "twice", "TEST.NUM_ENSEMBLE_VIEWS", 2])
    with pytest.raises(ConfigError, match=r"USE_OFFSET_SAMPLING.*TEST.CLIP_POSITIONS"):
        overrides = ["TEST.CLIP_POSITIONS", "uniform", "DATA.USE_OFFSET_SAMPLING", True]
        load_config("configs/Kinetics/R2D50.yaml", overrides)


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


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_clips_of_a_file_with_a_variable_rate(tmp_path, suffix):
    """A hundred frames in the first second, then one every half second: a clip is spread over the time."""
    times_ms = [*range(0, 1000, 10), *range(1000, 9000, 500)]
    path = write_uneven(tmp_path / f"a{suffix}", times_ms)
    sampling = _sampling(SAMPLING="dense", NUM_FRAMES=8, SAMPLING_RATE=30, TARGET_FPS=30)
    whole_frames = TestTransform(48, None, 1, full_resolution=True)
    views = TestViews([VideoRecord(str(path), 0, "a")], sampling.centred(), whole_frames, 1)
    clip = views[0].frames[0].permute(1, 2, 3, 0).numpy()
    shown = [times_ms[number_of(frame)] for frame in clip]
    # A clip of 8 of the 8.5 seconds: a frame every 1.14 s or so, where there is one every half second.
    assert shown[0] < 1000 and 1000 <= np.diff(shown)[1:].min() <= np.diff(shown).max() <= 1500, shown


def test_near_identical_clips_are_counted(tmp_path):
    paths = [write_video(tmp_path / f"{num_frames}.webm", num_frames) for num_frames in (8, 9, 40)]
    records = [VideoRecord(str(path), 0, path.stem) for path in paths]
    sampling = _sampling(SAMPLING="dense", NUM_FRAMES=4, SAMPLING_RATE=2, TARGET_FPS=12)
    views = TestViews(records, sampling, TestTransform(48, (48, 64), 3), 10)
    # 9 frames: starts from 0 to 0.9, from which the places 2.33 and 4.67 come to be 2 and 4, 2 and 5, or 3 and 5
    assert [views[index].num_alike for index in range(3)] == [9, 7, 0]
    assert collate([views[index] for index in range(3)]).num_alike == 16


@pytest.mark.parametrize("num_video_frames", [5, 32, 33, 100])
def test_a_dense_clip_starts_uniformly_in_the_room_there_is(num_video_frames):
    for seed in range(20):
        start = np.random.default_rng(seed).uniform(0, max(num_video_frames - 8 * 4, 0))
        positions = np.minimum(np.linspace(start, start + 8 * 4 - 1, 8), num_video_frames - 1)
        found = dense_indices(num_video_frames, 8, 4, np.random.default_rng(seed))
        assert found == positions.astype(int).tolist()


def test_times_are_uneven_from_half_a_frame_on():
    for late, uneven in ((0.4, False), (0.6, True)):
        times = np.arange(20) / 10
        times[7] += late / 10
        assert (uneven_times(times, 10.0) is not None) == uneven
    assert uneven_times(np.zeros(5), None) is None, "a file whose times are all alike has none"
    assert uneven_times(np.arange(40) / 15, 30.0) is not None, "even, at half the rate that the file says"


def test_each_key_reaches_the_sampling():
    cfg = get_defaults()
    cfg.DATA.SAMPLING, cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS = "dense", 5, 3, 25
    cfg.DATA.USE_OFFSET_SAMPLING, cfg.TEST.CLIP_POSITIONS = True, "twice"
    assert ClipSampling.from_cfg(cfg) == ClipSampling("dense", 5, 3, 25, True, "twice")
    offset = ClipSampling("dense", 8, 8, 30, True)
    assert offset.positions == "exact"
    assert offset.views(300, 30.0, 3) == dense_views(300, 8, 8, 3, use_offset=True) != dense_views(300, 8, 8, 3)
    assert ClipSampling("uniform", 8, 8, 30, False).views(24, 30.0, 2) == segment_views(24, 8, 2)
    both = ClipSampling("segment", 8, 8, 30, False, "twice")
    assert both.views(24, 30.0, 2) == twice_sampled_views(24, 8)
