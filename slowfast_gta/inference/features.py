"""Features over time: of any video, rows of numbers, each with the time that it stands for.

    extractor = build_feature_extractor(cfg, "gta.pyth", pool="space", fps=2.0)
    features = extractor("film.mp4")
    features.rows, features.times, features.frame_indices       # (N, C), (N, 2) seconds, (N, T)

pool    avg       a row for each window: the mean over its time and space
        spatial   a row for each step of the network's own time in a window: the mean over space
        space     the same of a network that keeps every frame: a row for each frame, by default 2 a second
        none      a map (C, T', H', W') for each window, instead of a row
A SlowFast network's pathways are pooled, then put side by side.

N rows, C channels, T frames of a window, V views.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from slowfast_gta.errors import ConfigError, DataError, counted
from slowfast_gta.inference.batches import predict_all, read_ahead
from slowfast_gta.inference.network import FEATURES, HEAD, POOLS, EvalNetwork, Wanted, build_eval_network, layer_modules
from slowfast_gta.inference.reading import Ending, WindowReader
from slowfast_gta.inference.windows import Span, Window, WindowPlan, plan_windows
from slowfast_gta.loading.loader import build_frame_pattern
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform

_SUMMARY_FPS = 2.0
PRESETS: dict[str, dict[str, Any]] = {
    "i3d": {"window": 16, "stride": 16, "fps": 25.0, "tail": "drop"},  # as features for localisation are made
}


@dataclass(frozen=True)
class VideoFeatures:
    """One video. `rows`: (N, C); with pool none (N, C, T', H', W'), with the views kept (N, V, C)."""

    rows: np.ndarray
    times: np.ndarray  # float64 (N, 2): begin and end of each row, seconds; NaN where nobody knows
    frame_indices: np.ndarray  # int64 (N, T), of a row for a single frame (N, 1): numbers in the video, from 0
    num_windows: int
    fps: float | None  # the video's own; None where it does not say
    duration_sec: float
    counts: dict[str, int] = field(default_factory=dict)  # what was repeated, filled up or left out


@dataclass(frozen=True)
class Crops:
    """The views of each window: a test's crops, and their mirror images where `mirror`."""

    transform: TestTransform
    mirror: bool = False

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        """uint8 (T, H, W, 3) -> V of (T, S, S, 3)."""
        crops = self.transform(frames)
        return crops + [crop[:, :, ::-1] for crop in crops] if self.mirror else crops


@dataclass(frozen=True)
class FeatureExtractor:
    """A network, and how videos are cut into what it is given. The mean over the views, unless `keep_views`."""

    network: EvalNetwork
    reader: WindowReader
    layer: str
    pool: str
    keep_views: bool
    num_threads: int

    def __call__(self, video: str | Path) -> VideoFeatures:
        """The features of one video file or folder of frames. Raises DataError."""
        ((_, features),) = self.extract([str(video)])
        if isinstance(features, DataError):
            raise features
        return features

    def extract(self, videos: Sequence[str]) -> Generator[tuple[str, VideoFeatures | DataError], None, None]:
        """The features of each, in order; of one that cannot be read the reason. Batches go across videos.

        Memory does not grow with a video's length but for its rows.
        """
        wanted = Wanted(probabilities=False, layer=self.layer, pool=self.pool)
        windows: list[tuple[Window, np.ndarray]] = []
        items = read_ahead(self.reader, videos, self.num_threads)
        for item, outputs in predict_all(items, self.network, wanted):
            if isinstance(item, Ending):
                yield item.video, item.fault or self._joined(windows, item)
                windows = []
            else:
                windows.append((item.without_clips(), self._over_views(outputs["features"])))

    def _over_views(self, features: np.ndarray) -> np.ndarray:
        """(V, ...) -> the mean, or (..., V, C) where the views are kept."""
        if self.keep_views:
            return np.moveaxis(features, 0, -2)
        return features[0] if len(features) == 1 else features.mean(0)

    def _joined(self, windows: list[tuple[Window, np.ndarray]], ending: Ending) -> VideoFeatures:
        rows: list[np.ndarray] = []
        times: list[tuple[float, float]] = []
        frames: list[tuple[int, ...]] = []
        for window, features in windows:
            if self.pool in ("spatial", "space"):
                self._add_steps(window, features, rows, times, frames)
            else:
                rows.append(features)
                times.append((window.start_sec, window.end_sec))
                frames.append(window.frames)
        return VideoFeatures(
            np.stack(rows),
            np.array(times, np.float64),
            np.array(frames, np.int64),
            len(windows),
            ending.fps,
            ending.duration_sec,
            ending.counts,
        )

    def _add_steps(self, window: Window, features: np.ndarray, rows: list, times: list, frames: list) -> None:
        """A row for each of the T' steps that begin before the end of the video."""
        num_frames, num_steps = len(window.frames), len(features)
        if self.pool == "space" and num_steps != num_frames:
            raise ConfigError(
                f"--pool space gives a row for each frame, and {self.layer} of this network has "
                f"{counted(num_steps, 'step')} for {counted(num_frames, 'frame')}. Use --pool spatial, which "
                "gives a row for each step."
            )
        first = [step * num_frames // num_steps for step in range(num_steps)]
        starts = [window.start_sec, *(window.times[index] for index in first[1:])]
        starts = starts[: sum(index < window.num_real for index in first)]
        for step, (start, end) in enumerate(zip(starts, [*starts[1:], window.end_sec], strict=True)):
            rows.append(features[step])
            times.append((start, end))
            stop = first[step + 1] if step + 1 < num_steps else num_frames
            frames.append(window.frames[first[step] : stop])


def build_feature_extractor(
    cfg: CfgNode,
    weights: str | Path,
    layer: str = FEATURES,
    pool: str = "avg",
    window: int | str | Span | None = None,
    stride: int | str | Span | None = None,
    fps: float | None = None,
    tail: str = "repeat",
    num_crops: int = 1,
    mirror: bool = False,
    keep_views: bool = False,
    batch_size: int | None = None,
    precision: str | None = None,
    network: EvalNetwork | None = None,
) -> FeatureExtractor:
    """The extractor of a config and a file of weights. `window` and `stride` in frames, or seconds as "0.5s".

    layer: a stage (s5: what the head is given), a part of one by its name, or head: the probabilities.
    network: one that is built already, instead of `weights`.
    Raises ConfigError, WeightsError.
    """
    if pool not in POOLS:
        raise ConfigError(f"pool is {pool!r}; it must be one of {', '.join(POOLS)}.")
    if num_crops not in (1, 3, 5, 10):
        raise ConfigError(f"The number of crops must be 1, 3, 5 or 10, not {num_crops}.")
    if mirror and num_crops == 10:
        raise ConfigError("The ten crops include the mirrored ones: leave --mirror out.")
    if layer == HEAD and pool != "avg":
        raise ConfigError("The head gives one row for each window: --layer head needs --pool avg.")
    if pool == "none" and keep_views:
        raise ConfigError("With --pool none there are maps for each window, of one view: leave --keep-views out.")
    if pool == "space" and window is None and fps is None:
        fps = _SUMMARY_FPS
    if pool == "space" and window is None:
        window = cfg.DATA.NUM_FRAMES
    plan = plan_windows(ClipSampling.from_cfg(cfg), window, stride, fps, tail)
    _check_frame_rows(plan, pool)
    if network is None:
        network = build_eval_network(cfg, weights, batch_size, precision)
    layer_modules(network.model, layer)
    if not hasattr(network.model, "features"):
        raise ConfigError(f"{type(network.model).__name__} has no features(clip), which extraction needs.")
    crops = Crops(TestTransform.from_cfg(cfg, num_crops), mirror)
    return FeatureExtractor(
        network,
        WindowReader(plan, crops, build_frame_pattern(cfg), float(cfg.DATA.TARGET_FPS)),
        layer,
        pool,
        keep_views,
        min(cfg.DATA_LOADER.NUM_WORKERS, 8),
    )


def _check_frame_rows(plan: WindowPlan, pool: str) -> None:
    """With rows in the order of time, windows may not overlap."""
    if pool not in ("spatial", "space"):
        return
    if plan.stride not in (None, plan.length):
        raise ConfigError(
            f"--pool {pool} gives rows in the order of time, so windows must not overlap: leave --stride "
            f"{plan.stride} out, or make it the window, {plan.length}."
        )
    if pool == "space" and plan.length != Span(plan.num_frames):
        raise ConfigError(
            "--pool space: a row for each frame needs windows of the network's "
            f"{counted(plan.num_frames, 'frame')}, not of "
            f"{plan.length}. Leave --window out; --fps sets how many frames a second."
        )
