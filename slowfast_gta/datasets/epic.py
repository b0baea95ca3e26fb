"""EPIC-Kitchens 55 and 100, as published: csv lists of actions in long videos, each with a verb and a noun.

EPIC_100_train.csv, EPIC_100_validation.csv, EPIC_100_verb_classes.csv, EPIC_100_noun_classes.csv
EPIC_train_action_labels.csv, EPIC_verb_classes.csv, EPIC_noun_classes.csv
P01/rgb_frames/P01_01/frame_0000000001.jpg, ...  or  P01/videos/P01_01.MP4                        (100)
frames_rgb_flow/rgb/train/P01/P01_01/frame_0000000001.jpg, ...  or  videos/train/P01/P01_01.MP4      (55)
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.cleaned import copy_files, copy_without_lines, line_of
from slowfast_gta.datasets.records import (
    NO_LABEL,
    LeftOut,
    LineFaults,
    Scores,
    VideoDataset,
    VideoRecord,
    check_folder,
    check_unique,
)
from slowfast_gta.datasets.submission import epic_document, zipped_json
from slowfast_gta.datasets.tables import read_fields, read_rows
from slowfast_gta.errors import DataError, counted

logger = logging.getLogger(__name__)

# Where the downloads of the two releases put a video: p participant, v video.
_PATTERNS = (
    *("{p}/rgb_frames/{v}", "frames_rgb_flow/rgb/train/{p}/{v}"),  # of 100, of 55
    *("{p}/videos/{v}.MP4", "{p}/videos/{v}.mp4", "videos/train/{p}/{v}.MP4", "videos/train/{p}/{v}.mp4"),
    *("frames_rgb_flow/rgb/test/{p}/{v}", "videos/test/{p}/{v}.MP4", "videos/test/{p}/{v}.mp4"),  # of 55
    *("{p}/{v}", "{p}/{v}.MP4", "{p}/{v}.mp4", "{v}", "{v}.MP4", "{v}.mp4"),
)
_TIME = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")  # 00:01:05.23, with any number of decimals
_COLUMNS = ("participant_id", "video_id", "start_timestamp", "stop_timestamp", "start_frame", "stop_frame")


@dataclass(frozen=True)
class _Release:
    """The files of a release, and the column with the id of an action."""

    train: str
    val: str
    classes: str  # of "verb" or "noun"
    id_column: str
    tests: tuple[tuple[str, str], ...]  # (name of the part, its list without labels)


_EPIC_100 = _Release(
    "EPIC_100_train.csv",
    "EPIC_100_validation.csv",
    "EPIC_100_{}_classes.csv",
    "narration_id",
    (("test", "EPIC_100_test_timestamps.csv"),),
)
_EPIC_55 = _Release(
    "EPIC_train_action_labels.csv",
    "EPIC_train_action_labels.csv",
    "EPIC_{}_classes.csv",
    "uid",
    (("seen", "EPIC_test_s1_timestamps.csv"), ("unseen", "EPIC_test_s2_timestamps.csv")),
)
# The test lists of EPIC-55 have no labels, and it has no validation list: these participants of its training list
# are held out for both, as is usual (P01 to P25 train).
_FIRST_HELD_OUT = 26


@DATASET_REGISTRY.register()
class EPIC(VideoDataset):
    """The release whose lists are in `data_dir`. The outputs are verb and noun; an action is a pair of them.

    Clips come from the videos by their time stamps, or from folders of frames by their numbers: whichever is found
    first, video by video, under `path_prefix` or `data_dir`.
    """

    outputs = ("verb", "noun")

    def class_names(self) -> dict[str, list[str]]:
        release = self._release()
        return {output: _class_names(self.data_dir / release.classes.format(output)) for output in self.outputs}

    def records(self, split: str) -> list[VideoRecord]:
        release = self._release()
        root = check_folder(self.path_prefix or self.data_dir, "the videos or frame folders")
        sizes = {output: len(names) for output, names in self.class_names().items()}
        path = self.data_dir / (release.train if split == "train" else release.val)

        def labels_of(row: dict[str, str], where: str) -> tuple[int, ...] | None:
            if release is _EPIC_55 and _is_held_out(row["participant_id"], where) == (split == "train"):
                return None
            return tuple(_label(row, output, size, where) for output, size in sizes.items())

        columns = (*_COLUMNS, release.id_column, "verb_class", "noun_class")
        records = _actions(read_rows(path, "the list of actions", columns), release.id_column, root, labels_of)
        if not records:
            whose = f" of the participants {_part(split)}" if release is _EPIC_55 else ""
            raise DataError(f"{path}: the list contains no action{whose}, for {split}.")
        self._warn_of_fallbacks(release, split)
        return records

    def unlabelled_parts(self) -> dict[str, list[VideoRecord]]:
        """The time stamps of the official test set; of 55, those of seen and of unseen kitchens."""
        release = self._release()
        root = check_folder(self.path_prefix or self.data_dir, "the videos or frame folders")
        columns, unknown = (*_COLUMNS, release.id_column), (NO_LABEL,) * len(self.outputs)
        parts = {}
        for part, name in release.tests:
            if (path := self.data_dir / name).exists():
                rows = read_rows(path, "the list of test actions", columns)
                parts[part] = _actions(rows, release.id_column, root, lambda row, where: unknown)
                if not parts[part]:
                    raise DataError(f"{path}: the list contains no action.")
        if not parts:
            names = " and ".join(name for _, name in release.tests)
            raise DataError(f"{self.data_dir}: the list of the test set, {names}, is missing. Download it.")
        return parts

    def submission_files(self, parts: Mapping[str, Scores]) -> dict[str, bytes]:
        """A .zip with test.json (of 55: seen.json and unseen.json): `submission.epic_document`."""
        sizes = {output: len(names) for output, names in self.class_names().items()}
        is_55 = self._release() is _EPIC_55
        documents = {
            f"{part}.json": epic_document(scores, sizes, version="0.1" if is_55 else "0.2")
            for part, scores in parts.items()
        }
        return {f"epic-kitchens-{55 if is_55 else 100}-test-unscored.zip": zipped_json(documents)}

    def write_without(self, output: Path, left_out: LeftOut) -> None:
        """The csv lists without the rows of these actions. 55's training list is that of all splits."""
        release, ids = self._release(), set(chain.from_iterable(left_out.values()))
        others = [self.data_dir / release.classes.format(output_name) for output_name in self.outputs]
        others += [path for _, name in release.tests if (path := self.data_dir / name).exists()]
        copy_files(others, self.data_dir, output)
        for name in dict.fromkeys((release.train, release.val)):
            rows = read_rows(self.data_dir / name, "the list of actions", [release.id_column])
            dropped = {line_of(where) for where, row in rows if row[release.id_column] in ids}
            copy_without_lines(self.data_dir / name, output / name, dropped)

    def _release(self) -> _Release:
        """The release whose training list is there. Raises DataError unless it is exactly one."""
        releases = [release for release in (_EPIC_100, _EPIC_55) if (self.data_dir / release.train).exists()]
        if len(releases) == 1:
            return releases[0]
        names = f"{_EPIC_100.train} (EPIC-Kitchens 100) or {_EPIC_55.train} (55)"
        if releases:
            raise DataError(f"{self.data_dir}: it contains both {names}; give each release its own folder.")
        pickles = sorted(path.name for path in self.data_dir.glob("EPIC_*.pkl"))
        hint = (
            f" {pickles[0]} is not read, since a pickle can run code: use the .csv of the same name." if pickles else ""
        )
        raise DataError(f"{self.data_dir}: it must contain {names}.{hint}")

    def _warn_of_fallbacks(self, release: _Release, split: str) -> None:
        if release is _EPIC_100 and split == "test":
            logger.info("EPIC: the official test list has no labels; testing on the validation list.")
        if release is _EPIC_55:
            part = _part(split)
            logger.info(f"EPIC: the test lists of EPIC-55 have no labels; {split} is {part} of its training list.")


