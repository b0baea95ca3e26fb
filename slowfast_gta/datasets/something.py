"""Something-Something v1 (JPEG folders and csv lists) and v2 (.webm or frames, json lists), as published.

Both are also read from the lists that other codebases made of them: PySlowFast's (v2), mmaction2's, TSM's.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.cleaned import copy_files, copy_without_lines, line_of
from slowfast_gta.datasets.lists import (
    FRAME_LIST_HEAD,
    ListedVideo,
    ListFormat,
    find_format,
    find_list,
    numbered_lines,
    read_frame_list,
    read_mmaction2,
    read_tsm,
    to_records,
)
from slowfast_gta.datasets.records import (
    NO_LABEL,
    LeftOut,
    LineFaults,
    Scores,
    VideoDataset,
    VideoRecord,
    check_folder,
    check_unique,
    label_of,
    read_text,
)
from slowfast_gta.datasets.submission import top_labels
from slowfast_gta.datasets.tables import read_class_names, split_csv
from slowfast_gta.errors import DataError, counted
from slowfast_gta.files import write_whole

logger = logging.getLogger(__name__)

_WORDS = {"train": "train", "val": "validation"}
# Lists that others made, with their labels as numbers.
_FOREIGN = {
    "mmaction2": ListFormat(("sth*_{split}_list_videos.txt", "sth*_{split}_list_rawframes.txt"), read_mmaction2),
    "tsm": ListFormat(("{split}_videofolder.txt",), read_tsm),
}


class _Something(VideoDataset):
    """What the two versions share: the format of the lists, in `data_dir`, and where the videos are."""

    formats: dict[str, ListFormat]
    version: str
    video_extensions: tuple[str, ...]  # of the files; "" for folders of frames

    def __init__(self, data_dir: str | Path, path_prefix: str | Path = "", list_format: str = "auto"):
        super().__init__(data_dir, path_prefix)
        self.list_format = list_format

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "_Something":
        return cls(cfg.DATA.PATH_TO_DATA_DIR, cfg.DATA.PATH_PREFIX, cfg.DATA.LIST_FORMAT)

    def records(self, split: str) -> list[VideoRecord]:
        if split == "test":  # TSM's test list labels every video 0
            logger.info(f"SS{self.version}: the official test list has no labels; testing on the validation list.")
            split = "val"
        chosen, source = self._source(split)
        root = check_folder(self.path_prefix or self.data_dir / self._folder(chosen, source), "the videos or frames")
        videos = self._videos(chosen, source, root)
        names = self.class_names()
        records = to_records(videos, root, len(names), source)
        sizes = f"{counted(len(records), 'video')} of {counted(len(names), 'class')}"
        logger.info(f"SS{self.version}: {split}: {sizes}, {source} ({chosen}).")
        return records

    def _source(self, split: str) -> tuple[str, Path]:
        """The format of the lists, and the list of `split` ("train", "val")."""
        chosen = find_format(self.data_dir, self.formats, self.list_format)
        if chosen == "official":
            return chosen, self._official_path(_WORDS[split])
        return chosen, find_list(self.data_dir, chosen, self.formats[chosen], split)

    def videos_root(self) -> Path:
        return self.path_prefix or self.data_dir / self._folder(*self._source("val"))

    def write_without(self, output: Path, left_out: LeftOut) -> None:
        """The lists in the format that they have. Testing is on the validation list, which is one list with it."""
        ids = {"train": left_out.get("train", set()), "val": {*left_out.get("val", ()), *left_out.get("test", ())}}
        labels = self._official_path("labels")
        copy_files([path for path in (labels, self._official_path("test")) if path.exists()], self.data_dir, output)
        for split in _WORDS:
            chosen, source = self._source(split)
            if chosen in ("official", "pyslowfast"):
                official = self._official_path(_WORDS[split])
                self._write_official(official, output / official.relative_to(self.data_dir), ids[split])
                copy_files([source] if source != official else [], self.data_dir, output)
            else:
                videos = self.formats[chosen].read(source)  # type: ignore[misc]  # only official lists have no reader, and are read above
                dropped = {line_of(video.where) for video in videos if (video.video_id or video.name) in ids[split]}
                copy_without_lines(source, output / source.relative_to(self.data_dir), dropped)

    def unlabelled_parts(self) -> dict[str, list[VideoRecord]]:
        """The official test list, of ids alone."""
        path = self._official_path("test")
        videos = self._read_ids(path)
        root = check_folder(self.path_prefix or self.data_dir / self._folder("official", path), "the videos or frames")
        if not videos:
            raise DataError(f"{path}: the list is empty.")
        check_unique((video.where, video.name) for video in videos)
        located = _with_suffix(videos, root, self.video_extensions)
        return {"test": [VideoRecord(str(root / item.name), NO_LABEL, item.video_id) for item in located]}

    def _read_ids(self, path: Path) -> list[ListedVideo]:
        """The videos of the official test list."""
        raise NotImplementedError

    def _write_official(self, source: Path, target: Path, ids: Set[str]) -> None:
        """The published list `source` without the videos of these ids."""
        raise NotImplementedError

    def _folder(self, chosen: str, source: Path) -> str:
        """Where a format has the videos, beside its lists."""
        if chosen == "pyslowfast":
            return "."
        if chosen == "mmaction2":
            return source.stem.rpartition("_")[2]  # videos, or rawframes
        extracted = chosen == "tsm" and self.version == "v2"
        return f"20bn-something-something-{self.version}" + "-frames" * extracted

    def _videos(self, chosen: str, source: Path, root: Path) -> list[ListedVideo]:
        """The videos of the list `source`, their paths from `root` on."""
        return list(self.formats[chosen].read(source))  # type: ignore[misc]  # only official lists have no reader, and are read above

    def _official_path(self, word: str) -> Path:
        """The published file of a kind: "labels", "train" or "validation"."""
        raise NotImplementedError


@DATASET_REGISTRY.register()
class SSv2(_Something):
    """Something-Something v2: `20bn-something-something-v2/<id>.webm`, or folders of frames, and four json files."""

    version = "v2"
    # as published, as tools/prepare_data.py resize leaves them, frames
    video_extensions: tuple[str, ...] = (".webm", ".mp4", "")
    formats = {
        "official": ListFormat(("something-something-v2-{split}.json", "labels/{split}.json")),
        "pyslowfast": ListFormat(("{split}.csv",), head=FRAME_LIST_HEAD, beside="official"),
        **_FOREIGN,
    }

    def class_names(self) -> list[str]:
        return list(self._labels())

    def _videos(self, chosen: str, source: Path, root: Path) -> list[ListedVideo]:
        if chosen == "official":
            return _with_suffix(self._read_json(source), root, self.video_extensions)
        if chosen == "pyslowfast":
            word = _WORDS["train" if source.stem == "train" else "val"]
            return _with_frames(self._read_json(self._official_path(word)), source)
        return super()._videos(chosen, source, root)

    def _read_json(self, path: Path) -> list[ListedVideo]:
        labels, labels_file = self._labels(), self._official_path("labels")
        videos = []
        with LineFaults() as faults:
            for number, entry in enumerate(_load_json(path, list, "the list of videos")):
                with faults.of_a_line():
                    where = f"{path}, entry {number}"
                    try:
                        video_id, template = str(entry["id"]), entry["template"]
                    except (KeyError, TypeError):
                        raise DataError(
                            f'{where}: an entry must be an object with "id" and "template"; it is {entry}.'
                        ) from None
                    name = str(template).replace("[", "").replace("]", "")
                    videos.append(
                        ListedVideo(where, video_id, label_of(name, labels, f"{where} (id {video_id})", labels_file))
                    )
        return videos

    def _write_official(self, source: Path, target: Path, ids: Set[str]) -> None:
        entries = _load_json(source, list, "the list of videos")
        target.parent.mkdir(parents=True, exist_ok=True)
        kept = [entry for entry in entries if str(entry["id"]) not in ids]
        write_whole(target, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")

    def _read_ids(self, path: Path) -> list[ListedVideo]:
        videos = []
        with LineFaults() as faults:
            for number, entry in enumerate(_load_json(path, list, "the list of test videos")):
                with faults.of_a_line():
                    if not isinstance(entry, dict) or "id" not in entry:
                        raise DataError(f'{path}, entry {number}: an entry must be an object with "id"; it is {entry}.')
                    videos.append(ListedVideo(f"{path}, entry {number}", str(entry["id"]), NO_LABEL))
        return videos

    def submission_files(self, parts: Mapping[str, Scores]) -> dict[str, bytes]:
        """`id;first;second;third;fourth;fifth`: the numbers of the five most likely classes, as TSM's test_models.py
        writes them for --csv_file. What the server itself said of the format could not be looked up any more."""
        lines = [
            f"{video_id};{';'.join(map(str, top_labels(scores, 5)))}" for video_id, scores in parts["test"].items()
        ]
        return {"something-something-v2-test-unscored.csv": "".join(f"{line}\n" for line in lines).encode()}

    def _official_path(self, word: str) -> Path:
        """The file of the first release, or of the newer one where only that is there."""
        first = self.data_dir / f"something-something-v2-{word}.json"
        newer = self.data_dir / "labels" / f"{word}.json"
        return newer if newer.exists() and not first.exists() else first

    def _labels(self) -> dict[str, int]:
        """Class name -> label, in the order of the labels."""
        path = self._official_path("labels")
        given = _load_json(path, dict, "the list of classes")
        try:
            labels = {name: int(label) for name, label in given.items()}
        except (TypeError, ValueError):
            raise DataError(
                f'{path}: every class must have a number, for example {{"Closing something": "0"}}.'
            ) from None
        if not labels or sorted(labels.values()) != list(range(len(labels))):
            raise DataError(f"{path}: the labels ({len(labels)}) must be the numbers from 0 on, each exactly once.")
        return dict(sorted(labels.items(), key=lambda item: item[1]))


def _with_suffix(videos: list[ListedVideo], root: Path, suffixes: tuple[str, ...]) -> list[ListedVideo]:
    """The same videos with the suffix that their files have in `root`; "" stands for folders of frames.

    Raises DataError where the first of them that is there is there twice.
    """
    suffix = suffixes[0]  # where not one is there: reading them will say so
    for video in videos:
        present = [suffix for suffix in suffixes if (root / (video.name + suffix)).exists()]
        if len(present) > 1:
            names = " and ".join(video.name + suffix for suffix in present)
            raise DataError(f"{root} contains {names}. Give each kind its own folder, named by DATA.PATH_PREFIX.")
        if present:
            suffix = present[0]
            break
    return [video._replace(name=video.name + suffix, video_id=video.name) for video in videos]


def _with_frames(videos: list[ListedVideo], source: Path) -> list[ListedVideo]:
    """The same videos in the folders, and with the frames, that PySlowFast's list of frames `source` has for them."""
    frames = read_frame_list(source)
    missing = [video.name for video in videos if video.name not in frames]
    if len(missing) == len(videos):
        raise DataError(
            f"{source}: there are no frames of any video of the json list, for example of "
            f"{', '.join(map(repr, missing[:1]))}."
        )
    if missing:  # they stay in the list: what is not tested must be counted
        logger.warning(f"{source}: no frames of {counted(len(missing), 'video')} of the json list: {missing[0]} ...")
    located = []
    for video in videos:
        folder, span = frames.get(video.name, (video.name, None))
        count = span and span[1] - span[0] + 1
        located.append(video._replace(name=folder, num_frames=count, span=span, video_id=video.name))
    return located


