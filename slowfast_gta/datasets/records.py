"""What a data set is made of: records, and the base class that every data set extends.

A record is one video of a list. A data set reads its official annotation files into records and knows what
is true of its classes: their names, what a mirror makes of them, which are each other's reversal.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.datasets.mirror import mirror_labels
from slowfast_gta.errors import DataError, counted

Scores = Mapping[str, Sequence[float]]  # video id -> the probability of each class, all outputs side by side
LeftOut = Mapping[str, Set[str]]  # split ("train", "val", "test") -> video ids


NO_LABEL = -1  # of a video in an official test list: only those who score submissions know it


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One video: a file or a folder of frames, its label, and the id it has in results.

    `span` makes it a part of a longer one: of a file, from second to second (the last not included); of a folder,
    from the frame of one number to that of another (included), the numbers being those in the file names.
    """

    path: str
    label: int | tuple[int, ...]  # one for each output, where there are several
    video_id: str
    num_frames: int | None = None  # as the list says; None where it does not say
    span: tuple[float, float] | None = None
    backwards: bool = False  # its clips are played in reverse


class VideoDataset:
    """The base of every data set; the contract is in `datasets/build.py`."""

    outputs: tuple[str, ...] = ()  # names of the outputs, where there are several: ("verb", "noun")
    # direction words of class names beyond mirror.DIRECTION_WORDS, in small letters
    direction_words: tuple[str, ...] = ()
    creates_itself = False  # True: prepare() makes the data where they are missing

    def __init__(self, data_dir: str | Path, path_prefix: str | Path = ""):
        """`data_dir` holds the annotation files, `path_prefix` the videos where they are elsewhere."""
        self.data_dir = Path(data_dir)
        self.path_prefix = Path(path_prefix) if path_prefix else None

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "VideoDataset":
        return cls(cfg.DATA.PATH_TO_DATA_DIR, cfg.DATA.PATH_PREFIX)

    @property
    def knows_its_classes(self) -> bool:
        """Whether its files name the classes; False: MODEL.NUM_CLASSES alone says how many there are."""
        return True

    def prepare(self) -> None:
        """Make what is missing, for a data set that creates itself."""

    def class_names(self) -> list[str] | dict[str, list[str]]:
        """The name of every class; its index is the label. With several outputs, {output: such a list}."""
        raise NotImplementedError

    def records(self, split: str) -> list[VideoRecord]:
        """The videos of `split`: "train", "val" or "test". Raises DataError."""
        raise NotImplementedError

    def reversed_pairs(self) -> list[tuple[int, int]]:
        """Labels of the classes that are each other played backwards."""
        return []

    def unlabelled_parts(self) -> dict[str, list[VideoRecord]]:
        """{part of the official test set: its videos, with the label NO_LABEL}. Raises DataError where there is none.

        `submission_files` says what the server takes for them.
        """
        raise DataError(f"{type(self).__name__} has no known official test list without labels.")

    def submission_files(self, parts: Mapping[str, Scores]) -> dict[str, bytes]:
        """{file name: content} of what is handed in for {part: {video id: its scores (K,)}}."""
        raise DataError(f"{type(self).__name__} has no known submission format.")

    def videos_root(self) -> Path:
        """The folder that DATA.PATH_PREFIX would name for lists that stand elsewhere."""
        return self.path_prefix or self.data_dir

    def write_without(self, output: Path, left_out: LeftOut) -> None:
        """Write the annotation files into the folder `output`, in the format that they have, without the videos of
        these ids, by split ("train", "val", "test"). Raises DataError where this data set cannot."""
        raise DataError(
            f"{type(self).__name__} does not define how its lists are written: it has no method write_without "
            "(docs/lists.md, A layout of your own)."
        )

    def mirror_labels(self) -> list[int | None] | list[list[int | None]]:
        """For every class, the label of its mirror image, or None; with several outputs, a list for each."""
        names = self.class_names()
        if isinstance(names, dict):
            return [mirror_labels(of_output, self.direction_words) for of_output in names.values()]
        return mirror_labels(names, self.direction_words)


def read_text(path: Path, what: str) -> str:
    """The text of an annotation file. Raises DataError that says `what` it was to be."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(
            f"{path}: there is no such file; it would be {what}. DATA.PATH_TO_DATA_DIR must be the folder that "
            "contains it."
        ) from None
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}: {what} must be UTF-8 text, and byte {fault.start} of it is not.") from None
    except OSError as fault:
        raise DataError(f"{path}: {what} cannot be read ({fault.strerror}).") from None
    before, zero, _ = text.partition("\0")
    if zero:  # as a crash leaves them
        raise DataError(f"{path}:{before.count(chr(10)) + 1}: the text contains a byte 0. Fetch or write it again.")
    return text


def check_folder(path: Path, what: str) -> Path:
    """`path`, when it is a folder. Raises DataError that says `what` was to be in it."""
    if not path.is_dir():
        state = "is not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path} {state}, but {what} are expected in it. DATA.PATH_PREFIX can name another folder.")
    return path


_MOST_FAULTS = 200  # of one list: with more of them it is another list, or another list of classes


class ListError(DataError):
    """All that is wrong with a list: `messages`, one for each line. The message is the first of them."""

    def __init__(self, messages: Sequence[str]):
        at_least = "At least " * (len(messages) == _MOST_FAULTS)
        others = f" {at_least}{counted(len(messages) - 1, 'more wrong line')}: tools/check_data.py lists them all."
        super().__init__(messages[0] + others * (len(messages) > 1))
        self.messages = messages


class LineFaults:
    """Collects the DataErrors of single lines, and raises them together, as ListError, at the end of the list.

    with LineFaults() as faults:
        for line in lines:
            with faults.of_a_line():
                ...
    """

    def __init__(self) -> None:
        self._messages: list[str] = []

    def __enter__(self) -> "LineFaults":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._messages:
            raise ListError(self._messages)

    @contextmanager
    def of_a_line(self) -> Iterator[None]:
        try:
            yield
        except DataError as fault:
            self._messages.append(str(fault))
            if len(self._messages) == _MOST_FAULTS:
                raise ListError(self._messages) from None


def check_unique(ids: Iterable[tuple[str, str]], what: str = "video id") -> None:
    """Raises DataError for ids (or `what` else they are) that come twice. `ids` are (where, id)."""
    first_seen: dict[str, str] = {}
    with LineFaults() as faults:
        for where, entry in ids:
            with faults.of_a_line():
                if entry in first_seen:
                    raise DataError(
                        f"{where}: the {what} '{entry}' was already given at {first_seen[entry]}. "
                        f"Every {what.split()[0]} may be listed once; remove one of the two."
                    )
                first_seen[entry] = where


def label_of(name: str, labels: dict[str, int], where: str, labels_file: Path) -> int:
    """The label of the class `name`. Raises DataError that names the nearest known class."""
    if name in labels:
        return labels[name]
    near = difflib.get_close_matches(name, labels, n=1, cutoff=0.5)
    hint = f" The nearest is '{near[0]}'." if near else ""
    raise DataError(f"{where}: the label '{name}' is not one of the classes of {labels_file} ({len(labels)}).{hint}")
