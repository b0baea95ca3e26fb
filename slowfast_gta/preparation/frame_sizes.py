"""How large folders of frames will be, from a few frames of a few videos, and whether the disk has room for them."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from slowfast_gta.errors import DataError, counted
from slowfast_gta.preparation.jobs import in_processes
from slowfast_gta.processes.isolated import Lost

_NUM_VIDEOS, _NUM_FRAMES = 8, 4
_BLOCK = 4096  # a file takes a multiple of this on most disks
_LIMIT_SEC = 60.0  # for one video
_GB = 1e9

# (video, up to so many of its frames) -> (number of frames that it will have, bytes of those few as files)
Measure = Callable[[Path, int], tuple[int, list[int]]]


@dataclass(frozen=True)
class SizeEstimate:
    """What the frames of `num_videos` will take on the disk; `num_measured` 0: none of those tried could be read."""

    num_videos: int
    num_measured: int
    num_bytes: int
    bytes_a_frame: int
    free_bytes: int

    @property
    def fits(self) -> bool:
        return self.num_bytes <= self.free_bytes

    def summary(self) -> str:
        """For people."""
        if not self.num_measured:
            return "The size of the frames cannot be estimated: none of the videos tried could be read."
        message = (
            f"The frames of {counted(self.num_videos, 'video')} will take about "
            f"{self.num_bytes / _GB:.3g} GB ({self.bytes_a_frame / 1e3:.3g} kB a frame, measured on "
            f"{counted(self.num_measured, 'video')}); {self.free_bytes / _GB:.3g} GB are free there."
        )
        if self.fits:
            return message
        return (
            f"{message} They will not fit. Free space, or stop and give --short-side or --fps, or a folder on "
            "another disk."
        )


def estimate_size(measure: Measure, videos: Sequence[Path], output: Path, num_workers: int) -> SizeEstimate:
    """From a few of `videos`, evenly chosen: bytes of frames for each byte of video, times the bytes of all videos.

    A video that cannot be read is no part of it: it will be named when its turn comes.
    """
    positions = np.unique(np.linspace(0, len(videos) - 1, min(_NUM_VIDEOS, len(videos))).round().astype(int))
    chosen = [videos[position] for position in positions]
    results = in_processes(partial(_measure, measure), chosen, num_workers, _LIMIT_SEC)
    measured = [result for _, result in results if result is not None and not isinstance(result, Lost)]
    videos_bytes, frames, num_bytes = (sum(column) for column in zip(*measured, strict=True)) if measured else (1, 1, 0)
    total = round(num_bytes / max(videos_bytes, 1) * sum(_size_of(video) for video in videos))
    existing = next(folder for folder in (output.resolve(), *output.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    return SizeEstimate(len(videos), len(measured), total, round(num_bytes / max(frames, 1)), free)


def _measure(measure: Measure, video: Path) -> tuple[int, int, int] | None:
    """(bytes of the video, its frames, their bytes on the disk); None where it cannot be read."""
    try:
        num_frames, sizes = measure(video, _NUM_FRAMES)
    except (DataError, OSError, ValueError, RuntimeError, MemoryError, cv2.error, av.error.FFmpegError):
        return None
    on_disk = [-(-size // _BLOCK) * _BLOCK for size in sizes]
    return _size_of(video), num_frames, round(num_frames * sum(on_disk) / max(len(on_disk), 1))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
