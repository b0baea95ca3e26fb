"""Folders of extracted frames: a whole one is a video, a range of its numbers is a part of a longer video.

T frame, H W space.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.video.images import read_image
from slowfast_gta.video.limits import Deadline, empty_frames

_SUFFIXES = (".jpg", ".jpeg", ".png")
_NUMBERED = re.compile(r"(.*?)(\d+)(\.\w+)")  # frame_0000000017.jpg
_LAST_NUMBER = re.compile(r".*?(\d+)\D*\.\w+")  # 78687_000001.jpg
_DIGITS = re.compile(r"(\d+)")


class FrameFolder:
    """A folder of extracted frames, in the order of the numbers in their names: 2.jpg comes before 10.jpg."""

    fps = times_sec = None  # a folder does not know them
    num_repeated = 0

    def __init__(self, path: str | Path, timeout_sec: float | None = None):
        self.path = str(path)
        self._deadline = Deadline(self.path, timeout_sec)
        try:
            files = (file for file in Path(self.path).iterdir() if file.suffix.lower() in _SUFFIXES)
            self._files = sorted(files, key=_by_numbers)
        except OSError as fault:
            raise DataError(f"{self.path}: the folder cannot be read ({fault.strerror}).") from None
        if not self._files:
            raise DataError(f"{self.path}: there are no frames ({', '.join(_SUFFIXES)}) in this folder.")

    def __enter__(self) -> "FrameFolder":
        return self

    def __exit__(self, *exception) -> None:
        pass

    @property
    def num_frames(self) -> int:
        return len(self._files)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames `indices` (non-decreasing, repeats allowed) as uint8 (T, H, W, 3), RGB."""
        out, previous = None, None
        for place, index in enumerate(indices):
            if index == previous:
                out[place] = out[place - 1]
                continue
            self._deadline.check()
            image = read_image(self._file(index))
            if out is None:
                out = empty_frames(self.path, len(indices), *image.shape[:2])
            if image.shape != out.shape[1:]:
                sizes = sorted({out.shape[1:3], image.shape[:2]})
                raise DataError(f"{self.path}: the frames have different sizes: {', '.join(map(str, sizes))}.")
            out[place] = image
            previous = index
        return out

    @property
    def files(self) -> list[Path]:
        """The file of each frame."""
        return [self._file(index) for index in range(self.num_frames)]

    @property
    def num_gaps(self) -> int:
        """How many numbers between the first and the last frame's have no file."""
        numbers = [int(name[1]) for file in self.files if (name := _LAST_NUMBER.fullmatch(file.name))]
        return max(numbers) - min(numbers) + 1 - len(set(numbers)) if numbers else 0

    def _file(self, index: int) -> Path:
        return self._files[index]


class FrameRange(FrameFolder):
    """The frames from number `first` to number `last`, both included, of a folder that may hold a whole day.

    It is not listed: one name shows how the frames are named. A number that has no file is replaced by a near one,
    and counted in `num_repeated`: the lists of some data sets go a little beyond the frames that were extracted.
    """

    _NEAR = (-1, 1, -2, 2, -3, 3)

    def __init__(self, path: str | Path, first: int, last: int, timeout_sec: float | None = None):
        self.path, self._first, self._last = str(path), first, last
        self._deadline = Deadline(self.path, timeout_sec)
        self.num_repeated = 0
        self._name = self._pattern()

    @property
    def num_frames(self) -> int:
        return self._last - self._first + 1

    def _pattern(self) -> str:
        """How a number becomes a file name, as frame_{:010d}.jpg."""
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    name = _NUMBERED.fullmatch(entry.name)
                    if name and name[3].lower() in _SUFFIXES:
                        literal = [part.replace("{", "{{").replace("}", "}}") for part in (name[1], name[3])]
                        return f"{literal[0]}{{:0{len(name[2])}d}}{literal[1]}"
        except OSError as fault:
            raise DataError(f"{self.path}: the folder cannot be read ({fault.strerror}).") from None
        raise DataError(f"{self.path}: there are no numbered frames ({', '.join(_SUFFIXES)}) in this folder.")

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
            f"{wanted}: there is no such frame, nor one near it; the list wants frames {self._first} to {self._last}."
        )

    def _path(self, number: int) -> Path:
        return Path(self.path, self._name.format(number))


def _by_numbers(file: Path) -> list[str | int]:
    """Text and numbers in turn, for sorting."""
    return [int(part) if place % 2 else part for place, part in enumerate(_DIGITS.split(file.name))]


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises where a file cannot be reached
