"""What videos show: ActivityNet's JSON (also THUMOS-14's gt.json of ACM-Net and BaS-Net) and one's own CSV."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slowfast_gta.errors import DataError

from .segments import Segments


@dataclass(frozen=True)
class Instance:
    """An action from `start` to `end`, seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class Annotation:
    """One video: its labels, and its instances where they are known (never read in training)."""

    video: str
    subset: str
    labels: tuple[str, ...]  # each once, in the order of the file
    instances: tuple[Instance, ...] = ()

    def segments(self, classes: list[str]) -> Segments:
        """The instances as columns, labels as indices into `classes`."""
        index = {name: i for i, name in enumerate(classes)}
        rows = [[index[i.label], i.start, i.end, 1.0] for i in self.instances]
        return Segments.from_rows(rows)


def read_json(path: Path) -> object:
    """A JSON file, or a sentence."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}. Download or write it again.") from None


def read_activitynet_json(path: Path) -> dict[str, Annotation]:
    """{video: Annotation} of {"database": {video: {"subset", "annotations": [{"segment": [s, e], "label"}]}}}.

    Segments may be numbers or strings of numbers (BaS-Net's copy). "duration" is not read: in THUMOS-14's files it is
    frames / 30 for all videos, and wrong for some.
    """
    document = read_json(path)
    database = document.get("database") if isinstance(document, dict) else None
    if not isinstance(database, dict):
        raise DataError(f'{path} has no "database": it is not an annotation file in the format of ActivityNet.')
    return {video: _annotation(path, video, entry) for video, entry in database.items()}


def _annotation(path: Path, video: str, entry: object) -> Annotation:
    try:
        listed = entry["annotations"]
        instances = tuple(instance(path, video, str(i["label"]), i["segment"]) for i in listed if "segment" in i)
        labels = tuple(dict.fromkeys(str(item["label"]) for item in listed))
        return Annotation(video, str(entry.get("subset", "")).lower(), labels, instances)
    except (TypeError, KeyError, AttributeError):
        raise DataError(
            f'{path}: the entry of {video} is not {{"subset": ..., "annotations": [{{"label": ..., "segment": '
            "[start, end]}}, ...]}."
        ) from None


def instance(path: Path, video: str, label: str, segment: object) -> Instance:
    """Of `segment`, [start, end] in seconds as numbers or text. Raises DataError, which names `path` and `video`."""
    if not isinstance(segment, list | tuple | np.ndarray) or len(segment) != 2:
        raise DataError(f"{path}: a segment of {video} is {_shown(segment)} instead of a start and an end.")
    start, end = (_seconds(path, video, value) for value in segment)
    if end < start:
        raise DataError(f"{path}: a segment of {video} ends ({end}) before it starts ({start}).")
    return Instance(label, start, end)


def _shown(value: object) -> str:
    """The value, where it is one; of a container its kind, since a short list can stand for 10 ** 14 letters."""
    return f"{value!r:.80}" if isinstance(value, str | bytes | int | float) else f"a {type(value).__name__}"


def _seconds(where: object, video: str, value: object) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise DataError(f"{where}: a time of {video} is {_shown(value)}, not a number of seconds.")
    return seconds


CSV_COLUMNS = ("video", "label", "start", "end")


def read_csv(path: Path, subset: str = "") -> dict[str, Annotation]:
    """{video: Annotation} of a CSV with the header video,label or video,label,start,end (seconds).

    A video may have several rows; a cell of several labels separates them by ";". Times may be empty.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            if not {"video", "label"} <= set(columns) or not set(columns) <= set(CSV_COLUMNS):
                raise DataError(
                    f"{path}: the header is {','.join(columns) or 'missing'}; it must be video,label or "
                    "video,label,start,end."
                )
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    return _collect(path, subset, rows)


def _collect(path: Path, subset: str, rows: list[tuple[int, dict]]) -> dict[str, Annotation]:
    labels: dict[str, dict[str, None]] = {}
    instances: dict[str, list[Instance]] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        video = (row["video"] or "").strip()
        names = [name.strip() for name in (row["label"] or "").split(";") if name.strip()]
        if None in row or not video or not names:
            raise DataError(f"{where}: a row needs a video and a label, and no more cells than the header.")
        labels.setdefault(video, {}).update(dict.fromkeys(names))
        start, end = ((row.get(name) or "").strip() for name in ("start", "end"))
        if bool(start) != bool(end):
            raise DataError(f"{where}: a segment needs a start and an end.")
        if start:
            times = _seconds(where, video, start), _seconds(where, video, end)
            if times[1] < times[0]:
                raise DataError(f"{where}: the segment ends ({end}) before it starts ({start}).")
            instances.setdefault(video, []).extend(Instance(name, *times) for name in names)
    return {v: Annotation(v, subset, tuple(names), tuple(instances.get(v, ()))) for v, names in labels.items()}


def class_names(annotations: dict[str, Annotation]) -> list[str]:
    """All labels in ASCII order: the class index of ACM-Net's and ASM-Loc's code."""
    return sorted({label for annotation in annotations.values() for label in annotation.labels})
