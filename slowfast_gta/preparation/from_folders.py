"""Lists and a config from class folders: DIR/<class>/<video>, or DIR/{train,val,test}/<class>/<video>."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from slowfast_gta.datasets.folders import VIDEO_SUFFIXES, ClassFolders, find_classes
from slowfast_gta.datasets.lists import not_listable
from slowfast_gta.datasets.mirror import directed_labels, labels_with
from slowfast_gta.datasets.splits import source_of
from slowfast_gta.datasets.tables import class_name_of
from slowfast_gta.errors import ConfigError, DataError, counted
from slowfast_gta.files import write_whole
from slowfast_gta.preparation.machine import Machine
from slowfast_gta.preparation.recipe import Videos, kind_for, recipes

SPLITS = ("train", "val", "test")
_COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "violet", "purple", "magenta", "pink", "brown")
_NAMES = {"train": "to train with", "val": "for validation", "test": "for testing"}


@dataclass(frozen=True)
class WrittenLists:
    """What was found and written."""

    scan: ClassFolders
    folder: Path
    notes: list[str]

    @property
    def config(self) -> Path:
        """The config that trains on the lists."""
        return self.folder / "train.yaml"

    @property
    def baseline(self) -> Path:
        """The config that trains the same network without attention."""
        return self.folder / "train_r2d.yaml"

    def num_videos(self, split: str) -> int:
        """How many videos there are in "train", "val" or "test"."""
        return sum(map(len, self.scan.splits[split].values()))


def write_lists(
    root: Path,
    output: Path,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    overwrite: bool,
    machine: Machine,
    wanted: str | None = None,
) -> WrittenLists:
    """train.csv, val.csv, test.csv, classes.txt, train.yaml and train_r2d.yaml in `output`, for the class folders of
    `root`; the recipe for `machine`, or for `wanted` ("cpu", "gpu").

    Raises ConfigError for fractions that leave nothing, DataError for folders that are something else, too few videos,
    and, unless `overwrite`, where files of other content are there.
    """
    _check_fractions(val_fraction, test_fraction)
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {state}; name the folder that contains one folder for each class.")
    scan = find_classes(root, val_fraction, test_fraction, seed)
    written = WrittenLists(scan, output, notes := [])
    _check_enough(root, scan)
    separator = _separator(scan)
    contents = {"classes.txt": "".join(f"{name}\n" for name in scan.classes)}
    labels = {name: label for label, name in enumerate(scan.classes)}
    for split, classes in scan.splits.items():
        contents[f"{split}.csv"] = "".join(
            f"{video}{separator}{labels[name]}\n" for name, videos in sorted(classes.items()) for video in videos
        )
    directed = [scan.classes[label] for label in directed_labels(scan.classes)]
    coloured = [scan.classes[label] for label in labels_with(scan.classes, _COLOURS)]
    counts = {split: written.num_videos(split) for split in SPLITS}
    videos = Videos(output, root, len(scan.classes), counts, bool(directed), bool(coloured))
    contents |= recipes(videos, machine, wanted)
    _write(output, contents, overwrite)
    notes += _notes(scan, separator, directed)
    if coloured and kind_for(machine, wanted) == "cpu":
        notes.append(
            f"Classes with a colour in their name: {len(coloured)}, for example '{coloured[0]}'; colour channels stay "
            "in their order."
        )
    return written


def _check_fractions(val_fraction: float, test_fraction: float) -> None:
    if not 0 < val_fraction < 1:
        raise ConfigError(f"--val-fraction is {val_fraction}; it must be more than 0 and less than 1.")
    if not 0 <= test_fraction < 1:
        raise ConfigError(
            f"--test-fraction is {test_fraction}; it must be from 0 (test on the validation videos) to below 1."
        )
    if val_fraction + test_fraction >= 1:
        raise ConfigError(
            f"--val-fraction {val_fraction} and --test-fraction {test_fraction} leave nothing to train with; together "
            "they must be less than 1."
        )


def _check_enough(root: Path, scan: ClassFolders) -> None:
    """Raises DataError unless every class has what the splits need: one source in each, where they were drawn."""
    if len(scan.classes) < 2:
        raise DataError(
            f"{root}: '{scan.classes[0]}' is the only class, and a network that knows one class learns nothing. Add a "
            "folder of another class, as one of videos that show something else."
        )
    if not scan.drawn:
        return
    needed = 2 + (scan.tested_on == "test")
    short = {}
    for name in scan.classes:
        videos = [video for split in scan.splits.values() for video in split[name]]
        if any(not split[name] for split in scan.splits.values()):
            short[name] = (len(set(videos)), len({source_of(video, name) for video in videos}))
    if not short:
        return
    name, (count, sources) = next(iter(short.items()))
    cut = f", by their names cut from {counted(sources, 'source')}" if sources < count else ""
    others = ""
    if len(short) > 1:
        others = f" The same is true of {counted(len(short) - 1, 'other class')}: {', '.join(list(short)[1:6])}."
    instead = " --test-fraction 0 tests on the validation videos instead." if needed == 3 and sources > 1 else ""
    raise DataError(
        f"{root}: the class '{name}' has {counted(count, 'video')}{cut}: too few for the {needed} splits, which "
        f"share no source.{others} Add videos, or move such folders elsewhere.{instead}"
    )


def _separator(scan: ClassFolders) -> str:
    """What stands between path and label: a space, as in PySlowFast, and a tab where paths have spaces in them.

    Raises DataError for a name that our own reader would not read back from the list.
    """
    names = [video for classes in scan.splits.values() for videos in classes.values() for video in videos]
    separator = "\t" if any(" " in name for name in names) else " "
    lost = not_listable(names, separator)
    lost += [f"{name}/" for name in scan.classes if class_name_of(name) != name or not_listable([f"{name}/x"], "\t")]
    if lost:
        raise DataError(
            f"{os.fsencode(lost[0])!r}: this name would be read back differently from a list: it has a line "
            "break or a tab in it, a space at an end, quotes around it, or is not UTF-8. Rename it."
            + f" The same is true of {counted(len(lost) - 1, 'more name')}."
            * (len(lost) > 1)
        )
    return separator


def _write(output: Path, contents: dict[str, str], overwrite: bool) -> None:
    """All files or none: one with other content is a DataError, unless `overwrite`."""
    for name, content in contents.items():
        path = output / name
        if path.exists() and not overwrite and path.read_text(encoding="utf-8", errors="replace") != content:
            raise DataError(f"{path} already exists with other content. Name another --output, or give --overwrite.")
    output.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_whole(output / name, content)


def _notes(scan: ClassFolders, separator: str, directed: list[str]) -> list[str]:
    """What somebody should know about the lists, a sentence each."""
    notes = []
    if scan.drawn and (sources := _num_sources(scan)):
        notes.append(f"{sources} By their names; no source is in two splits.")
    if scan.tested_on != "test":
        notes.append(
            "Testing uses the validation videos: a result on videos that were also used to choose epochs or "
            "settings is too optimistic. A folder test, or --test-fraction, gives separate videos."
        )
    elif scan.splits["val"] is scan.splits["test"]:
        notes.append("Validation uses the test videos: choosing by validation is choosing by the test.")
    for split in () if scan.drawn else ("val", "test"):
        if empty := [name for name in scan.classes if not scan.splits[split].get(name)]:
            notes.append(f"Classes without a video {_NAMES[split]}: {len(empty)}, for example '{empty[0]}'.")
    if directed:
        notes.append(
            f"Classes with a direction in their name: {len(directed)}, for example '{directed[0]}'; no clip is flipped."
        )
    if scan.unused:
        notes.append(f"Folders that are not classes: {len(scan.unused)}, for example '{scan.unused[0]}'.")
    if scan.others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(scan.others.items()))
        notes.append(f"Other files, left out: {kinds}.")
    if mixed := _frames_among_files(scan):
        notes.append(
            f"Taken for videos, beside files: {counted(len(mixed), 'folder')} of images, for example "
            f"'{mixed[0]}'. Move away those that are not frames of a video."
        )
    if separator == "\t":
        notes.append("Paths have spaces in them, so a tab precedes the label.")
    return notes


def _frames_among_files(scan: ClassFolders) -> list[str]:
    """The videos that are folders of images, where others are files."""
    videos = {video for classes in scan.splits.values() for videos in classes.values() for video in videos}
    folders = sorted(video for video in videos if Path(video).suffix.lower() not in VIDEO_SUFFIXES)
    return folders if len(folders) < len(videos) else []


def _num_sources(scan: ClassFolders) -> str:
    """How many sources the videos were cut from, by split; "" where each video is its own."""
    sources: Counter[str] = Counter()
    videos: Counter[str] = Counter()
    for split, classes in scan.splits.items():
        sources[split] = len({source_of(video, name) for name, of_class in classes.items() for video in of_class})
        videos[split] = sum(map(len, classes.values()))
    if sources == videos:
        return ""
    parts = ", ".join(f"{sources[split]} {_NAMES[split]}" for split in SPLITS)
    return f"Videos share sources (recordings, films): {parts}."
