"""Windows over a video: where each begins and ends, and which frames of it the network is given.

A window spans `length` positions, and the next one begins `stride` positions later. Positions are the video's own
frames or, with a rate, the moments 0, 1 / fps, 2 / fps ... and the frame on display at each. The network's T frames
are taken out of a window as the config's own sampling takes them out of a part of a video.

Windows go on until one of them reaches the end. What is missing in that last one is the last frame again, or with
tail="drop" it is left out; a video shorter than one window has one window in either case.

T frame, V views (crops of one window), H W space, S crop size.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.loading.sampling import ClipSampling, dense_views, segment_views
from slowfast_gta.video.sources import BoundedStream
from slowfast_gta.video.stream import FolderStream, LiveStream, StreamedFrame, VideoStream

Stream = VideoStream | FolderStream | LiveStream | BoundedStream
_ROUNDING_SEC = 1e-6
TAILS = ("repeat", "drop")


class Span(NamedTuple):
    """A number of positions, or of seconds."""

    value: float
    in_seconds: bool = False

    def positions(self, fps: float | None, path: str) -> int:
        """How many positions at `fps` a second it is, at least 1."""
        if not self.in_seconds:
            return int(self.value)
        if not fps:
            raise DataError(f"{path}: its frame rate is not known. Give the window and its stride in frames, or --fps.")
        return max(1, round(self.value * fps))

    def __str__(self) -> str:
        return f"{self.value:g}s" if self.in_seconds else f"{self.value:g}"


def parse_span(value: int | float | str | Span | None, name: str) -> Span | None:
    """16 or "16": frames; "0.5s": seconds. Raises ConfigError for anything else, naming `name`."""
    if value is None or isinstance(value, Span):
        return value
    text = str(value).strip()
    number, in_seconds = text.removesuffix("s"), text.endswith("s")
    try:
        seconds = float(number)
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds < 1e9 or not (in_seconds or seconds.is_integer()):
        raise ConfigError(
            f"{name} is {value!r}; it must be a number of frames, for example 16, or of seconds, for example 0.5s."
        )
    return Span(seconds, in_seconds)


@dataclass(frozen=True)
class WindowPlan:
    """How windows lie over a video. `length` None: the whole video is one window."""

    num_frames: int  # T of the network
    length: Span | None
    stride: Span | None  # None: as `length`, so that windows stand side by side
    fps: float | None  # None: the video's own frames
    spread: str  # "segment": the centres of T equal parts; "dense": T frames from the first to the last
    tail: str = "repeat"

    def offsets(self, length: int) -> list[int]:
        """(T,): which of a window's `length` positions the network is given, in order."""
        if self.spread == "dense":
            return dense_views(length, self.num_frames, length / self.num_frames, 1)[0]
        return segment_views(length, self.num_frames, 1)[0]


def plan_windows(
    sampling: ClipSampling,
    window: int | str | Span | None = None,
    stride: int | str | Span | None = None,
    fps: float | None = None,
    tail: str = "repeat",
) -> WindowPlan:
    """What a config samples by itself, but for what is given. Spans are frames at `fps` (the video's own, if None), or
    seconds as "0.5s".

    DATA.SAMPLING dense: NUM_FRAMES * SAMPLING_RATE frames at TARGET_FPS. segment and uniform: the whole video; with
    `fps` alone NUM_FRAMES frames at that rate. Raises ConfigError.
    """
    length, step = parse_span(window, "window"), parse_span(stride, "stride")
    if fps is not None and not 0 < fps < 1000:
        raise ConfigError(f"fps is {fps}; it must be a rate in frames per second, for example 25.")
    if tail not in TAILS:
        raise ConfigError(f"tail is {tail!r}; it must be one of {', '.join(TAILS)}.")
    spread = "dense" if sampling.kind == "dense" else "segment"
    if length is None and spread == "dense":
        length, fps = Span(sampling.num_frames * sampling.sampling_rate), fps or float(sampling.target_fps)
    elif length is None and fps:
        length = Span(sampling.num_frames)
    elif length is None and step is not None:
        raise ConfigError("A stride without a window: this config samples whole videos. Give a window length too.")
    return WindowPlan(sampling.num_frames, length, step, fps, spread, tail)


class Position(NamedTuple):
    """A point in time, and the frame shown then."""

    time_sec: float  # NaN where nobody knows
    frame: StreamedFrame


@dataclass
class Cut:
    """What happened on the way through one video."""

    num_windows: int = 0
    num_positions: int = 0
    num_repeated: int = 0  # positions whose frame did not decode: the one before it stands there
    num_filled: int = 0  # frames of the last window beyond the end: the last one again
    num_left_out: int = 0  # positions behind the last window (tail="drop")
    end_sec: float = float("nan")


@dataclass(frozen=True)
class Window:
    """One window, and what the network is given of it."""

    number: int
    start_sec: float
    end_sec: float
    frames: tuple[int, ...]  # (T,) numbers of the frames in the video, from 0
    times: tuple[float, ...]  # (T,) seconds: of the positions where they stand
    num_real: int  # of the T, how many are before the end of the video
    clips: np.ndarray  # uint8 (V, T, S, S, 3)

    def without_clips(self) -> "Window":
        """The same to be kept, while the clips are not."""
        return replace(self, clips=np.empty(0, np.uint8))  # a view would keep them all


