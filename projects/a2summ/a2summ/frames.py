"""A video's frames for A2Summ: two a second, chosen by their time stamps, as one vector each.

Everything that is read of a picture goes through the core's reader, whose memory does not grow with a video's length.
`frame_features` is the one place that will change for the core's extraction of features.

N sampled frame, n original frame, C channel.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import open_container, video_stream
from slowfast_gta.video.limits import Deadline
from slowfast_gta.video.readers import open_video

RATE = 2.0  # sampled frames per second


@dataclass(frozen=True)
class VideoTimes:
    """When each frame of a video is shown, without one being decoded."""

    path: str
    times_sec: np.ndarray  # float64 (n,), the first at 0
    start_sec: float  # of the first frame, on the clock of the file (that of its sound)
    timed: bool  # False: the times are those of a constant rate
    fps: float
    has_audio: bool

    @property
    def duration_sec(self) -> float:
        """Until the last frame has been shown."""
        return float(self.times_sec[-1]) + 1 / self.fps

    @property
    def bounds_sec(self) -> np.ndarray:
        """float64 (n + 1,): when each frame begins, and when the last one ends."""
        return np.append(self.times_sec, self.duration_sec)


def read_times(path: str | Path) -> VideoTimes:
    """The times of all frames of a video file, and whether it has sound. Raises DataError."""
    path = str(path)
    if Path(path).is_dir():
        raise DataError(f"{path}: is a folder. A summary is made of a video file, with times and sound.")
    with open_container(path, Deadline(path)) as container:
        stream = video_stream(container, path)
        start_sec = float((stream.start_time or 0) * stream.time_base)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        has_audio = bool(container.streams.audio)
    with open_video(path) as video:
        shown, num_frames = video.times_sec, video.num_frames
    times = np.arange(num_frames) / rate if shown is None else shown
    return VideoTimes(path, times, start_sec, shown is not None, rate, has_audio)


def sampled_indices(times: VideoTimes, rate: float = RATE) -> np.ndarray:
    """int64 (N,): the frames on display at 0, 1 / rate, 2 / rate ... seconds, each once."""
    moments = np.arange(0.0, times.times_sec[-1] + 1e-9, 1 / rate)
    return np.unique(np.searchsorted(times.times_sec, moments + 1e-6, side="right") - 1)


def read_frames_of(times: VideoTimes, indices: np.ndarray) -> Iterator[np.ndarray]:
    """The frames `indices` (ascending, each once), uint8 (H, W, 3), one after the other. Raises DataError."""
    with open_video(times.path) as video:
        yield from video.frames(np.asarray(indices, np.int64).tolist())


class FrameNetwork(Protocol):
    """Frames -> features. `name` and `digest` say which it is, `dim` how many numbers a frame gets."""

    name: str
    digest: str
    dim: int

    def __call__(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3), one after the other -> float32 (C,) each, in the same order."""


def frame_features(times: VideoTimes, network: FrameNetwork) -> tuple[np.ndarray, np.ndarray]:
    """-> the indices (N,) of the sampled frames among the original ones, and their features float32 (N, C)."""
    indices = sampled_indices(times)
    return indices, np.stack(list(network(read_frames_of(times, indices))))