def _actions(
    rows: Iterable[tuple[str, dict[str, str]]],
    id_column: str,
    root: Path,
    labels_of: Callable[[dict[str, str], str], tuple[int, ...] | None],
) -> list[VideoRecord]:
    """The records of the `rows` of a list, (where, row), without those for which `labels_of(row, where)` is None."""
    paths: dict[str, Path | None] = {}
    records, ids = [], []
    with LineFaults() as faults:
        for where, row in rows:
            with faults.of_a_line():
                if (labels := labels_of(row, where)) is None:
                    continue
                participant, video = row["participant_id"], row["video_id"]
                if video not in paths:
                    paths[video] = _find_video(root, participant, video)
                video_path = paths[video] or root / _PATTERNS[0].format(p=participant, v=video)  # reading will tell
                span = _frames(row, where) if video_path.suffix.lower() != ".mp4" else _seconds(row, where)
                records.append(VideoRecord(str(video_path), labels, row[id_column], span=span))
                ids.append((where, row[id_column]))
    if records:
        check_unique(ids)
        _check_found(paths, root)
    return records


def _part(split: str) -> str:
    return f"P01 to P{_FIRST_HELD_OUT - 1}" if split == "train" else f"P{_FIRST_HELD_OUT} and on"


def _class_names(path: Path) -> list[str]:
    """The second column (the key) of a list of classes, whose first is the number."""
    names: list[str] = []
    for where, row in islice(read_fields(path, "the list of classes"), 1, None):  # after the head
        if len(row) < 2 or row[0] != str(len(names)):
            raise DataError(f"{where}: a line must be 'number,name,...', the numbers counting from 0.")
        names.append(row[1])
    if not names:
        raise DataError(f"{path}: the list of classes is empty.")
    return names


