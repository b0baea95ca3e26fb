"""EgoGesture, as published: frame folders, and a list of gestures for each of them; the subjects are the splits.

labels-final-revised1/subject02/Scene1/Group3.csv         12,121,164      class from 1, first and last frame
images/Subject02/Scene1/Color/rgb3/000121.jpg                 or images_320-240_1/Subject02/...
"""

import logging
import math
import re
from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import Any

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.cleaned import copy_files, copy_without_lines, line_of
from slowfast_gta.datasets.records import LeftOut, LineFaults, VideoDataset, VideoRecord, check_folder
from slowfast_gta.datasets.tables import read_class_names, read_fields
from slowfast_gta.errors import DataError, counted

logger = logging.getLogger(__name__)

NUM_CLASSES = 83
VAL_SUBJECTS = (1, 7, 12, 13, 24, 29, 33, 34, 35, 37)
TEST_SUBJECTS = (2, 9, 11, 14, 18, 19, 28, 31, 41, 47)
SUBJECTS = {
    "train": tuple(subject for subject in range(1, 51) if subject not in VAL_SUBJECTS + TEST_SUBJECTS),
    "val": VAL_SUBJECTS,
    "test": TEST_SUBJECTS,
}

# Within labels-final-revised1: subject02/Scene1/Group3.csv, and there are Subject02 and group3.csv too.
_LIST = re.compile(r"subject(\d+)/scene(\d+)/group(\d+)\.csv", re.IGNORECASE)


@DATASET_REGISTRY.register()
class EgoGesture(VideoDataset):
    """83 gestures of 50 subjects. Many differ by their direction alone, so no clip is mirrored but to be its partner's.

    The names of the gestures are the lines of classes.txt; without that file they are "gesture 1" ... "gesture 83".
    """

    def class_names(self) -> list[str]:
        path = self.data_dir / "classes.txt"
        if not path.exists():
            return [f"gesture {number}" for number in range(1, NUM_CLASSES + 1)]
        names = read_class_names(path)
        if len(names) != NUM_CLASSES:
            raise DataError(f"{path}: EgoGesture has {NUM_CLASSES} classes, and this file names {len(names)}.")
        return names

    def mirror_labels(self) -> list[int | None]:
        """Only directions that classes.txt names are known: all else is None (a check mark mirrored is none)."""
        partners: Any = super().mirror_labels()  # of its one output
        return [None if partner == label else partner for label, partner in enumerate(partners)]

    def records(self, split: str) -> list[VideoRecord]:
        labels = check_folder(self.data_dir / "labels-final-revised1", "the lists of gestures")
        frames = self._frame_folders()
        lists = sorted((key, path) for key, path in _find_lists(labels) if key[0] in SUBJECTS[split])
        records: list[VideoRecord] = []
        dropped: list[str] = []
        with LineFaults() as faults:
            for (subject, scene, group), path in lists:
                inside = Path(f"Subject{subject:02d}", f"Scene{scene}", "Color", f"rgb{group}")
                folder = next((root / inside for root in frames if (root / inside).is_dir()), frames[0] / inside)
                with faults.of_a_line():  # the first fault of each file
                    for number, label, span in _gestures(path, dropped):
                        video_id = f"Subject{subject:02d}/Scene{scene}/rgb{group}/line{number}"
                        records.append(VideoRecord(str(folder), label, video_id, span=span))
        if dropped:
            logger.warning(
                f"EgoGesture, {split}: skipped {counted(len(dropped), 'line')} without a class, a first or a last "
                f"frame, the first of them {dropped[0]}."
            )
        if not records:
            numbers = ", ".join(map(str, SUBJECTS[split]))
            raise DataError(f"{labels}: it contains no gesture of the subjects of {split}, which are {numbers}.")
        if not any(Path(folder).is_dir() for folder in {record.path for record in records}):
            raise DataError(f"{frames[0]}: none of the folders in the lists exists, for example {records[0].path}.")
        return records

    def videos_root(self) -> Path:
        """The folder of frames; where they are in several, as they are downloaded, links stand beside the lists."""
        return self._frame_folders()[0]

    def write_without(self, output: Path, left_out: LeftOut) -> None:
        """The lists of all subjects, without the lines that the ids of gestures name."""
        folder = self.data_dir / "labels-final-revised1"
        dropped: dict[str, set[int]] = defaultdict(set)
        for video_id in chain.from_iterable(left_out.values()):
            group, _, line = video_id.rpartition("/line")
            dropped[group].add(int(line))
        copy_files(sorted(self.data_dir.glob("classes.txt")), self.data_dir, output)
        for (subject, scene, group), path in _find_lists(folder):
            lines = dropped[f"Subject{subject:02d}/Scene{scene}/rgb{group}"]
            copy_without_lines(path, output / path.relative_to(self.data_dir), lines)
        if len(frames := self._frame_folders()) > 1:
            for part in frames:
                (output / part.name).unlink(missing_ok=True)  # of an earlier call
                (output / part.name).symlink_to(part.resolve(), target_is_directory=True)

    def _frame_folders(self) -> list[Path]:
        """Where the frames are: in one folder, or in several as they are downloaded (images_320-240_1, ...)."""
        if not self.path_prefix and (folders := sorted(self.data_dir.glob("images_320-240_*"))):
            return folders
        return [check_folder(self.path_prefix or self.data_dir / "images", "the frame folders")]


def _find_lists(labels: Path) -> list[tuple[tuple[int, int, int], Path]]:
    """((subject, scene, group), path) of every list. Raises DataError where two files are the same one."""
    lists: dict[tuple[int, int, int], Path] = {}
    for path in sorted(labels.glob("*/*/*")):
        match = _LIST.fullmatch(path.relative_to(labels).as_posix())
        if match is None:
            if path.suffix.lower() == ".csv":
                raise DataError(f"{path}: a list of gestures must be named like subject02/Scene1/Group3.csv.")
            continue
        key = (int(match[1]), int(match[2]), int(match[3]))
        if key in lists:
            raise DataError(f"{path}: {lists[key]} lists the same frames. Remove one of the two.")
        lists[key] = path
    return list(lists.items())


def _gestures(path: Path, dropped: list[str]) -> list[tuple[int, int, tuple[int, int]]]:
    """(line, label, (first, last frame)) of a list. Lines with an empty or NaN field are added to `dropped`."""
    gestures = []
    for where, fields in read_fields(path, "a list of gestures"):
        try:
            values = [float(field) if field.strip() else math.nan for field in fields[:3]]
        except ValueError:
            values = []
        if len(values) == 3 and any(map(math.isnan, values)):
            dropped.append(where)
            continue
        if len(values) < 3 or not all(value.is_integer() for value in values):
            raise DataError(f"{where}: a line must be 'class,first frame,last frame' in numbers; it is {fields}.")
        number_of_class, first, last = map(int, values)
        if not 1 <= number_of_class <= NUM_CLASSES:
            raise DataError(f"{where}: the class {number_of_class} is outside 1..{NUM_CLASSES}.")
        if not 0 <= first <= last:
            raise DataError(f"{where}: the gesture ends at frame {last}, before it begins at frame {first}.")
        gestures.append((line_of(where), number_of_class - 1, (first, last)))
    return gestures
