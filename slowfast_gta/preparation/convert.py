"""The lists of any data set that can be read, as other codebases want them.

kinetics    train.csv: path label                                            PySlowFast's Kinetics, and ours
frames      train.csv: original_vido_id video_id frame_id path labels        PySlowFast's Something-Something and others
tsm         train_videofolder.txt: folder num_frames label                   TSM, mmaction2's rawframes
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fvcore.common.config import CfgNode
from tqdm import tqdm

from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.lists import FRAME_LIST_HEAD, not_listable
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import DataError
from slowfast_gta.files import whole_file
from slowfast_gta.video.frame_folders import FrameFolder
from slowfast_gta.video.readers import count_frames, open_video


@dataclass
class Converted:
    """What was written: {file: number of videos}; videos that were left out since they are not there, by file."""

    num_videos: dict[str, int] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)


def build_lists(cfg: CfgNode, output: Path, list_format: str, skip_missing: bool, overwrite: bool) -> Converted:
    """Write train, val and test of the data set of `cfg` into `output`, in one of FORMATS. Raises DataError."""
    name, lines_of = FORMATS[list_format]
    converted = Converted()
    if output.resolve() == Path(cfg.DATA.PATH_TO_DATA_DIR).resolve():
        raise DataError(f"{output} contains the lists that are read (DATA.PATH_TO_DATA_DIR). Name another --output.")
    names = None
    for split in ("train", "val", "test"):
        dataset = build_dataset(cfg, split)
        records = dataset.records(split)
        names = dataset.class_names()
        path = output / name.format(split=split)
        _check_free(path, overwrite)
        if skip_missing:
            converted.missing[path.name] = [record.path for record in records if not Path(record.path).exists()]
            gone = set(converted.missing[path.name])
            records = [record for record in records if record.path not in gone]
        _write(path, lines_of(records))
        converted.num_videos[path.name] = len(records)
    if isinstance(names, list):
        _check_free(output / "classes.txt", overwrite)
        _write(output / "classes.txt", names)
    return converted


def _check_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise DataError(f"{path} already exists. Name another --output, or give --overwrite.")


def _write(path: Path, lines: Iterator[str] | list[str]) -> None:
    """One line for each of `lines`, under the final name when all are there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, "w") as file:
        file.writelines(f"{line}\n" for line in lines)


def _kinetics(records: list[VideoRecord]) -> Iterator[str]:
    for record in records:
        if record.span is not None or isinstance(record.label, tuple):
            raise DataError(
                f"{record.video_id}: a list of the format kinetics can only have whole videos with one label; this one "
                "is a part of a longer video, or has several labels. --format frames can say both, of frame folders."
            )
    separator = "\t" if any(" " in record.path for record in records) else " "
    if lost := not_listable([str(Path(record.path).absolute()) for record in records], separator):
        raise DataError(f"{os.fsencode(lost[0])!r}: this path would be read back differently from a list. Rename it.")
    for record in records:
        yield f"{Path(record.path).absolute()}{separator}{record.label}"


def _frames(records: list[VideoRecord]) -> Iterator[str]:
    yield f"{FRAME_LIST_HEAD} video_id frame_id path labels"
    for number, record in enumerate(_slowly(records)):
        label = ",".join(map(str, record.label)) if isinstance(record.label, tuple) else record.label
        with open_video(record.path, record.span) as video:
            if not isinstance(video, FrameFolder):
                raise DataError(
                    f"{record.path}: this is a video file, but the format lists frames. Extract them with "
                    "prepare_data.py extract-frames."
                )
            for index, file in enumerate(video.files):
                if " " in f"{record.video_id}{file}":
                    raise DataError(f"{file}: a list of frames cannot contain names with spaces. Rename it.")
                yield f'{record.video_id} {number} {index} {file.absolute()} "{label}"'


def _tsm(records: list[VideoRecord]) -> Iterator[str]:
    for record in _slowly(records):
        if record.span is not None or isinstance(record.label, tuple):
            raise DataError(f"{record.video_id}: TSM's lists can only have whole videos with one label.")
        yield f"{Path(record.path).absolute()} {count_frames(record.path)} {record.label}"


def _slowly(records: list[VideoRecord]) -> Iterator[VideoRecord]:
    """The same, with a progress bar."""
    return iter(tqdm(records, unit="video", mininterval=0.1 if sys.stderr.isatty() else 30.0))


FORMATS: dict[str, tuple[str, Callable[[list[VideoRecord]], Iterator[str]]]] = {
    "kinetics": ("{split}.csv", _kinetics),
    "frames": ("{split}.csv", _frames),
    "tsm": ("{split}_videofolder.txt", _tsm),
}
