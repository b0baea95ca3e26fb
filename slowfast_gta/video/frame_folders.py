"""Folders of extracted frames: a whole one is a video, a range of its numbers is a part of a longer video.

T frame, H W space.
"""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import Closing
from slowfast_gta.video.frame_names import FramePattern, FrameSequence, find_sequence, parse_pattern
from slowfast_gta.video.images import read_image
from slowfast_gta.video.limits import Deadline, stack_frames


class FrameFolder(Closing):
    """A folder of extracted frames, in the order of the numbers in their names: 2.jpg comes before 10.jpg.

    `pattern` says which files are its frames, as DATA.FRAME_PATTERN; empty: the only naming pattern there is.
    """

    fps = times_sec = None  # a folder does not know them
    num_repeated = 0

    def __init__(self, path: str | Path, timeout_sec: float | None = None, pattern: str = ""):
        self.path = str(path)
        self._deadline = Deadline(self.path, timeout_sec)
        names = _list_frames(self.path, parse_pattern(pattern)).names
        self._numbers = list(names)
        self._files = [Path(self.path, name) for name in names.values()]

    @property
    def num_frames(self) -> int:
        return len(self._files)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames `indices` (non-decreasing, repeats allowed) as uint8 (T, H, W, 3), RGB."""
        return stack_frames(self.path, indices, self._images(indices))

    def _images(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        shape = None
        for index, _ in groupby(indices):
            self._deadline.check()
            image = read_image(self._file(index))
            shape = shape or image.shape
            if image.shape != shape:
                sizes = sorted({shape[:2], image.shape[:2]})
                raise DataError(f"{self.path}: the frames have different sizes: {', '.join(map(str, sizes))}.")
            yield image

    @property
    def files(self) -> list[Path]:
        """The file of each frame."""
        return [self._file(index) for index in range(self.num_frames)]

    @property
    def num_gaps(self) -> int:
        """How many numbers between the first and the last frame's have no file."""
        return self._numbers[-1] - self._numbers[0] + 1 - len(self._numbers)

    def _file(self, index: int) -> Path:
        return self._files[index]


class FrameRange(FrameFolder):
    """The frames from number `first` to number `last`, both included, of a folder that may hold a whole day.

    It is listed once, to find out how its frames are named. A number that has no file is replaced by the nearest, and
    counted in `num_repeated`: the lists of some data sets go a little beyond the frames that were extracted.
    """

    _NEAR = (-1, 1, -2, 2, -3, 3)

    def __init__(self, path: str | Path, first: int, last: int, timeout_sec: float | None = None, pattern: str = ""):
        self.path, self._first, self._last = str(path), first, last
        self._deadline = Deadline(self.path, timeout_sec)
        self.num_repeated = 0
        self._pattern = _known_pattern(self.path, pattern)

    @property
    def num_frames(self) -> int:
        return self._last - self._first + 1

    @property
    def num_gaps(self) -> int:
        """How many of the numbers have no file."""
        return sum(not _is_file(self._path(number)) for number in range(self._first, self._last + 1))

    def _file(self, index: int) -> Path:
        wanted = self._path(self._first + index)
        if _is_file(wanted):
            return wanted
        for step in self._NEAR:
            number = self._first + index + step
            if self._first <= number <= self._last and _is_file(self._path(number)):
                self.num_repeated += 1
                return self._path(number)
        raise DataError(
            f"{wanted}: neither this frame nor one near it exists; the list asks for frames {self._first} to "
            f"{self._last}."
        )

    def _path(self, number: int) -> Path:
        return Path(self.path, self._pattern.name(number))


def _list_frames(path: str, pattern: FramePattern | None) -> FrameSequence:
    """Raises DataError."""
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries]
    except (OSError, ValueError) as fault:
        raise DataError(f"{path}: the folder cannot be read ({getattr(fault, 'strerror', fault)}).") from None
    return find_sequence(path, names, pattern)


def _known_pattern(path: str, pattern: str) -> FramePattern:
    """How the frames of a folder are named. Raises DataError."""
    try:
        changed_ns = os.stat(path).st_mtime_ns  # noqa: PTH116 - Path.stat does not take every path
    except (OSError, ValueError) as fault:
        raise DataError(f"{path}: the folder cannot be read ({getattr(fault, 'strerror', fault)}).") from None
    return _pattern_at(path, changed_ns, pattern)


@lru_cache(maxsize=4096)
def _pattern_at(path: str, changed_ns: int, pattern: str) -> FramePattern:
    """The same, looked up once as long as the folder does not change: it may hold a whole day."""
    sequence = _list_frames(path, parse_pattern(pattern))
    if sequence.pattern is None:
        raise DataError(
            f"{path}: more than one number changes in the names of the frames, as in {sequence}, so that a "
            "frame cannot be found by its number. Rename them 00001.jpg, 00002.jpg, ..."
        )
    return sequence.pattern


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises where a file cannot be reached
