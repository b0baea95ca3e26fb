"""Which files of a folder are its frames: those of one naming pattern, img_00001.jpg, img_00002.jpg, ...

Hidden files (.DS_Store, ._00001.jpg) and images without a number (thumbnail.jpg) are passed over. Where there are
several patterns (img_, flow_x_, flow_y_), nobody can tell which is meant: the folder is refused unless one is named.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from slowfast_gta.errors import ConfigError, DataError, counted

SUFFIXES = (".jpg", ".jpeg", ".png")

_NUMBER = re.compile(r"([0-9]+)")  # \d would take the digits of all scripts
_PLACE = re.compile(r"\{(?::(?:0([0-9]+))?d?)?\}|%(?:0([0-9]+))?d")  # of the number: {}, {:05d}, %05d
_MOST_NAMED = 4  # patterns that a message lists


@dataclass(frozen=True)
class FramePattern:
    """How the frames are named: text, a number with `width` digits or more, text."""

    before: str
    after: str
    width: int = 1

    def __str__(self) -> str:
        before, after = (text.replace("{", "{{").replace("}", "}}") for text in (self.before, self.after))
        return f"{before}{{:0{self.width}d}}{after}" if self.width > 1 else f"{before}{{}}{after}"

    @classmethod
    def parse(cls, text: str) -> "FramePattern":
        """The pattern that DATA.FRAME_PATTERN is. Raises ConfigError."""
        parts = _PLACE.split(text.replace("{{", "\0").replace("}}", "\1"))
        if len(parts) != 4 or "/" in text or not text.lower().endswith(SUFFIXES):
            raise ConfigError(
                f"DATA.FRAME_PATTERN is {text!r}. It must be the name of a frame with {{}} in the place of its number, "
                f"for example img_{{:05d}}.jpg or img_{{}}.png ({', '.join(SUFFIXES)})."
            )
        before, after = (part.replace("\0", "{").replace("\1", "}") for part in (parts[0], parts[3]))
        return cls(before, after, int(parts[1] or parts[2] or 1))

    def name(self, number: int) -> str:
        """The name of frame `number`."""
        return f"{self.before}{number:0{self.width}d}{self.after}"

    def number(self, name: str) -> int | None:
        """The number of the frame called `name`; None where it is not of this pattern."""
        if not (name.startswith(self.before) and name.endswith(self.after)):
            return None
        digits = name[len(self.before) : len(name) - len(self.after)]
        is_number = len(digits) >= self.width and digits.isascii() and digits.isdigit()
        return int(digits) if is_number else None


@dataclass(frozen=True)
class FrameSequence:
    """The frames of one pattern."""

    pattern: FramePattern | None  # None where other numbers change from name to name too
    names: dict[int, str]  # by number

    def __str__(self) -> str:
        return str(self.pattern) if self.pattern else next(iter(self.names.values()))


def find_sequence(path: str | Path, names: Iterable[str], pattern: FramePattern | None) -> FrameSequence:
    """The frames among the `names` of the folder `path`: those of `pattern`, or of the only one. Raises DataError."""
    images = [name for name in names if name[:1] != "." and name.lower().endswith(SUFFIXES)]
    if pattern:
        numbered = [(number, name) for name in images if (number := pattern.number(name)) is not None]
        if numbered:
            width = min(len(name) for _, name in numbered) - len(pattern.before) - len(pattern.after)
            return FrameSequence(FramePattern(pattern.before, pattern.after, width), _by_number(path, numbered))
    sequences = _sequences(path, images)
    if not sequences:
        some = f", only {images[0]}" if images else ""
        raise DataError(
            f"{path}: there are no frames in this folder{some}. Frames are named 00001.jpg, 00002.jpg, ..., or "
            f"otherwise with a number of digits 0 to 9 ({', '.join(SUFFIXES)})."
        )
    if pattern or len(sequences) > 1:
        raise DataError(_refusal(path, sequences, pattern))
    return sequences[0]


def _refusal(path: str | Path, sequences: Sequence[FrameSequence], pattern: FramePattern | None) -> str:
    sequences = sorted(sequences, key=lambda sequence: -len(sequence.names))
    listed = ", ".join(f"{sequence} ({counted(len(sequence.names), 'file')})" for sequence in sequences[:_MOST_NAMED])
    more = ", ..." if len(sequences) > _MOST_NAMED else ""
    if pattern:
        return f"{path}: no file name matches DATA.FRAME_PATTERN {pattern}; there are {listed}{more}."
    likely = next((sequence for sequence in sequences if re.match("img|frame|rgb|image", str(sequence))), sequences[0])
    return (
        f"{path}: the images in this folder are named in {len(sequences)} ways, {listed}{more}, and only one of them "
        f"can be its frames. Set DATA.FRAME_PATTERN to it, for example {likely}, or remove the others."
    )


def _sequences(path: str | Path, images: Sequence[str]) -> list[FrameSequence]:
    """All sequences among the names of images."""
    by_text = defaultdict(list)
    for name in images:
        parts = _NUMBER.split(name)
        if len(parts) > 1:
            by_text[tuple(parts[::2])].append((tuple(parts[1::2]), name))
    return [sequence for text, rows in by_text.items() for sequence in _of_one_text(path, text, rows)]


def _of_one_text(
    path: str | Path, text: tuple[str, ...], rows: list[tuple[tuple[str, ...], str]]
) -> list[FrameSequence]:
    """The sequences among names that differ in their numbers alone; `rows`: the numbers of each, and the name."""
    columns = [[int(digits) for digits in column] for column in zip(*(numbers for numbers, _ in rows), strict=True)]
    changing = [field for field, column in enumerate(columns) if len(set(column)) > 1] or [len(columns) - 1]
    if len(changing) > 1:  # 00017_of_00300 has one that changes; 00017_0.56s has several, which go together
        counting = [field for field in changing if len(set(columns[field])) == len(rows)]
        orders = {tuple(sorted(range(len(rows)), key=columns[field].__getitem__)) for field in counting}
        if len(orders) == 1:
            numbered = [(columns[counting[0]][row], name) for row, (_, name) in enumerate(rows)]
            return [FrameSequence(None, _by_number(path, numbered))]
    field = changing[-1]
    others = defaultdict(list)
    for numbers, name in rows:
        others[numbers[:field] + numbers[field + 1 :]].append((numbers[field], name))
    return [_with_pattern(path, text, fixed, field, members) for fixed, members in others.items()]


def _with_pattern(
    path: str | Path, text: tuple[str, ...], fixed: tuple[str, ...], field: int, numbered: list[tuple[str, str]]
) -> FrameSequence:
    """The sequence whose number stands at `field` among the numbers of a name, the others being `fixed`."""
    before = text[0] + "".join(digits + part for digits, part in zip(fixed[:field], text[1 : field + 1], strict=True))
    after = text[field + 1] + "".join(
        digits + part for digits, part in zip(fixed[field:], text[field + 2 :], strict=True)
    )
    width = min(len(digits) for digits, _ in numbered)
    names = _by_number(path, [(int(digits), name) for digits, name in numbered])
    return FrameSequence(FramePattern(before, after, width), names)


def _by_number(path: str | Path, numbered: list[tuple[int, str]]) -> dict[int, str]:
    """{number: name}, ascending. Raises DataError where two files have the same number."""
    names = dict(sorted(numbered))
    if len(names) < len(numbered):
        twice = next(name for number, name in sorted(numbered) if names[number] != name)
        other = names[next(number for number, name in numbered if name == twice)]
        raise DataError(f"{path}: {twice} and {other} have the same number. Remove one of them.")
    return names


@lru_cache(maxsize=1024)
def parse_pattern(text: str) -> FramePattern | None:
    """DATA.FRAME_PATTERN; None for the only one there is. Raises ConfigError."""
    return FramePattern.parse(text) if text else None
