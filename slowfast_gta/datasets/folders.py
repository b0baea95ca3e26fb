"""Folders of videos: DIR/<class>/<video>, or DIR/train/<class>/<video> and DIR/val/<class>/<video>.

A video is a file, or a folder of frames. Deeper folders belong to the class that they are in.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from slowfast_gta.errors import DataError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv")
)
FRAME_SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))
SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "validation", "valid"), "test": ("test", "testing")}


@dataclass
class FoundVideos:
    """What is below a folder: videos as paths relative to it, sorted, and how many other files of each suffix."""

    videos: list[str] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)


def find_videos(folder: Path) -> FoundVideos:
    """All videos below `folder`: files, and folders that hold frames. Raises DataError where it cannot be read."""
    found, seen = FoundVideos(), set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(place)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = here.relative_to(folder)
        suffixes = {name: Path(name).suffix.lower() for name in files if not name.startswith(".")}
        if here != folder and not FRAME_SUFFIXES.isdisjoint(suffixes.values()):
            found.videos.append(str(inside))
            folders.clear()
            continue
        for name, suffix in suffixes.items():
            if suffix in VIDEO_SUFFIXES:
                found.videos.append(str(inside / name))
            else:
                found.others[suffix or "no suffix"] += 1
    found.videos.sort()
    return found


def _refuse(fault: OSError) -> None:
    raise DataError(f"{fault.filename}: the folder cannot be read ({fault.strerror}).") from None


@dataclass
class ClassFolders:
    """The classes of a folder of videos, and which videos of which class are in which split.

    `splits`: {"train": {class: [path relative to the folder]}, ...}. `drawn`: whether a part of each class was drawn
    for "val", because the folder has no such split of its own. `unused`: folders without a video, or beside the splits.
    """

    classes: list[str]
    splits: dict[str, dict[str, list[str]]]
    drawn: bool
    unused: list[str]
    others: Counter


def find_classes(root: Path, val_fraction: float = 0.1, seed: int = 0) -> ClassFolders:
    """The class folders of `root`, with the splits that it has; otherwise `val_fraction` of each class is "val".

    Raises DataError where it has none, or where the folders are something else.
    """
    folders, unused = _split_folders(root)
    folders = folders or {"train": root}
    splits, others = {}, Counter()
    for split, folder in folders.items():
        splits[split] = {}
        for class_folder in class_folders(folder):
            inside, found = class_folder.relative_to(root), find_videos(class_folder)
            others += found.others
            if found.videos:
                splits[split][class_folder.name] = [str(inside / video) for video in found.videos]
            elif not FRAME_SUFFIXES.isdisjoint(found.others):
                raise DataError(f"{class_folder} holds images; each video needs a folder of its own in it.")
            else:
                unused.append(str(inside))
    classes = sorted(splits["train"])
    if not classes:
        raise DataError(
            f"{root}: there is no video in a folder of a class. It must hold one folder for each class, with videos "
            "or folders of frames in it, as opening/a.mp4 and closing/b.mp4, or such folders in train/ and val/."
        )
    for split, found in splits.items():
        if unknown := sorted(set(found) - set(classes)):
            raise DataError(f"{folders[split]}: the class '{unknown[0]}' has no videos in {folders['train']}.")
    drawn = splits.keys() == {"train"}
    if drawn:
        train = splits["train"]
        splits["val"] = {name: held_out(videos, val_fraction, seed) for name, videos in train.items()}
        splits["train"] = {name: sorted(set(train[name]) - set(splits["val"][name])) for name in train}
    splits.setdefault("val", splits.get("test"))
    splits.setdefault("test", splits["val"])
    return ClassFolders(classes, splits, drawn, unused, others)


def _split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    """{split: folder} where `root` has a folder for training and one for testing, or nothing but the first, by their
    usual names; and what other folders there are then. ("train" beside "bus" and "tram" is a class.)"""
    names = {folder.name.lower(): folder for folder in class_folders(root)}
    found = {split: names.pop(word) for split, words in SPLIT_FOLDERS.items() for word in words if word in names}
    if "train" not in found or (len(found) == 1 and names):
        return {}, []
    return found, [folder.name for folder in names.values()]


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden. Raises DataError where it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as fault:
        raise DataError(f"{folder}: the folder of the videos cannot be read ({fault.strerror}).") from None


def held_out(videos: list[str], fraction: float, seed: int) -> list[str]:
    """The part of a class's `videos` that is held out: the same on every machine, and in whatever order they come.

    At least one, where there are two; a video that is added later moves few others.
    """
    count = min(max(round(len(videos) * fraction), 1), len(videos) - 1) if fraction else 0
    ranks = {video: hashlib.sha256(f"{seed}/{video}".encode("utf-8", "surrogateescape")).digest() for video in videos}
    return sorted(sorted(videos, key=ranks.get)[:count])
