"""The summary as a video: frames, times, sizes, sound in sync, in parts."""

import a2summ.frames
import av
import numpy as np
import pytest
from a2summ.frames import PlainDescriptor, read_frames_of, read_times, sampled_indices
from a2summ.output.video import write_key_frames, write_video
from a2summ.plan import budget_seconds, key_frames, key_sentences, plan_summary, summary_time
from a2summ_videos import make_video, read_flashes, read_tones

from slowfast_gta.errors import ConfigError, DataError

FLASHES = (1.0, 4.3, 7.7, 10.2)
SHOTS = [(0, 20), (40, 55), (70, 110)]  # frames at 10 fps: 0-2 s, 4-5.5 s, 7-11 s
WANTED = [1.0, 2.3, 4.2, 6.7]  # when FLASHES are shown in a summary of SHOTS


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("channels", "sound_rate"), [(1, 48_000), (2, 44_100)])
def test_picture_and_sound_are_cut_at_the_same_times(tmp_path, suffix, channels, sound_rate):
    path = make_video(tmp_path / f"a{suffix}", flashes_sec=FLASHES, channels=channels, sound_rate=sound_rate)
    assert write_video(tmp_path / "summary.mp4", read_times(path), SHOTS)
    flashes, shown = read_flashes(tmp_path / "summary.mp4")
    tones, end = read_tones(tmp_path / "summary.mp4")
    assert flashes == pytest.approx(WANTED, abs=1e-3)
    assert tones == pytest.approx(WANTED, abs=0.005)
    assert len(shown) == 75
    assert np.diff(shown) == pytest.approx(np.full(74, 0.1), abs=1e-3)
    assert end == pytest.approx(7.5, abs=0.03)


def test_a_changing_frame_rate_keeps_its_times(tmp_path):
    times_sec = np.concatenate([np.arange(0, 6, 0.1), np.arange(6, 12, 0.25)])
    path = make_video(tmp_path / "vfr.mp4", flashes_sec=(2.0, 8.0), times_sec=times_sec)
    times = read_times(path)
    assert times.times_sec == pytest.approx(times_sec, abs=1e-4)
    first, stop = np.searchsorted(times_sec, [5.0 - 1e-6, 9.0 - 1e-6])
    write_video(tmp_path / "summary.mp4", times, [(10, 30), (int(first), int(stop))])
    flashes, shown = read_flashes(tmp_path / "summary.mp4")
    tones, _ = read_tones(tmp_path / "summary.mp4")
    assert flashes == pytest.approx([1.0, 5.0], abs=1e-3)
    assert tones == pytest.approx([1.0, 5.0], abs=0.005)
    assert shown[20:] == pytest.approx(times_sec[first:stop] - 5.0 + 2.0, abs=1e-3)


def test_frames_are_read_one_after_the_other(tmp_path):
    times = read_times(make_video(tmp_path / "a.mp4", flashes_sec=FLASHES))
    whole = [frame.copy() for frame in read_frames_of(times, np.arange(120))]
    some = np.array([3, 24, 25, 60, 119])
    for index, frame in zip(some, read_frames_of(times, some), strict=True):
        assert np.array_equal(frame, whole[index])


@pytest.mark.parametrize("size", [(64, 48), (65, 49), (48, 64)])
def test_a_silent_video_of_any_size(tmp_path, size):
    path = make_video(tmp_path / "a.mp4", duration_sec=4, size=size, sound=False)
    assert not write_video(tmp_path / "summary.mp4", read_times(path), [(5, 15)])
    with av.open(str(tmp_path / "summary.mp4")) as container:
        assert not container.streams.audio
        assert (container.streams.video[0].width, container.streams.video[0].height) == size
        assert len(list(container.decode(video=0))) == 10


def test_key_frames_are_those_frames(tmp_path):
    path = make_video(tmp_path / "a.mp4", duration_sec=6, flashes_sec=(4.0,), sound=False)
    paths = write_key_frames(tmp_path / "keys", read_times(path), [40, 5, 40])
    assert [one.name for one in paths] == ["01_0000.50s.jpg", "02_0004.00s.jpg"]
    with av.open(str(paths[1])) as picture:
        assert next(picture.decode(video=0)).to_ndarray(format="rgb24").mean() > 240


def test_frames_are_sampled_by_their_times(tmp_path):
    times = read_times(make_video(tmp_path / "a.mp4", duration_sec=3, fps=25, sound=False))
    assert sampled_indices(times).tolist() == [0, 12, 25, 37, 50, 62]
    indices, features = PlainDescriptor()(times)
    assert features.shape == (6, PlainDescriptor.dim)
    assert len(indices) == 6


def test_broken_videos_are_refused(tmp_path):
    good = make_video(tmp_path / "a.mp4", duration_sec=3).read_bytes()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "cut.mp4").write_bytes(good[: len(good) // 2])
    for name in ("text.mp4", "cut.mp4", "absent.mp4"):
        with pytest.raises(DataError, match=name):
            read_times(tmp_path / name)
    with pytest.raises(DataError, match="folder"):
        read_times(tmp_path)


def test_budgets(tmp_path):
    assert budget_seconds("15%", 200) == 30
    assert budget_seconds("90s", 200) == 90
    assert budget_seconds("1.5 s", 200) == 1.5
    assert budget_seconds("900s", 200) == 200
    for text in ("15", "0%", "120%", "-3s", "", "ten", "1e9s", "nan%"):
        with pytest.raises(ConfigError, match="budget"):
            budget_seconds(text, 200)


def times_of(num_frames, fps=10.0):
    return a2summ.frames.VideoTimes("v", np.arange(num_frames) / fps, 0.0, True, fps, False)


def test_the_best_whole_shots_within_the_budget_are_chosen():
    times, indices = times_of(200), np.arange(0, 200, 5)
    shots = [(0, 40), (40, 100), (100, 130), (130, 200)]
    scores = np.zeros(40)
    scores[(indices >= 40) & (indices < 100)] = 0.5
    scores[(indices >= 100) & (indices < 130)] = 0.9
    plan = plan_summary(scores, indices, shots, times, 9.0)
    assert plan.chosen == [(40, 100), (100, 130)]
    assert (plan.used_sec, plan.is_part) == (pytest.approx(9.0), False)
    assert plan_summary(scores, indices, shots, times, 8.9).chosen == [(40, 100)]
    assert summary_time(10.5, plan, times) == pytest.approx(6.5)
    assert summary_time(13.5, plan, times) is None
    assert key_frames(plan, scores, indices) == [40, 100]


def test_where_no_whole_shot_fits_the_best_stretch_is_shown():
    times, indices = times_of(200), np.arange(0, 200, 5)
    scores = np.where((indices >= 80) & (indices < 110), 1.0, 0.1)
    plan = plan_summary(scores, indices, [(0, 200)], times, 2.0)
    assert plan.is_part
    assert plan.chosen == [(80, 100)]
    assert plan.used_sec == pytest.approx(2.0)
    with pytest.raises(DataError, match="shorter than one frame"):
        plan_summary(scores, indices, [(0, 200)], times, 0.01)


def test_key_sentences_are_the_best_in_their_order():
    scores = np.array([0.1, 0.9, 0.3, 0.9, 0.5, 0.2, 0.0])
    assert key_sentences(scores, 3) == [1, 3, 4]
    assert key_sentences(scores, None) == [1]
    assert key_sentences(scores[:0], 3) == []
