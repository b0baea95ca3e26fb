"""Windows against a plain computation: a list of positions, cut by a loop."""

import numpy as np
import pytest
from toy_streams import ToyStream, as_it_is

from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.inference.windows import Cut, Span, iterate_windows, plan_windows
from slowfast_gta.loading.sampling import ClipSampling


def sampling(kind: str = "segment", num_frames: int = 4, rate: int = 2, fps: float = 25) -> ClipSampling:
    return ClipSampling(kind, num_frames, rate, fps, False)


def windows_of(stream, plan):
    cut = Cut()
    return list(iterate_windows(stream, plan, as_it_is, cut)), cut


def displayed(stream, fps: float) -> list[int]:
    """The number of the frame on display at 0, 1 / fps, ... until the last is shown."""
    found, number = [], 0
    while number / fps <= stream.times[-1] + 1e-6:
        shown = [i for i, t in zip(stream.indices, stream.times, strict=True) if t <= number / fps + 1e-6]
        found.append(shown[-1] if shown else stream.indices[0])
        number += 1
    return found


def plain(positions: list[int], length: int, stride: int, num_frames: int, kind: str, tail: str) -> list[list[int]]:
    """The frames of each window."""
    found, start = [], 0
    while start < len(positions):
        part = positions[start : start + length]
        if start and tail == "drop" and len(part) < length:
            break
        part = part + part[-1:] * (length - len(part))
        if kind == "dense":
            indices = [int(number) for number in np.linspace(0, max(length, 1) - 1, num_frames)]
        else:
            indices = [int((t + 0.5) * length / num_frames) for t in range(num_frames)]
        found.append([part[number] for number in indices])
        if start + length >= len(positions):
            break
        start += stride
    return found


@pytest.mark.parametrize("kind", ["segment", "dense"])
@pytest.mark.parametrize("tail", ["repeat", "drop"])
@pytest.mark.parametrize("num", [1, 3, 15, 16, 17, 40, 48])
@pytest.mark.parametrize(("length", "stride"), [(16, 16), (16, 5), (16, 1), (7, 20), (4, 4), (2, 2), (1, 1)])
def test_every_frame(kind, tail, num, length, stride):
    plan = plan_windows(sampling(kind), length, stride, None, tail)
    found, cut = windows_of(ToyStream(range(num), num_frames=num), plan)
    assert [list(window.frames) for window in found] == plain(list(range(num)), length, stride, 4, kind, tail)
    for number, window in enumerate(found):
        assert window.number == number and window.start_sec == pytest.approx(number * stride / 25)
        assert window.end_sec == pytest.approx(min(number * stride + length, num) / 25)
        assert window.clips.shape == (1, 4, 2, 2, 3)
        assert window.clips[0, :, 0, 0, 0].tolist() == list(window.frames)
        assert window.times == pytest.approx([frame / 25 for frame in window.frames], abs=1e-9) or window.num_real < 4
    assert cut.num_windows == len(found) and cut.num_positions == num
    covered = min(num, (len(found) - 1) * stride + length)
    assert cut.num_left_out == (num - covered if tail == "drop" and stride <= length else cut.num_left_out)


@pytest.mark.parametrize("fps", [2, 10, 25, 30, 60])
@pytest.mark.parametrize("native", [12.0, 25.0, 29.97])
def test_a_rate(fps, native):
    stream = ToyStream(range(50), fps=native, num_frames=50)
    found, _ = windows_of(stream, plan_windows(sampling(), 8, 4, fps))
    assert [list(window.frames) for window in found] == plain(displayed(stream, fps), 8, 4, 4, "segment", "repeat")
    assert [window.start_sec for window in found] == pytest.approx([4 * n / fps for n in range(len(found))])
    assert all(w.end_sec == pytest.approx((4 * n + 8) / fps) for n, w in enumerate(found[:-1]))


def test_uneven_times():
    stream = ToyStream(range(6), times=[0, 0.1, 0.15, 2.0, 2.05, 4.0], num_frames=6)
    found, _ = windows_of(stream, plan_windows(sampling(num_frames=1), 1, 1, 2.0))
    assert [window.frames[0] for window in found] == displayed(stream, 2.0) == [0, 2, 2, 2, 3, 4, 4, 4, 5]


def test_frames_that_did_not_decode_are_the_one_before_and_counted():
    stream = ToyStream([2, 3, 6], num_frames=8)
    found, cut = windows_of(stream, plan_windows(sampling(num_frames=1), 1))
    assert [window.frames[0] for window in found] == [2, 2, 2, 3, 3, 3, 6, 6]
    assert cut.num_repeated == 5
    assert [window.start_sec for window in found] == pytest.approx([n / 25 for n in range(8)])
    found, cut = windows_of(stream, plan_windows(sampling(num_frames=1), 1, None, 25.0))
    assert [window.frames[0] for window in found] == [2, 2, 2, 3, 3, 3, 6] and cut.num_repeated == 2


def test_the_configs_own_sampling():
    dense = plan_windows(sampling("dense", 4, 2, 30))
    assert (dense.length, dense.stride, dense.fps, dense.offsets(8)) == (Span(8), None, 30, [0, 2, 4, 7])
    whole = plan_windows(sampling())
    found, _ = windows_of(ToyStream(range(41), num_frames=41), whole)
    assert [window.frames for window in found] == [(5, 15, 25, 35)], "the centres of four parts, as a test takes them"
    assert plan_windows(sampling(), fps=2.0).length == Span(4)


def test_spans_in_seconds():
    plan = plan_windows(sampling(), "2s", "0.5s")
    found, _ = windows_of(ToyStream(range(100), num_frames=100), plan)
    assert [window.start_sec for window in found] == pytest.approx([0, 0.48, 0.96, 1.44, 1.92, 2.4])  # 12 frames


def test_a_frame_is_transformed_once():
    seen = []

    def transform(frames):
        seen.append(int(frames.flat[0]))
        return [frames]

    plan = plan_windows(sampling(), 8, 1)
    list(iterate_windows(ToyStream(range(60), num_frames=60), plan, transform, Cut()))
    assert sorted(seen) == sorted(set(seen))
    plan = plan_windows(sampling(), 20, 20)
    seen.clear()
    list(iterate_windows(ToyStream(range(60), num_frames=60), plan, transform, Cut()))
    assert len(seen) == 12, "only what the network is given"


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "x", "s", "0s", "nan", "1e12"])
def test_wrong_spans(wrong):
    with pytest.raises(ConfigError, match="stride"):
        plan_windows(sampling(), 16, wrong)


def test_what_cannot_be_asked_for():
    for wrong in ({"fps": 0.0}, {"fps": float("nan")}, {"tail": "x"}, {"stride": 4}):
        with pytest.raises(ConfigError):
            plan_windows(sampling(), **wrong)
    with pytest.raises(DataError, match="toy"):
        windows_of(ToyStream(range(9)), plan_windows(sampling()))  # of unknown length
    nobody = ToyStream(range(9), fps=None, times=[float("nan")] * 9)
    for plan in (plan_windows(sampling(), "1s"), plan_windows(sampling(), 4, None, 2.0)):
        with pytest.raises(DataError, match="toy"):
            windows_of(nobody, plan)
    found, _ = windows_of(nobody, plan_windows(sampling(), 4))
    assert [window.frames for window in found] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 8, 8, 8)]
    assert np.isnan(found[0].start_sec)
