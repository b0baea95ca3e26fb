"""Lists of videos in the formats of other codebases: which of them a folder holds, and what a line says.

pyslowfast   train.csv                      path label  or  path num_frames label; space, comma or tab between them
             train.csv (Something)          original_vido_id video_id frame_id path labels: one line for each frame
mmaction2    *_train_list_videos.txt        path label
             *_train_list_rawframes.txt     folder num_frames label  or  folder offset num_frames label
tsm          train_videofolder.txt          folder num_frames label
glore        kinetics_train_avi.txt         number label path

What a data set was published with ("official") is read by the data set's own file.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from slowfast_gta.datasets.records import LineFaults, ListError, VideoRecord, check_unique, read_text
from slowfast_gta.datasets.tables import split_csv
from slowfast_gta.errors import DataError

# What the lists of a split are called, by codebase and release.
WORDS = {"train": ("train",), "val": ("val", "validation", "validate"), "test": ("test",)}

# What the first lines of lists that are all called train.csv hold.
FRAME_LIST_HEAD = "original_vido_id"  # PySlowFast's own spelling
OFFICIAL_HEAD = "youtube_id"  # Kinetics
_SEPARATORS = {" ": "a space", ",": "a comma", "\t": "a tab"}
_NUMBER = re.compile(r"-?\d{1,9}")
_LAST_NUMBER = re.compile(r'(.*?)([ \t,]+)("?)-?\d{1,9}\3')  # path, what stands before the label, label
_BLANKS = " \t\r\n"  # str.strip() would also take what may stand in a name, as a no-break space
_FRAME_PATH = re.compile(r"(.*?)(\d+)(\.\w+)")


class ListedVideo(NamedTuple):
    """One video of a list, and where it stands there (file:line)."""

    where: str
    name: str  # its path
    label: int
    num_frames: int | None = None
    span: tuple[int, int] | None = None
    video_id: str = ""  # where it is not the path


@dataclass(frozen=True)
class ListFormat:
    """What the lists of a format are called (globs; {split} stands for the words above), and what reads one.

    `head`: what the first line of a .csv holds, since formats share that name. `beside`: a format whose files belong
    to this one too.
    """

    names: tuple[str, ...]
    read: Callable[[Path], Iterator[ListedVideo]] | None = None
    head: str = ""
    beside: str = ""

    def find(self, folder: Path, split: str) -> list[Path]:
        """The lists of `split` in `folder`."""
        return [path for path in self.called(folder, split) if self._fits(path)]

    def called(self, folder: Path, split: str) -> list[Path]:
        """The files in `folder` that are called so, whatever is in them."""
        globs = dict.fromkeys(name.format(split=word) for name in self.names for word in WORDS[split])
        return [path for glob in globs for path in sorted(folder.glob(glob))]

    def _fits(self, path: Path) -> bool:
        if path.suffix != ".csv":
            return True
        with open_list(path) as file:
            columns = re.split(r"[\s,]+", file.readline(1000).strip())
        return [head for head in (FRAME_LIST_HEAD, OFFICIAL_HEAD) if head in columns] == [self.head] * bool(self.head)


def find_format(folder: Path, formats: dict[str, ListFormat], wanted: str) -> str:
    """The name of the format that the lists in `folder` have; `wanted`, where it is not "auto".

    Raises DataError where there is no list, or more than one format.
    """
    if wanted != "auto":
        if wanted not in formats:
            raise DataError(f"DATA.LIST_FORMAT is {wanted}; for this data set it must be {', '.join(formats)} or auto.")
        return wanted
    candidates = {
        name: path for name, form in formats.items() for split in reversed(WORDS) for path in form.find(folder, split)
    }
    for name in list(candidates):
        candidates.pop(formats[name].beside, None)
    if len(candidates) > 1:
        raise DataError(
            f"{folder} contains lists of several formats: "
            + ", ".join(f"{path.relative_to(folder)} ({name})" for name, path in candidates.items())
            + ". DATA.LIST_FORMAT says which of them to read."
        )
    return next(iter(candidates), next(iter(formats)))


def find_list(folder: Path, name: str, list_format: ListFormat, split: str) -> Path:
    """The list of `split`. Raises DataError unless it is exactly one."""
    files = list_format.find(folder, split)
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(str(path.relative_to(folder)) for path in files)
        raise DataError(
            f"{folder} contains {len(files)} lists of {split} videos: {names}. Keep only one of them there."
        )
    if other := list_format.called(folder, split):
        raise DataError(
            f"{other[0]}: its first line is not that of a list of the format {name}. DATA.LIST_FORMAT says whose "
            "lists to read; docs/data.md and docs/lists.md have the formats of each data set."
        )
    names = " or ".join(name.format(split=WORDS[split][0]) for name in list_format.names)
    raise DataError(
        f"{folder}: no such file: {names}, the list of {split} videos ({name}). DATA.PATH_TO_DATA_DIR must "
        "be the folder that contains it."
    )


def to_records(videos: Sequence[ListedVideo], root: Path, num_classes: int, source: Path) -> list[VideoRecord]:
    """The records of a list, whose paths start at `root`. Raises DataError for labels and videos that cannot be."""
    outside = [
        f"{video.where}: the label {video.label} is outside 0..{num_classes - 1}; "
        f"the number of classes is {num_classes} (MODEL.NUM_CLASSES, or the lines of classes.txt)."
        for video in videos
        if not 0 <= video.label < num_classes
    ]
    if outside:
        raise ListError(outside)
    if not videos:
        raise DataError(f"{source}: the list is empty.")
    check_unique((video.where, video.video_id or video.name) for video in videos)
    return [
        VideoRecord(str(root / video.name), video.label, video.video_id or video.name, video.num_frames, video.span)
        for video in videos
    ]


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(file:line, the line without blanks at its ends) of all lines that are not blank.

    Only a line feed ends a line: str.splitlines() would also do so at characters that may stand in a name.
    """
    for number, line in enumerate(read_text(path, "the list of videos").split("\n"), start=1):
        if line := line.strip(_BLANKS):
            yield f"{path}:{number}", line