class PlainDescriptor:
    """What a frame looks like, without any network: colours (Lab histograms of its four quarters) and brightness on a
    12 x 12 grid. For the training-free score only."""

    name = "colour histograms and a 12 x 12 picture"
    digest = "plain-1"
    dim = 4 * 3 * 8 + 144

    def __call__(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for frame in frames:
            yield self.describe(frame)

    @staticmethod
    def describe(frame: np.ndarray) -> np.ndarray:
        small = cv2.cvtColor(cv2.resize(frame, (96, 96), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
        quarters = small.reshape(2, 48, 2, 48, 3).transpose(0, 2, 4, 1, 3).reshape(12, -1) // 32
        histograms = np.stack([np.bincount(values, minlength=8) for values in quarters]) / quarters.shape[1]
        grid = cv2.resize(small[:, :, 0], (12, 12), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
        grid = grid - grid.mean()
        grid = grid / max(float(np.linalg.norm(grid)), 1e-6)
        return np.concatenate([np.sqrt(histograms).ravel() / np.sqrt(12), 0.5 * grid]).astype(np.float32)


class ClipNetwork:
    """A network of the core: the frames in clips of its length, what its head is given averaged over space.

    Vectors are L2-normalised. A network that halves time gives two frames the same vector; the last clip is filled up
    with its last frame.
    """

    def __init__(
        self,
        name: str,
        digest: str,
        clip_features: Callable[[torch.Tensor], torch.Tensor],
        transform: Callable[[np.ndarray], np.ndarray],
        num_frames: int,
        dim: int,
    ):
        """`clip_features`: uint8 (1, 3, T, S, S) -> (1, C, T', H', W').
        `transform`: uint8 (1, H, W, 3) -> (1, S, S, 3)."""
        self.name, self.digest, self.dim = name, digest, dim
        self._clip_features, self._transform, self._num_frames = clip_features, transform, num_frames

    def __call__(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        views = (self._transform(frame[None])[0] for frame in frames)
        while clip := list(itertools.islice(views, self._num_frames)):
            filled = np.stack(clip + clip[-1:] * (self._num_frames - len(clip)))
            yield from self._of_clip(filled)[: len(clip)]

    @torch.inference_mode()
    def _of_clip(self, clip: np.ndarray) -> np.ndarray:
        """uint8 (T, S, S, 3) -> float32 (T, C)"""
        pooled = self._clip_features(torch.from_numpy(clip.transpose(3, 0, 1, 2)[None])).float().mean((0, 3, 4)).T
        of_frame = torch.div(torch.arange(len(clip)) * len(pooled), len(clip), rounding_mode="floor")
        vectors = torch.nn.functional.normalize(pooled, dim=1)[of_frame]
        return vectors.cpu().numpy()


def build_network(cfg, weights: str | Path) -> ClipNetwork:
    """The network of a config of the core with `weights`, as a maker of features. Raises UserError."""
    from slowfast_gta.engine.device import build_normalize, load_device
    from slowfast_gta.loading.transforms import TestTransform
    from slowfast_gta.models.build import build_model
    from slowfast_gta.models.weights.load import load_weights_for

    device = load_device(cfg)
    model = build_model(cfg)
    load_weights_for(cfg, model, weights, fine_tune=False)
    model = model.to(device).eval()
    normalize, transform = build_normalize(cfg, device), TestTransform.from_cfg(cfg, 1)

    def clip_features(clip: torch.Tensor) -> torch.Tensor:
        return model.features(normalize(clip))[0]

    side = cfg.DATA.TEST_CROP_SIZE
    with torch.inference_mode():
        dim = clip_features(torch.zeros(1, 3, cfg.DATA.NUM_FRAMES, side, side, dtype=torch.uint8)).shape[1]
    return ClipNetwork(
        f"{cfg.MODEL.ARCH}, {cfg.DATA.NUM_FRAMES} frames",
        digest_of(cfg, weights),
        clip_features,
        lambda frames: transform(frames)[0],
        cfg.DATA.NUM_FRAMES,
        dim,
    )


def digest_of(cfg, weights: str | Path) -> str:
    """SHA-256 of the weights file and of what the config says of the network and its input."""
    with Path(weights).open("rb") as file:
        content = hashlib.file_digest(file, "sha256")
    sections = [str(cfg.MODEL), str(cfg.RESNET), str(cfg.ATTENTION), str(cfg.DATA.NUM_FRAMES)]
    sections += [str(cfg.DATA.TEST_CROP_SIZE), str(cfg.DATA.MEAN), str(cfg.DATA.STD), str(list(cfg.DATA.RESIZE))]
    content.update("\n".join(sections).encode())
    return content.hexdigest()