def _load_json(path: Path, kind: type, what: str) -> Any:
    """The content of a json file that must hold a `kind`. Raises DataError with file:line."""
    try:
        content = json.loads(read_text(path, what))
    except json.JSONDecodeError as fault:
        raise DataError(f"{path}:{fault.lineno}: not valid JSON ({fault.msg}, column {fault.colno}).") from None
    except (ValueError, RecursionError):  # numbers of thousands of digits, brackets nested too deep
        raise DataError(f"{path}: not valid JSON: a number in it is too long, or it is nested too deep.") from None
    if not isinstance(content, kind):
        raise DataError(f"{path}: {what} must be a JSON {'list' if kind is list else 'object'}.")
    return content


@DATASET_REGISTRY.register()
class SSv1(_Something):
    """Something-Something v1: `20bn-something-something-v1/<id>/00001.jpg` and csv files with `;`.

    `label_order`: "file" numbers the classes as labels.csv lists them, "alphabetical" sorts them first, as TSM does.
    """

    version = "v1"
    video_extensions = ("",)
    formats = {"official": ListFormat(("something-something-v1-{split}.csv",)), **_FOREIGN}

    def __init__(
        self, data_dir: str | Path, path_prefix: str | Path = "", list_format: str = "auto", label_order: str = "file"
    ):
        super().__init__(data_dir, path_prefix, list_format)
        self.label_order = label_order

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "SSv1":
        data = cfg.DATA
        return cls(data.PATH_TO_DATA_DIR, data.PATH_PREFIX, data.LIST_FORMAT, data.LABEL_ORDER)

    def class_names(self) -> list[str]:
        names = read_class_names(self._official_path("labels"))
        return sorted(names) if self.label_order == "alphabetical" else names

    def _videos(self, chosen: str, source: Path, root: Path) -> list[ListedVideo]:
        if chosen == "official":
            return list(self._read_csv(source))
        theirs = "alphabetical" if chosen == "tsm" else "file"
        if self.label_order != theirs:
            raise DataError(
                f"{source}: the labels of this list ({chosen}) are numbers in {theirs} order, but "
                f"DATA.LABEL_ORDER is {self.label_order}. Set it to {theirs}."
            )
        return super()._videos(chosen, source, root)

    def _read_csv(self, path: Path) -> Iterator[ListedVideo]:
        labels = {name: label for label, name in enumerate(self.class_names())}
        labels_file = self._official_path("labels")
        with LineFaults() as faults:
            for where, line in numbered_lines(path):
                with faults.of_a_line():
                    video_id, name = _id_and_label(line)
                    if not (video_id and name):
                        raise DataError(f"{where}: a line must be 'id;label'; it is '{line}'.")
                    yield ListedVideo(where, video_id, label_of(name, labels, where, labels_file))

    def _write_official(self, source: Path, target: Path, ids: Set[str]) -> None:
        lines = numbered_lines(source)
        copy_without_lines(source, target, {line_of(where) for where, line in lines if _id_and_label(line)[0] in ids})

    def _read_ids(self, path: Path) -> list[ListedVideo]:
        lines = numbered_lines(path)
        return [ListedVideo(where, line.partition(";")[0].strip(' "'), NO_LABEL) for where, line in lines]

    def submission_files(self, parts: Mapping[str, Scores]) -> dict[str, bytes]:
        """`id;class`: the name of the most likely class, as TSM's test_models.py writes it for --csv_file. What the
        server itself said of the format could not be looked up any more."""
        names = self.class_names()
        lines = [f"{video_id};{names[top_labels(scores, 1)[0]]}" for video_id, scores in parts["test"].items()]
        return {"something-something-v1-test-unscored.csv": "".join(f"{line}\n" for line in lines).encode()}

    def _official_path(self, word: str) -> Path:
        return self.data_dir / f"something-something-v1-{word}.csv"


def _id_and_label(line: str) -> tuple[str, str]:
    """The fields of a line `id;label`, either of which csv may have put in quotes; "" for what is not there."""
    fields = split_csv(line, ";") if '"' in line else []
    video_id, name = fields if len(fields) == 2 else line.partition(";")[::2]
    return video_id.strip(), name.strip()