def read_paths(path: Path, separator: str = "auto") -> Iterator[ListedVideo]:
    """`path label` or `path num_frames label`, with quotes round fields as csv has them. What stands before the last
    separator is the path, separators in it included; a line of exactly three fields with a number in the middle is
    `path num_frames label`."""
    first_seen = ""
    with LineFaults() as faults:
        for where, line in numbered_lines(path):
            with faults.of_a_line():
                if separator == "auto":
                    separator, first_seen = _separator_of(line, where), where
                elif first_seen and (other := _separator_of(line, where)) != separator:
                    raise DataError(
                        f"{where}: the label is preceded by {_SEPARATORS[other]}, but at {first_seen} by "
                        f"{_SEPARATORS[separator]}. A list has one separator; DATA.PATH_LABEL_SEPARATOR can name it."
                    )
                name, count, label = split_path_line(line, separator)
                if not name or label is None:
                    raise DataError(
                        f"{where}: a line must be 'path{separator}label' with a number as label; it is '{line}'. "
                        f"DATA.PATH_LABEL_SEPARATOR names the separator, and is now {separator!r}."
                    )
                yield ListedVideo(where, name, label, count)


def split_path_line(line: str, separator: str) -> tuple[str, int | None, int | None]:
    """(path, num_frames, label) of a line; what it does not have is None."""
    quoted = _quoted_fields(line, separator)
    fields = quoted or [field for field in line.split(separator) if field.strip()]
    if not fields or not _NUMBER.fullmatch(fields[-1].strip()):
        return "", None, None
    with_count = len(fields) == 3 and _NUMBER.fullmatch(fields[1].strip()) is not None
    before = separator.join(quoted[:-1]) if quoted else line.rpartition(separator)[0].strip(_BLANKS)
    name = fields[0] if with_count else before
    return name if quoted else name.strip(_BLANKS), int(fields[1]) if with_count else None, int(fields[-1])


def _quoted_fields(line: str, separator: str) -> list[str]:
    """The fields of a line of csv whose path or label is in quotes; [] where it is none, and quotes belong to names."""
    if not (line.startswith('"') or line.endswith('"')):
        return []
    fields = split_csv(line, separator)
    return fields if len(fields) == 2 or (len(fields) == 3 and _NUMBER.fullmatch(fields[1].strip())) else []


def not_listable(paths: Sequence[str], separator: str) -> list[str]:
    """Those of `paths` that a list with this separator, written and read back, would not have as they are."""
    if _read_back(paths, separator) == list(paths):
        return []
    return [path for path in paths if _read_back([path], separator) != [path]]


def _read_back(paths: Sequence[str], separator: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "list.csv")
        try:
            written.write_bytes("".join(f"{path}{separator}0\n" for path in paths).encode())
            return [video.name for video in read_paths(written, separator)]
        except (UnicodeEncodeError, DataError):
            return []


def _separator_of(line: str, where: str) -> str:
    """What stands before the number at the end: a comma, a tab or a space."""
    match = _LAST_NUMBER.fullmatch(line)
    if match is None:
        raise DataError(
            f"{where}: a line must be 'path label' with a number as label; it is '{line}'. They are separated "
            "by a space, a comma or a tab, the same in the whole list."
        )
    return next(separator for separator in (",", "\t", " ") if separator in match[2] or separator == " ")