def iterate_windows(
    stream: Stream, plan: WindowPlan, transform: Callable[[np.ndarray], list[np.ndarray]], cut: Cut
) -> Iterator[Window]:
    """The windows of a stream (video/stream.py), in order; `cut` counts. `transform`: uint8 (1, H, W, 3) -> V crops
    (1, S, S, 3). A frame is transformed once, and kept as long as an open window has it. Raises DataError.
    """
    rate = plan.fps or stream.fps
    if plan.length is None:
        whole = stream.num_frames
        if whole is None:
            raise DataError(
                f"{stream.path}: the length of a stream is not known. Give a window, for example --window 2s."
            )
        length = stride = whole
    else:
        length = plan.length.positions(rate, stream.path)
        stride = (plan.stride or plan.length).positions(rate, stream.path)
    positions = grid_positions(stream, plan.fps, cut) if plan.fps else own_positions(stream, cut)
    yield from _cut(positions, plan.offsets(length), length, stride, plan.tail, transform, rate, cut)


def own_positions(stream: Stream, cut: Cut) -> Iterator[Position]:
    """Every frame of the video; where one did not decode, the one before it (at the begin, the first that did)."""
    last: StreamedFrame | None = None
    number = 0
    for frame in stream:
        stand_in = last or frame
        while number < frame.index:
            cut.num_repeated += 1
            yield Position(_shifted(stand_in, number, stream.fps), stand_in)
            number += 1
        yield Position(frame.time_sec, frame)
        last, number = frame, frame.index + 1
    while last is not None and number < (stream.num_frames or 0):
        cut.num_repeated += 1
        yield Position(_shifted(last, number, stream.fps), last)
        number += 1


def _shifted(frame: StreamedFrame, number: int, fps: float | None) -> float:
    return frame.time_sec + (number - frame.index) / fps if fps else float("nan")


def grid_positions(stream: Stream, fps: float, cut: Cut) -> Iterator[Position]:
    """The frame on display at 0, 1 / fps, 2 / fps ... seconds, until the last frame is shown."""
    last: StreamedFrame | None = None
    number = 0
    for frame in stream:
        if np.isnan(frame.time_sec):
            raise DataError(
                f"{stream.path}: the times of its frames are not known. Leave fps out: every frame is used."
            )
        while last is not None and number / fps + _ROUNDING_SEC < frame.time_sec:
            yield Position(number / fps, last)
            number += 1
        if last is None:
            while number / fps + _ROUNDING_SEC < frame.time_sec:  # what is before it did not decode
                cut.num_repeated += 1
                yield Position(number / fps, frame)
                number += 1
        last = frame
    while last is not None and number / fps <= last.time_sec + _ROUNDING_SEC:
        yield Position(number / fps, last)
        number += 1


@dataclass
class _Open:
    """A window that is being filled."""

    start: int
    start_sec: float
    frames: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    views: list[list[np.ndarray]] = field(default_factory=list)  # (T, V) of (1, S, S, 3)

    def take(self, position: Position, crops: list[np.ndarray], times: int) -> None:
        self.frames += [position.frame.index] * times
        self.times += [position.time_sec] * times
        self.views += [crops] * times

    def closed(self, number: int, end_sec: float, num_real: int) -> Window:
        clips = np.stack([np.concatenate(crops) for crops in zip(*self.views, strict=True)])
        return Window(number, self.start_sec, end_sec, tuple(self.frames), tuple(self.times), num_real, clips)


def _cut(
    positions: Iterable[Position],
    offsets: list[int],
    length: int,
    stride: int,
    tail: str,
    transform: Callable[[np.ndarray], list[np.ndarray]],
    rate: float | None,
    cut: Cut,
) -> Iterator[Window]:
    open_windows: deque[_Open] = deque()
    taken = np.bincount(offsets, minlength=length)  # how many of the T frames stand at each position of a window
    position: Position | None = None
    for number, position in enumerate(positions):
        cut.num_positions += 1
        while open_windows and open_windows[0].start + length == number:
            yield open_windows.popleft().closed(cut.num_windows, position.time_sec, len(offsets))
            cut.num_windows += 1
        if number % stride == 0:
            open_windows.append(_Open(number, position.time_sec))
        crops: list[np.ndarray] | None = None
        for window in open_windows:
            if number - window.start < length and (times := taken[number - window.start]):
                crops = crops or transform(position.frame.image[None])
                window.take(position, crops, times)
    if position is None:
        return
    cut.end_sec = position.time_sec + (1 / rate if rate else float("nan"))
    yield from _last(open_windows, position, offsets, length, stride, tail, transform, cut)


def _last(
    open_windows: Iterable[_Open],
    position: Position,
    offsets: list[int],
    length: int,
    stride: int,
    tail: str,
    transform: Callable[[np.ndarray], list[np.ndarray]],
    cut: Cut,
) -> Iterator[Window]:
    """What is open at the end: of these windows the first that reaches it, and none behind it."""
    num_positions = cut.num_positions
    crops: list[np.ndarray] | None = None
    for window in open_windows:
        if window.start and window.start - stride + length >= num_positions:
            return
        num_real = len(window.frames)
        if window.start and tail == "drop" and window.start + length > num_positions:
            cut.num_left_out = num_positions - max(window.start, window.start - stride + length)
            return
        if num_real < len(offsets):
            crops = crops or transform(position.frame.image[None])
            cut.num_filled += len(offsets) - num_real
            window.take(position, crops, len(offsets) - num_real)
        yield window.closed(cut.num_windows, cut.end_sec, num_real)
        cut.num_windows += 1
