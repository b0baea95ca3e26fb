"""Folders of videos: DIR/<class>/<video>, or DIR/train/<class>/<video> and DIR/val/<class>/<video>.

A video is a file, or a folder of frames. Deeper folders belong to the class that they are in.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from slowfast_gta.datasets.splits import draw_splits
from slowfast_gta.errors import DataError

# What video/containers.py opens, by its usual names.
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mj2", ".mkv", ".mk3d", ".webm", ".avi", ".divx", ".wmv"),
        *(".asf", ".flv", ".f4v", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".mpv", ".vob", ".ts", ".m2t", ".m2ts"),
        *(".mts", ".tod", ".mod", ".ogv", ".ogg", ".ogm", ".rm", ".rmvb", ".dv", ".mxf", ".nut", ".ivf", ".obu"),
        *(".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".gif"),
    )
)
FRAME_SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))
# Folders of images that are beside a video, or beside the folder of its frames, and are no video of their own.
_NO_FRAMES = frozenset(
    (
        *("flow", "flow_x", "flow_y", "flow_u", "flow_v", "optical_flow", "u", "v", "depth", "mask", "masks"),
        *("thumb", "thumbs", "thumbnail", "thumbnails", "preview", "previews", "screenshot", "screenshots"),
    )
)
SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "validation", "valid"), "test": ("test", "testing")}


@dataclass
class FoundVideos:
    """What is below a folder: videos as paths relative to it, sorted, and how many other files of each suffix, or
    folders of other images of each name."""

    videos: list[str] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)


def find_videos(folder: Path) -> FoundVideos:
    """All videos below `folder`: files, and folders that hold frames. Raises DataError where it cannot be read."""
    videos, seen = FoundVideos(), set()
    for current, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(current)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = here.relative_to(folder)
        suffixes = {name: Path(name).suffix.lower() for name in files if not name.startswith(".")}
        is_frames = VIDEO_SUFFIXES.isdisjoint(suffixes.values())  # images beside videos are thumbnails
        if here != folder and is_frames and not FRAME_SUFFIXES.isdisjoint(suffixes.values()):
            if here.name.lower() in _NO_FRAMES:
                videos.others[f"{here.name}/"] += 1
            else:
                videos.videos.append(str(inside))
            folders.clear()
            continue
        for name, suffix in suffixes.items():
            if suffix in VIDEO_SUFFIXES:
                videos.videos.append(str(inside / name))
            else:
                videos.others[suffix or "no suffix"] += 1
    videos.videos.sort()
    return videos


def _refuse(fault: OSError) -> None:
    raise DataError(f"{fault.filename}: the folder cannot be read ({fault.strerror}).") from None


@dataclass
class ClassFolders:
    """The classes of a folder of videos, and which videos of which class are in which split.

    `splits`: {"train": {class: [path relative to the folder]}, ...}. `drawn`: whether they were drawn, because the
    folder has none of its own. `tested_on`: the split that "test" really is, "val" where there is no other. `unused`:
    folders without a video, or beside the splits. `others`: files that are no videos, counted by suffix.
    """

    classes: list[str]
    splits: dict[str, dict[str, list[str]]]
    drawn: bool
    tested_on: str
    unused: list[str]
    others: Counter


def find_classes(root: Path, val_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0) -> ClassFolders:
    """The class folders of `root`, with the splits that it has; otherwise three disjoint ones are drawn.

    With a `test_fraction` of 0 "test" is "val". Raises DataError where there is no class, or where the folders are
    something else.
    """
    folders, unused = _split_folders(root)
    folders = folders or {"train": root}
    splits: dict[str, dict[str, list[str]]] = {}
    others: Counter[str] = Counter()
    for split, folder in folders.items():
        splits[split] = {}
        for class_folder in class_folders(folder):
            inside, of_split = class_folder.relative_to(root), find_videos(class_folder)
            others += of_split.others
            if of_split.videos:
                splits[split][class_folder.name] = [str(inside / video) for video in of_split.videos]
            elif not FRAME_SUFFIXES.isdisjoint(of_split.others):
                raise DataError(f"{class_folder} contains images; each video needs its own folder in it.")
            else:
                unused.append(str(inside))
    classes = sorted(splits["train"])
    if not classes:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        raise DataError(
            f"{root}: no class folder contains a video. It must contain one folder for each class, with videos "
            "or folders of frames in it, for example opening/a.mp4 and closing/b.mp4, or such folders in train/ "
            "and val/." + f" Files that are not videos, by their names: {kinds}." * bool(kinds)
        )
    for split, of_split in splits.items():
        if unknown := sorted(set(of_split) - set(classes)):
            raise DataError(f"{folders[split]}: the class '{unknown[0]}' has no videos in {folders['train']}.")
    drawn = splits.keys() == {"train"}
    if drawn:
        splits = draw_splits(splits["train"], val_fraction, test_fraction, seed)
        if not test_fraction:
            del splits["test"]
    tested_on = "test" if "test" in splits else "val"
    splits.setdefault("val", splits.get("test"))  # type: ignore[arg-type]  # _split_folders finds one of the two
    splits.setdefault("test", splits["val"])
    return ClassFolders(classes, splits, drawn, tested_on, unused, others)


def _split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    """{split: folder} where `root` has a folder for training and one for testing, or nothing but the first, by their
    usual names; and what other folders there are then. ("train" beside "bus" and "tram" is a class.)

    Raises DataError where there are class folders for validation or testing, and none for training."""
    names = {folder.name.lower(): folder for folder in class_folders(root)}
    folders = {split: names.pop(word) for split, words in SPLIT_FOLDERS.items() for word in words if word in names}
    if folders and "train" not in folders and not names and all(class_folders(folder) for folder in folders.values()):
        there = " and ".join(folder.name for folder in folders.values())
        raise DataError(
            f"{root}: there is {there}, but no train. A folder train must contain the class folders to train on."
        )
    if "train" not in folders or (len(folders) == 1 and names):
        return {}, []
    return folders, [folder.name for folder in names.values()]


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden. Raises DataError where it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as fault:
        raise DataError(f"{folder}: the folder of the videos cannot be read ({fault.strerror}).") from None