def read_mmaction2(path: Path) -> Iterator[ListedVideo]:
    """mmaction2's list of videos or of frame folders, by its name. Offsets count frames before the video's first."""
    if path.stem.endswith("videos"):
        for where, line in numbered_lines(path):
            name, label = _fields(line, 1, where, "path label")
            if (before := name.rpartition(" ")[2]).isdecimal() and name != before:
                raise DataError(
                    f"{where}: '{line}' has several labels, or a number of frames; only one label is supported."
                )
            yield ListedVideo(where, name, label)
        return
    lines = list(numbered_lines(path))
    with_offset = all(re.fullmatch(r".*\s\d+\s+\d+\s+\d+", line) for _, line in lines)
    for where, line in lines:
        if with_offset:
            name, offset, count, label = _fields(line, 3, where, "folder offset num_frames label")
            yield ListedVideo(where, name, label, count, (offset + 1, offset + count), f"{name}:{offset}")
        else:
            name, count, label = _fields(line, 2, where, "folder num_frames label")
            yield ListedVideo(where, name, label, count)


def read_tsm(path: Path) -> Iterator[ListedVideo]:
    """TSM's and TRN's list of frame folders."""
    for where, line in numbered_lines(path):
        name, count, label = _fields(line, 2, where, "folder num_frames label")
        yield ListedVideo(where, name, label, count)


def read_glore(path: Path) -> Iterator[ListedVideo]:
    """GloRe's list: a number that names the video, its label, its path."""
    for where, line in numbered_lines(path):
        fields = line.split(maxsplit=2)
        if len(fields) < 3 or not (_NUMBER.fullmatch(fields[0]) and _NUMBER.fullmatch(fields[1])):
            raise DataError(f"{where}: a line must be 'number label path'; it is '{line}'.")
        yield ListedVideo(where, fields[2], int(fields[1]))


def _fields(line: str, num_numbers: int, where: str, what: str) -> tuple:
    """The path and the `num_numbers` numbers of a line. Spaces may be in the path."""
    fields = line.rsplit(maxsplit=num_numbers)
    if len(fields) <= num_numbers or not all(map(_NUMBER.fullmatch, fields[1:])):
        raise DataError(f"{where}: a line must be '{what}' with numbers after the first; it is '{line}'.")
    return fields[0], *map(int, fields[1:])


def read_frame_list(path: Path) -> dict[str, tuple[str, tuple[int, int]]]:
    """PySlowFast's list of frames: id -> (folder, numbers of the first and the last frame).

    It is read line by line: that of Something-Something v2 has 25 million lines.
    Raises DataError unless the frames of a video are all those between two numbers of one folder, in order.
    """
    frames: dict[str, tuple[str, tuple[int, int]]] = {}
    current, wanted, template = "", "", ""  # the video, the path that its next frame must have, how it is made
    with open_list(path) as file:
        next(file)  # the head
        for number, line in enumerate(file, start=2):
            fields = line.split()
            if len(fields) == 5 and fields[0] == current and fields[3] == wanted:
                folder, (first, last) = frames[current]
                frames[current], wanted = (folder, (first, last + 1)), template.format(last + 2)
            elif fields:
                current, template, first = _first_frame(fields, f"{path}:{number}", frames)
                frames[current] = (fields[3].rpartition("/")[0] or ".", (first, first))
                wanted = template.format(first + 1)
    return frames


def _first_frame(fields: list[str], where: str, frames: dict) -> tuple[str, str, int]:
    """The id of a video, how the paths of its frames are made of their numbers, and the number of this one."""
    match = _FRAME_PATH.fullmatch(fields[3]) if len(fields) == 5 else None
    if match is None:
        raise DataError(
            f"{where}: a line must be 'original_vido_id video_id frame_id path labels', five fields without "
            "spaces in them, the path ending with the number of the frame, for example 7/7_000001.jpg; it is "
            f"'{' '.join(fields)}'."
        )
    if fields[0] in frames:
        folder, (_, last) = frames[fields[0]]
        raise DataError(
            f"{where}: the frames of a video must follow one another, in one folder and numbered consecutively; video "
            f"{fields[0]} comes to frame {last} of {folder}, and then to {fields[3]}."
        )
    before, digits, after = (part.replace("{", "{{").replace("}", "}}") for part in match.groups())
    return fields[0], f"{before}{{:0{len(digits)}d}}{after}", int(digits)


@contextmanager
def open_list(path: Path) -> Iterator[TextIO]:
    """An annotation file that is too large to be read at once. Raises DataError, as records.read_text does."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}: the list of videos must be UTF-8 text, and byte {fault.start} is not.") from None
    except OSError as fault:
        raise DataError(f"{path}: the list of videos cannot be read ({fault.strerror}).") from None
