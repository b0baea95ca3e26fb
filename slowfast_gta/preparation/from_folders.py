"""Lists and a config from class folders: DIR/<class>/<video>, or DIR/{train,val,test}/<class>/<video>."""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

from slowfast_gta.datasets.folders import ClassFolders, find_classes
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.files import write_whole

BASE = "configs/Kinetics/OwnVideos_R2D50_GTA.yaml"
_BATCH_SIZE = 16  # BASE's: a training needs that many videos
_DIRECTIONS = re.compile(r"(?i)(?<![a-z])(left|right|(anti|counter)?clockwise)(?![a-z])")


@dataclass(frozen=True)
class WrittenLists:
    """What was found and written."""

    found: ClassFolders
    folder: Path
    notes: list[str]

    @property
    def config(self) -> Path:
        """The config that trains on the lists."""
        return self.folder / "train.yaml"

    def num_videos(self, split: str) -> int:
        """How many videos there are in "train", "val" or "test"."""
        return sum(map(len, self.found.splits[split].values()))


def write_lists(root: Path, output: Path, val_fraction: float, seed: int, overwrite: bool) -> WrittenLists:
    """train.csv, val.csv, test.csv, classes.txt and train.yaml in `output`, for the class folders of `root`.

    Raises DataError; where files of other content are there, unless `overwrite`.
    """
    if not 0 < val_fraction < 1:
        raise ConfigError(f"--val-fraction is {val_fraction}; it must be more than 0 and less than 1.")
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {state}; name the folder that holds one folder for each class.")
    found = find_classes(root, val_fraction, seed)
    written = WrittenLists(found, output, notes := [])
    if not written.num_videos("val"):
        raise DataError(f"{root}: no class has two videos, one to train with and one to test with. Add some.")
    separator = _separator(found)
    contents = {"classes.txt": "".join(f"{name}\n" for name in found.classes)}
    for split, classes in found.splits.items():
        labels = {name: label for label, name in enumerate(found.classes)}
        contents[f"{split}.csv"] = "".join(
            f"{video}{separator}{labels[name]}\n" for name, videos in sorted(classes.items()) for video in videos
        )
    contents["train.yaml"] = _config(root, written, notes)
    _write(output, contents, overwrite)
    notes += _notes(found, separator)
    return written


def _separator(found: ClassFolders) -> str:
    """What stands between path and label: a space, as in PySlowFast, and a tab where paths have spaces in them.

    Raises DataError for a name that no list can hold.
    """
    names = [video for classes in found.splits.values() for videos in classes.values() for video in videos]
    for name in names:
        try:
            fits = name.encode().decode().isprintable() and name == name.strip()
        except UnicodeEncodeError:
            fits = False
        if not fits:
            raise DataError(
                f"{os.fsencode(name)!r}: this name cannot stand in a list, for a tab, a line break, a space at an end "
                "or bytes that are not UTF-8. Rename it."
            )
    return "\t" if any(" " in name for name in names) else " "


def _config(root: Path, written: WrittenLists, notes: list[str]) -> str:
    """The text of a YAML that trains on the lists."""
    keys = {
        "_BASE_": BASE,
        "MODEL": {"NUM_CLASSES": len(written.found.classes)},
        "DATA": {"PATH_TO_DATA_DIR": str(written.folder.resolve()), "PATH_PREFIX": str(root.resolve())},
        "OUTPUT_DIR": f"runs/{written.folder.name}",
    }
    directed = [name for name in written.found.classes if _DIRECTIONS.search(name.replace("_", " "))]
    if directed:
        keys["DATA"]["RANDOM_FLIP"] = False
        notes.append(
            f"Classes with a direction in their name: {len(directed)}, as '{directed[0]}'; no clip is mirrored."
        )
    if (num_train := written.num_videos("train")) < _BATCH_SIZE:
        keys["TRAIN"] = {"BATCH_SIZE": num_train}
        notes.append(f"{num_train} videos to train with are few; the batch size is {num_train} (TRAIN.BATCH_SIZE).")
    text = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True)
    return f"# Videos in class folders.\n#   python tools/run_net.py --cfg {shlex.quote(str(written.config))}\n{text}"


def _write(output: Path, contents: dict[str, str], overwrite: bool) -> None:
    """All files or none: one with other content is a DataError, unless `overwrite`."""
    for name, content in contents.items():
        path = output / name
        if path.exists() and not overwrite and path.read_text(encoding="utf-8", errors="replace") != content:
            raise DataError(f"{path} is there, with other content. Name another --output, or say --overwrite.")
    output.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_whole(output / name, content)


def _notes(found: ClassFolders, separator: str) -> list[str]:
    """What else a user should know."""
    notes = []
    single = [name for name in found.classes if not found.splits["val"].get(name)]
    if single:
        notes.append(f"Classes without a video for validation: {len(single)}, as '{single[0]}'.")
    if found.unused:
        notes.append(f"Folders that are no classes: {len(found.unused)}, as '{found.unused[0]}'.")
    if found.others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(found.others.items()))
        notes.append(f"Other files, left out: {kinds}.")
    if separator == "\t":
        notes.append("Paths have spaces in them, so a tab stands before the label.")
    return notes
