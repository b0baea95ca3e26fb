"""Something-Something v1 (JPEG folders and csv lists) and v2 (.webm and json lists), as published."""

import json
import logging
from pathlib import Path

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.records import (
    VideoDataset,
    VideoRecord,
    check_folder,
    check_unique,
    label_of,
    read_text,
)
from slowfast_gta.errors import DataError

logger = logging.getLogger(__name__)

_LIST_OF_SPLIT = {"train": "train", "val": "validation", "test": "validation"}


def _list_name(dataset: VideoDataset, split: str) -> str:
    """The word in the list's file name. The official test lists have no labels, so "test" is the validation list."""
    if split == "test":
        logger.info(f"{type(dataset).__name__}: the official test list has no labels; testing on the validation list.")
    return _LIST_OF_SPLIT[split]


@DATASET_REGISTRY.register()
class SSv2(VideoDataset):
    """Something-Something v2: `20bn-something-something-v2/<id>.webm` and four json files."""

    direction_words = ("left", "right")
    video_extension = ".webm"

    def class_names(self) -> list[str]:
        return list(self._labels())

    def records(self, split: str) -> list[VideoRecord]:
        folder = check_folder(self.path_prefix or self.data_dir / "20bn-something-something-v2", "the videos")
        path, labels_file = self._json_path(_list_name(self, split)), self._json_path("labels")
        labels = self._labels()
        records, places = [], []
        for number, entry in enumerate(_load_json(path, list, "the list of videos")):
            place = f"{path}, entry {number}"
            try:
                video_id, template = str(entry["id"]), entry["template"]
            except (KeyError, TypeError):
                raise DataError(
                    f'{place}: an entry must be an object with "id" and "template"; it is {entry}.'
                ) from None
            name = str(template).replace("[", "").replace("]", "")
            label = label_of(name, labels, f"{place} (id {video_id})", labels_file)
            records.append(VideoRecord(str(folder / (video_id + self.video_extension)), label, video_id))
            places.append((place, video_id))
        if not records:
            raise DataError(f"{path}: the list is empty.")
        check_unique(places)
        return records

    def _json_path(self, word: str) -> Path:
        """The file of the first release, or of the newer one where only that is there."""
        first = self.data_dir / f"something-something-v2-{word}.json"
        newer = self.data_dir / "labels" / f"{word}.json"
        return newer if newer.exists() and not first.exists() else first

    def _labels(self) -> dict[str, int]:
        """Class name -> label, in the order of the labels."""
        path = self._json_path("labels")
        given = _load_json(path, dict, "the list of classes")
        try:
            labels = {name: int(label) for name, label in given.items()}
        except (TypeError, ValueError):
            raise DataError(f'{path}: every class must have a number, as in {{"Closing something": "0"}}.') from None
        if not labels or sorted(labels.values()) != list(range(len(labels))):
            raise DataError(f"{path}: the {len(labels)} labels must be the numbers from 0 on, each once.")
        return dict(sorted(labels.items(), key=lambda item: item[1]))


def _load_json(path: Path, kind: type, what: str):
    """The content of a json file that must hold a `kind`. Raises DataError with file:line."""
    try:
        content = json.loads(read_text(path, what))
    except json.JSONDecodeError as fault:
        raise DataError(f"{path}:{fault.lineno}: not valid JSON ({fault.msg}, column {fault.colno}).") from None
    if not isinstance(content, kind):
        raise DataError(f"{path}: {what} must be a JSON {'list' if kind is list else 'object'}.")
    return content


@DATASET_REGISTRY.register()
class SSv1(VideoDataset):
    """Something-Something v1: `20bn-something-something-v1/<id>/00001.jpg` and csv files with `;`.

    `label_order`: "file" numbers the classes as labels.csv lists them, "alphabetical" sorts them first, as TSM does.
    """

    direction_words = ("left", "right")

    def __init__(self, data_dir: str | Path, path_prefix: str | Path = "", label_order: str = "file"):
        super().__init__(data_dir, path_prefix)
        self.label_order = label_order

    @classmethod
    def from_cfg(cls, cfg) -> "SSv1":
        return cls(cfg.DATA.PATH_TO_DATA_DIR, cfg.DATA.PATH_PREFIX, cfg.DATA.LABEL_ORDER)

    def class_names(self) -> list[str]:
        path = self._csv_path("labels")
        names = [line.strip() for line in read_text(path, "the list of classes").splitlines() if line.strip()]
        if not names:
            raise DataError(f"{path}: the list of classes is empty.")
        check_unique((f"{path}, class {number}", name) for number, name in enumerate(names))
        return sorted(names) if self.label_order == "alphabetical" else names

    def records(self, split: str) -> list[VideoRecord]:
        folder = check_folder(self.path_prefix or self.data_dir / "20bn-something-something-v1", "the frame folders")
        path, labels_file = self._csv_path(_list_name(self, split)), self._csv_path("labels")
        labels = {name: label for label, name in enumerate(self.class_names())}
        records, places = [], []
        for number, line in enumerate(read_text(path, "the list of videos").splitlines(), start=1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            video_id, separator, name = (part.strip() for part in line.partition(";"))
            if not (video_id and separator and name):
                raise DataError(f"{place}: a line must be 'id;label'; it is '{line}'.")
            label = label_of(name, labels, place, labels_file)
            records.append(VideoRecord(str(folder / video_id), label, video_id))
            places.append((place, video_id))
        if not records:
            raise DataError(f"{path}: the list is empty.")
        check_unique(places)
        return records

    def _csv_path(self, word: str) -> Path:
        return self.data_dir / f"something-something-v1-{word}.csv"
