"""Kinetics-400, -600 and -700, and any videos of your own: as lists of every usual format, or as class folders."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.cleaned import copy_files, copy_without_lines, line_of
from slowfast_gta.datasets.folders import class_folders, find_classes, find_videos
from slowfast_gta.datasets.lists import (
    OFFICIAL_HEAD,
    WORDS,
    ListedVideo,
    ListFormat,
    find_format,
    find_list,
    read_glore,
    read_mmaction2,
    read_paths,
    read_tsm,
    to_records,
)
from slowfast_gta.datasets.records import LeftOut, VideoDataset, VideoRecord, label_of
from slowfast_gta.datasets.tables import read_class_names, read_rows
from slowfast_gta.errors import DataError, counted
from slowfast_gta.files import write_whole

logger = logging.getLogger(__name__)

# Files with one class a line, in the order of the labels: ours, TSM's, mmaction2's.
_CLASS_FILES = ("classes.txt", "kinetics_label_map.txt", "label_map.txt", "label_map_k*.txt")
_OFFICIAL_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


@DATASET_REGISTRY.register()
class Kinetics(VideoDataset):
    """The lists in `data_dir`, in the format `list_format`; "auto" finds it. Without lists, class folders.

    Paths are relative to `path_prefix` or `data_dir`. The names of the classes are the lines of classes.txt; without
    that file those of the format, or else "class 0", "class 1", ...
    """

    def __init__(
        self,
        data_dir: str | Path,
        path_prefix: str | Path = "",
        num_classes: int = 400,
        separator: str = "auto",
        list_format: str = "auto",
    ):
        super().__init__(data_dir, path_prefix)
        self.num_classes = num_classes
        self.formats = {
            "pyslowfast": ListFormat(("{split}.csv",), partial(read_paths, separator=separator)),
            "official": ListFormat(("{split}.csv", "kinetics*_{split}.csv"), head=OFFICIAL_HEAD),
            "mmaction2": ListFormat(("*_{split}_list_videos.txt", "*_{split}_list_rawframes.txt"), read_mmaction2),
            "tsm": ListFormat(("{split}_videofolder.txt",), read_tsm),
            "glore": ListFormat(("kinetics_{split}_avi.txt",), read_glore),
            "folders": ListFormat(()),
        }
        self.list_format = list_format

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "Kinetics":
        data = cfg.DATA
        return cls(
            data.PATH_TO_DATA_DIR, data.PATH_PREFIX, cfg.MODEL.NUM_CLASSES, data.PATH_LABEL_SEPARATOR, data.LIST_FORMAT
        )

    @property
    def knows_its_classes(self) -> bool:
        """Whether there are names of classes, from whatever file or folder."""
        named = any(True for name in _CLASS_FILES for _ in self.data_dir.glob(name))
        return named or self._format() in ("folders", "official")

    @property
    def root(self) -> Path:
        """The folder where paths start."""
        return self.path_prefix or self.data_dir

    def class_names(self) -> list[str]:
        for path in (path for name in _CLASS_FILES for path in sorted(self.data_dir.glob(name))):
            return read_class_names(path)
        chosen = self._format()
        if chosen == "folders":
            return find_classes(self.root).classes
        if chosen == "official":
            path = find_list(self.data_dir, chosen, self.formats[chosen], "train")
            return sorted({row["label"] for _, row in read_rows(path, "the list of videos", _OFFICIAL_COLUMNS)})
        return [f"class {label}" for label in range(self.num_classes)]

    def records(self, split: str) -> list[VideoRecord]:
        chosen, names = self._format(), self.class_names()
        if chosen == "folders":
            videos, source = self._from_folders(split, names), self.root
        else:
            source = self._list(chosen, split)
            if chosen == "official":
                videos = list(self._from_official(source, names))
            else:
                videos = list(self.formats[chosen].read(source))  # type: ignore[misc]  # only official lists have no reader, and are read above
        records = to_records(videos, self.root, len(names), source)
        sizes = f"{counted(len(records), 'video')} of {counted(len(names), 'class')}"
        logger.info(f"Kinetics: {split}: {sizes}, {source} ({chosen}).")
        return records

    def write_without(self, output: Path, left_out: LeftOut) -> None:
        """The lists in the format that they have; of class folders, PySlowFast's."""
        chosen = self._format()
        copy_files([path for name in _CLASS_FILES for path in self.data_dir.glob(name)], self.data_dir, output)
        if chosen == "folders":
            self._write_paths(output, left_out)
            return
        dropped: dict[Path, set[int]] = defaultdict(set)  # the lines of each file: val and test may be one
        for split, ids in left_out.items():
            source = self._list(chosen, split)
            read = partial(self._from_official, names=self.class_names()) if chosen == "official" else None
            for video in (read or self.formats[chosen].read)(source):  # type: ignore[misc]  # only official lists have no reader, and are given one
                dropped[source] |= {line_of(video.where)} if (video.video_id or video.name) in ids else set()
        for split in WORDS:
            for source in self.formats[chosen].find(self.data_dir, split):
                copy_without_lines(source, output / source.relative_to(self.data_dir), dropped[source])

    def _write_paths(self, output: Path, left_out: LeftOut) -> None:
        names, scan = self.class_names(), find_classes(self.root)
        write_whole(output / "classes.txt", "".join(f"{name}\n" for name in names))
        for split, classes in scan.splits.items():
            videos = [(video, names.index(name)) for name, of_class in classes.items() for video in of_class]
            kept = [f"{video}\t{label}\n" for video, label in videos if video not in left_out.get(split, ())]
            write_whole(output / f"{split}.csv", "".join(kept))

    def _format(self) -> str:
        """The format of the lists; class folders where there are none."""
        chosen = find_format(self.data_dir, self.formats, self.list_format)
        if self.list_format == "auto" and not any(self.formats[chosen].find(self.data_dir, split) for split in WORDS):
            has_videos = self.root.is_dir() and any(find_videos(folder).videos for folder in class_folders(self.root))
            return "folders" if has_videos else chosen
        return chosen

    def _list(self, chosen: str, split: str) -> Path:
        """The list of `split`. Only PySlowFast has one for testing; the others test on the validation list."""
        if split == "test" and chosen != "pyslowfast":
            logger.info(f"Kinetics: testing on the validation list, as is usual with lists of this format ({chosen}).")
            split = "val"
        return find_list(self.data_dir, chosen, self.formats[chosen], split)

    def _from_folders(self, split: str, names: list[str]) -> list[ListedVideo]:
        scan = find_classes(self.root)
        if scan.unused:
            logger.warning(
                f"Kinetics: {counted(len(scan.unused), 'folder')} not used as classes: {', '.join(scan.unused[:5])}."
            )
        if scan.others:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(scan.others.items()))
            logger.warning(f"Kinetics: files in the class folders that are not videos, by their names: {kinds}.")
        if scan.drawn:
            logger.info(
                f"Kinetics: {self.root} has no folders train and val: a tenth of each class is held out for "
                "validation, another tenth for testing, always the same. tools/prepare_data.py from-folders "
                "writes lists with other splits."
            )
            if empty := [name for name, videos in scan.splits[split].items() if not videos]:
                logger.warning(
                    f"Kinetics: classes with too few videos for {split}: {len(empty)}, for example '{empty[0]}'."
                )
        elif split == "test" and scan.tested_on != "test":
            logger.info(f"Kinetics: {self.root} has no folder test: testing on the validation videos.")
        labels = {name: label for label, name in enumerate(names)}
        return [
            ListedVideo(str(self.root / video), video, label_of(name, labels, str(self.root / name), self.data_dir))
            for name, videos in scan.splits[split].items()
            for video in videos
        ]

    def _from_official(self, path: Path, names: list[str]) -> Iterator[ListedVideo]:
        """The published csv: a file is called <youtube id>_<from second>_<to second>, in whatever folder it is."""
        files = {Path(video).stem: video for video in find_videos(self.root).videos}
        labels = {name: label for label, name in enumerate(names)}
        missing = []
        for where, row in read_rows(path, "the list of videos", _OFFICIAL_COLUMNS):
            try:
                times = [int(float(row[column])) for column in ("time_start", "time_end")]
            except (ValueError, OverflowError):
                raise DataError(
                    f"{where}: time_start and time_end must be seconds; they are {list(row.values())}."
                ) from None
            name = f"{row['youtube_id']}_{times[0]:06d}_{times[1]:06d}"
            if name not in files:
                missing.append(name)
            yield ListedVideo(where, files.get(name, f"{name}.mp4"), label_of(row["label"], labels, where, path))
        if missing and not files:
            raise DataError(
                f"{self.root}: no video of {path} was found, for example {missing[0]}.mp4. DATA.PATH_PREFIX can name "
                "another folder; below it the videos may be in any folders."
            )
        if missing:
            logger.warning(
                f"Kinetics: {counted(len(missing), 'video')} of {path} not found in {self.root}: {missing[0]} ..."
            )
