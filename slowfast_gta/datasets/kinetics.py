"""Kinetics, and any videos of your own, in PySlowFast's lists: train.csv, val.csv, test.csv."""

from pathlib import Path

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.records import VideoDataset, VideoRecord, check_unique, read_text
from slowfast_gta.errors import DataError


@DATASET_REGISTRY.register()
class Kinetics(VideoDataset):
    """A line is `path label` or `path num_frames label`; paths are relative to `path_prefix` or `data_dir`.

    The names of the classes are the lines of classes.txt; without that file they are "class 0", "class 1", ...
    """

    def __init__(
        self, data_dir: str | Path, path_prefix: str | Path = "", num_classes: int = 400, separator: str = " "
    ):
        super().__init__(data_dir, path_prefix)
        self.num_classes = num_classes
        self.separator = separator

    @classmethod
    def from_cfg(cls, cfg) -> "Kinetics":
        data = cfg.DATA
        return cls(data.PATH_TO_DATA_DIR, data.PATH_PREFIX, cfg.MODEL.NUM_CLASSES, data.PATH_LABEL_SEPARATOR)

    def class_names(self) -> list[str]:
        path = self.data_dir / "classes.txt"
        if not path.exists():
            return [f"class {label}" for label in range(self.num_classes)]
        return [line.strip() for line in read_text(path, "the list of classes").splitlines() if line.strip()]

    def records(self, split: str) -> list[VideoRecord]:
        path = self.data_dir / f"{split}.csv"
        num_classes = len(self.class_names())
        records, places = [], []
        for number, line in enumerate(read_text(path, f"the list of {split} videos").splitlines(), start=1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            record = self._record(line, place)
            if not 0 <= record.label < num_classes:
                raise DataError(
                    f"{place}: the label {record.label} is outside 0..{num_classes - 1}; "
                    f"there are {num_classes} classes (MODEL.NUM_CLASSES, or the lines of classes.txt)."
                )
            records.append(record)
            places.append((place, record.video_id))
        if not records:
            raise DataError(f"{path}: the list is empty.")
        check_unique(places)
        return records

    def _record(self, line: str, place: str) -> VideoRecord:
        """The record of one line. What stands before the last separator is the path, separators in it included;
        a line of exactly three fields with a number in the middle is `path num_frames label`."""
        fields = line.strip().split(self.separator)
        if len(fields) == 3 and fields[1].strip().isdecimal():
            name, num_frames = fields[0], int(fields[1])
        else:
            name, num_frames = self.separator.join(fields[:-1]), None
        name, label = name.strip(), fields[-1].strip()
        if not name or not label.lstrip("-").isdecimal():
            raise DataError(
                f"{place}: a line must be 'path{self.separator}label' with a number as label; it is '{line}'. "
                "DATA.PATH_LABEL_SEPARATOR says what stands between the two, and is now "
                f"{self.separator!r}."
            )
        return VideoRecord(str((self.path_prefix or self.data_dir) / name), int(label), name, num_frames)
