"""A video's frames for A2Summ: two a second, chosen by their time stamps, as one vector each.

Everything that is read of a picture goes through the core's reader, whose memory does not grow with a video's length.
network.py has the features of the core's networks.

N sampled frame, n original frame, C channel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

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
        raise DataError(f"{path}: this is a folder. Summaries need a video file, with times and sound.")
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
    """What describes a video's sampled frames. `name` and `digest` say which it is, `dim` how many numbers each has."""

    name: str
    digest: str
    dim: int

    def __call__(self, times: VideoTimes) -> tuple[np.ndarray, np.ndarray]:
        """-> the indices int64 (N,) of the sampled frames among the original ones, ascending, and their features
        float32 (N, C). Raises DataError."""


class PlainDescriptor:
    """What a frame looks like, without any network: colours (Lab histograms of its four quarters) and brightness on a
    12 x 12 grid."""

    name = "colour histograms and a 12 x 12 picture"
    digest = "plain-1"
    dim = 4 * 3 * 8 + 144

    def __call__(self, times: VideoTimes) -> tuple[np.ndarray, np.ndarray]:
        indices = sampled_indices(times)
        return indices, np.stack([self.describe(frame) for frame in read_frames_of(times, indices)])

    @staticmethod
    def describe(frame: np.ndarray) -> np.ndarray:
        small = cv2.cvtColor(cv2.resize(frame, (96, 96), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
        quarters = small.reshape(2, 48, 2, 48, 3).transpose(0, 2, 4, 1, 3).reshape(12, -1) // 32
        histograms = np.stack([np.bincount(values, minlength=8) for values in quarters]) / quarters.shape[1]
        grid = cv2.resize(small[:, :, 0], (12, 12), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
        grid = grid - grid.mean()
        grid = grid / max(float(np.linalg.norm(grid)), 1e-6)
        return np.concatenate([np.sqrt(histograms).ravel() / np.sqrt(12), 0.5 * grid]).astype(np.float32)
