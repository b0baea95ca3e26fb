"""A video or stream, frame by frame, with the predictions of a network from what it has seen up to there.

At each stride along the video the network is asked about the last window, or, as long as there is less, about all there
was so far: nothing of what comes later is needed, so that it runs along with a stream, in memory that does not grow.
A whole window gives the numbers that `predict --windows` gives for it.

T frames of the network, H W of a video's frame, S crop size, K classes.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fvcore.common.config import CfgNode

from slowfast_gta.inference.explaining.overlay import Overlay, build_overlay
from slowfast_gta.inference.network import EvalNetwork, Wanted, build_eval_network
from slowfast_gta.inference.windows import (
    Cut,
    Position,
    Span,
    Stream,
    WindowPlan,
    grid_positions,
    own_positions,
    plan_windows,
)
from slowfast_gta.loading.loader import build_frame_pattern
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform, crop_offsets, short_side_size
from slowfast_gta.video.stream import StreamedFrame

_WINDOW = Span(2.0, in_seconds=True)
_STRIDES_A_WINDOW = 4


class Prediction(NamedTuple):
    """The prediction at `time_sec`, for the window that ends there."""

    start_sec: float
    time_sec: float
    probabilities: np.ndarray  # (K,)
    overlay: np.ndarray | None = None  # (H', W'), 0 to 1, of the window's last step
    box: tuple[float, float, float, float] = (0, 0, 1, 1)  # where the crop is: top, left, bottom, right, of the frame


class AnnotatedFrame(NamedTuple):
    frame: StreamedFrame
    prediction: Prediction | None  # the last that there was; None before the first


@dataclass(frozen=True)
class Annotator:
    """A network that is asked along videos. `frame_pattern`, `folder_fps`: of folders of frames."""

    network: EvalNetwork
    plan: WindowPlan
    crop: TestTransform
    overlay: Overlay | None
    frame_pattern: str
    folder_fps: float

    def __call__(self, stream: Stream, cut: Cut) -> Iterator[AnnotatedFrame]:
        """Every frame of a stream, in order, once; `cut` counts predictions and repeated frames. Raises DataError."""
        rate = self.plan.fps or stream.fps
        assert self.plan.length is not None and self.plan.stride is not None, "build_annotator gives both"
        length = self.plan.length.positions(rate, stream.path)
        stride = self.plan.stride.positions(rate, stream.path)
        watched: Any = _Watched(stream)
        positions = grid_positions(watched, self.plan.fps, cut) if self.plan.fps else own_positions(watched, cut)
        seen: deque[tuple[Position, np.ndarray]] = deque(maxlen=length)
        prediction: Prediction | None = None
        for number, position in enumerate(positions, start=1):
            yield from (AnnotatedFrame(frame, prediction) for frame in watched.taken())
            seen.append((position, self.crop(position.frame.image[None])[0][0]))
            if (number - length) % stride == 0 if number >= length else number % stride == 0:
                prediction = self._predict(seen, position.frame.image.shape[:2])
                cut.num_windows += 1
        yield from (AnnotatedFrame(frame, prediction) for frame in watched.taken())

    def _predict(self, seen: deque[tuple[Position, np.ndarray]], size: tuple[int, int]) -> Prediction:
        clip = np.stack([seen[index][1] for index in self.plan.offsets(len(seen))])
        probabilities = self.network(clip[None], Wanted())["probabilities"][0]
        drawn = self.overlay.draw(clip, int(probabilities.argmax())) if self.overlay else None
        return Prediction(seen[0][0].time_sec, seen[-1][0].time_sec, probabilities, drawn, crop_box(self.crop, size))


class _Watched:
    """A stream whose frames are kept, as they pass, until they are taken."""

    def __init__(self, stream: Stream):
        self._stream = stream
        self._passed: list[StreamedFrame] = []
        self.path, self.fps, self.num_frames = stream.path, stream.fps, stream.num_frames

    def __iter__(self) -> Iterator[StreamedFrame]:
        for frame in self._stream:
            self._passed.append(frame)
            yield frame

    def taken(self) -> list[StreamedFrame]:
        passed, self._passed = self._passed, []
        return passed


def crop_box(transform: TestTransform, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Top, left, bottom, right of the centre crop in a frame of `size` (H, W), as parts of its height and width."""
    if transform.full_resolution:
        return (0.0, 0.0, 1.0, 1.0)
    height, width = transform.resize or short_side_size(size, transform.crop_size)
    ((top, left),) = crop_offsets((height, width), transform.crop_size, 1)
    side = transform.crop_size
    return (top / height, left / width, (top + side) / height, (left + side) / width)


def build_annotator(
    cfg: CfgNode,
    weights: str | Path,
    window: str | None = None,
    stride: str | None = None,
    fps: float | None = None,
    overlay: str = "none",
) -> Annotator:
    """window, stride, fps: as in `predict --windows`; a config that samples whole videos is asked about 2 seconds, and
    the stride is a quarter of the window. Raises ConfigError, WeightsError."""
    sampling = ClipSampling.from_cfg(cfg)
    whole = sampling.kind != "dense" and window is None and fps is None
    plan = plan_windows(sampling, _WINDOW if whole else window, stride, fps)
    assert plan.length is not None
    quarter = plan.length.value / _STRIDES_A_WINDOW
    step = plan.stride or Span(quarter if plan.length.in_seconds else max(1, round(quarter)), plan.length.in_seconds)
    plan = WindowPlan(plan.num_frames, plan.length, step, plan.fps, plan.spread)
    network = build_eval_network(cfg, weights, batch_size=1, precision="float32")
    return Annotator(
        network,
        plan,
        TestTransform.from_cfg(cfg, 1),
        build_overlay(overlay, network, cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE),
        build_frame_pattern(cfg),
        float(cfg.DATA.TARGET_FPS),
    )
