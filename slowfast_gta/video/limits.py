"""How much of memory and time the reading of one video may take, whatever its header declares."""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_gta.errors import DataError, ReadTimeoutError, counted

MAX_PIXELS = 4096 * 4096  # of one frame
MAX_FRAMES_BYTES = 4 * 2**30  # of the RGB frames that are read at once
MAX_KEPT_BYTES = 2**26  # of a video as it is stored: of one that is larger, what a clip needs is read again
MAX_KEPT_PACKETS = 2**14  # or one that has more
MAX_PART_BYTES = 2**30  # of a part of a video as it is stored, which is kept in memory while it is read


class Deadline:
    """Counts from now; without a limit (None or 0), for ever. Readers `check` it between packets and frames."""

    def __init__(self, path: str | Path, limit_sec: float | None = None):
        self.path = path
        self.limit_sec = limit_sec or None
        self._end = time.monotonic() + limit_sec if limit_sec else float("inf")

    def check(self) -> None:
        """Raises ReadTimeoutError when the time is over."""
        if time.monotonic() > self._end:
            raise self.passed()

    def passed(self) -> ReadTimeoutError:
        """What to raise then."""
        return ReadTimeoutError(
            f"{self.path}: reading it took longer than {self.limit_sec:g} s (DATA_LOADER.SAMPLE_TIMEOUT_SEC). "
            "Make the video smaller, put it on a faster disk, or raise the limit."
        )


def check_frame_size(path: str | Path, width: int, height: int) -> None:
    """Raises DataError when a frame is too large to be read."""
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: its frames are {width} x {height} pixels; up to {MAX_PIXELS / 1e6:.0f} million pixels are read. "
            "Resize it first (ffmpeg -i IN -vf scale=-2:480 OUT)."
        )


def check_part_size(path: str | Path, num_bytes: int) -> None:
    """Raises DataError when a part of a video is too large to be kept in memory while it is read."""
    if num_bytes > MAX_PART_BYTES:
        raise DataError(
            f"{path}: a part of this video in the list is larger than {MAX_PART_BYTES // 2**30} GiB. List shorter "
            "parts, or make the video smaller (ffmpeg -i IN -vf scale=-2:480 OUT)."
        )


def stack_frames(path: str | Path, indices: Sequence[int], frames: Iterator[np.ndarray]) -> np.ndarray:
    """uint8 (T, H, W, 3): the frames `indices`, of which `frames` gives each that is not the one before again. Raises
    DataError when they are too large."""
    out: Any = None  # until the first frame tells the size
    start = 0
    for _, same in groupby(indices):
        frame, stop = next(frames), start + len(list(same))
        if out is None:
            out = _empty_frames(path, len(indices), *frame.shape[:2])
        out[start:stop] = frame
        start = stop
    return out


def _empty_frames(path: str | Path, num_frames: int, height: int, width: int) -> np.ndarray:
    size = (num_frames, height, width, 3)
    if np.prod(size, dtype=float) > MAX_FRAMES_BYTES:
        raise DataError(
            f"{path}: {counted(num_frames, 'frame')} of {width} x {height} pixels would take more than "
            f"{MAX_FRAMES_BYTES // 2**30} GiB of memory. Resize it first (tools/prepare_data.py resize)."
        )
    return np.empty(size, np.uint8)