def _is_held_out(participant: str, where: str) -> bool:
    if not re.fullmatch(r"P\d+", participant):
        raise DataError(f"{where}: a participant_id must have the form P01; it is '{participant}'.")
    return int(participant[1:]) >= _FIRST_HELD_OUT


def _label(row: dict[str, str], output: str, num_classes: int, where: str) -> int:
    text = row[f"{output}_class"]
    if not text.isdecimal() or int(text) >= num_classes:
        raise DataError(f"{where}: {output}_class must be a number from 0 to {num_classes - 1}; it is '{text}'.")
    return int(text)


def _frames(row: dict[str, str], where: str) -> tuple[int, int]:
    first, last = row["start_frame"], row["stop_frame"]
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise DataError(
            f"{where}: start_frame and stop_frame must be increasing numbers; they are '{first}', '{last}'."
        )
    return int(first), int(last)


def _seconds(row: dict[str, str], where: str) -> tuple[float, float]:
    texts = row["start_timestamp"], row["stop_timestamp"]
    start, stop = (parse_time(text) for text in texts)
    if start is None or stop is None or not start < stop:
        raise DataError(
            f"{where}: start_timestamp and stop_timestamp must be increasing times such as 00:01:05.23; "
            f"they are '{texts[0]}', '{texts[1]}'."
        )
    return start, stop


def parse_time(text: str) -> float | None:
    """The seconds of "HH:MM:SS.fraction", with any number of decimals or none; None where it is something else."""
    match = _TIME.fullmatch(text.strip())
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3]) if match else None


def _find_video(root: Path, participant: str, video: str) -> Path | None:
    paths = (root / pattern.format(p=participant, v=video) for pattern in _PATTERNS)
    return next((path for path in paths if path.exists()), None)


def _check_found(paths: dict[str, Path | None], root: Path) -> None:
    """Raises DataError where not one video of the list is there; says how many are not."""
    missing = [video for video, path in paths.items() if path is None]
    if len(missing) == len(paths):
        participant = missing[0].partition("_")[0]
        tried = ", ".join(pattern.format(p=participant, v=missing[0]) for pattern in _PATTERNS)
        raise DataError(
            f"{root}: no video of the list was found (of {len(paths)}). {missing[0]} may be {tried}. "
            "DATA.PATH_PREFIX can name another folder."
        )
    if missing:
        some = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        logger.warning(f"EPIC: {len(missing)} of {counted(len(paths), 'video')} of the list not found: {some}.")
