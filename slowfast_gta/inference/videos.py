"""Which videos are meant: files, folders of frames, folders of videos, and lists, each with a name of its own."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from slowfast_gta.datasets.folders import FRAME_SUFFIXES, VIDEO_SUFFIXES, find_videos
from slowfast_gta.datasets.records import read_text
from slowfast_gta.errors import ConfigError, DataError

LIST_SUFFIXES = (".txt", ".csv", ".lst", ".list")


class NamedVideo(NamedTuple):
    """`name` is what its results are called: a relative path without the suffix, no other video's."""

    name: str
    path: str


def named_videos(sources: Sequence[str], is_live: Callable[[str], bool] = lambda source: False) -> list[NamedVideo]:
    """The videos of all `sources`, in order. One that stands there twice comes once. Raises DataError, ConfigError.

    A folder of images is a video, any other folder holds videos, at any depth. A list (.txt, .csv) has a path on each
    line, and perhaps a label behind it; relative paths start at the folder of the list, or else at the current one.
    is_live: sources that are no path (a camera, a URL, -).
    """
    named: dict[str, str] = {}  # path -> name with its suffix
    for source in sources:
        if is_live(source):
            named.setdefault(source, source)
        elif source.lower().endswith(LIST_SUFFIXES) and os.path.isfile(source):  # noqa: PTH113 - any bytes
            for path in _listed(Path(source)):
                named.setdefault(path, _relative_name(path, Path(source).parent))
        elif os.path.isdir(source) and not _has_frames(source):  # noqa: PTH112
            inside = find_videos(Path(source)).videos
            if not inside:
                raise DataError(f"{source}: this folder contains neither videos nor images.")
            for name in inside:
                named.setdefault(str(Path(source, name)), name)
        else:
            named.setdefault(source, Path(source).name or source)
    return _with_names(named)


def _has_frames(folder: str) -> bool:
    """Images, and no folder that could hold videos beside them."""
    with os.scandir(folder) as entries:
        return any(Path(entry.name).suffix.lower() in FRAME_SUFFIXES for entry in entries if entry.is_file())


def _listed(path: Path) -> list[str]:
    """The videos of a list. A number at the end of a line is its label, unless the whole line is a path."""
    videos = []
    for line in read_text(path, "the list of videos").split("\n"):
        if not (line := line.strip(" \t\r")):
            continue
        videos.append(
            next((name for name in (_existing(reading, path.parent) for reading in _readings(line)) if name), "")
        )
        if not videos[-1]:
            shortest = list(_readings(line))[-1]  # a missing video: reported when its turn comes
            videos[-1] = str(path.parent / shortest)
    if not videos:
        raise DataError(f"{path}: the list is empty.")
    return videos


def _readings(line: str) -> list[str]:
    """The line as a path, then without one or two numbers at its end."""
    readings = [line.strip('"')]
    for _ in range(2):
        head, _, number = line.replace(",", " ").replace("\t", " ").rpartition(" ")
        if not head.strip() or not number.strip('"').lstrip("-").isdigit():
            break
        line = line[: len(head)].rstrip(' ,\t"')
        readings.append(line.strip('"'))
    return readings


def _existing(name: str, folder: Path) -> str | None:
    candidates = [name] if os.path.isabs(name) else [str(folder / name), name]  # noqa: PTH117
    return next((reading for reading in candidates if os.path.exists(reading)), None)  # noqa: PTH110


def _relative_name(path: str, folder: Path) -> str:
    inside = Path(path)
    is_below = inside.is_relative_to(folder) and ".." not in inside.parts[len(folder.parts) :]
    return str(inside.relative_to(folder)) if is_below else inside.name


def _with_names(named: dict[str, str]) -> list[NamedVideo]:
    """Names without suffixes; with them where two videos differ in nothing else."""
    short = {path: _without_suffix(name) for path, name in named.items()}
    times = Counter(short.values())
    names = {path: short[path] if times[short[path]] == 1 else named[path] for path in named}
    twice = Counter(names.values())
    for name, count in twice.items():
        if count > 1:
            both = [path for path in named if names[path] == name]
            raise ConfigError(
                f"{both[0]} and {both[1]} would both be called {name}. Name the folder that contains them, or "
                "rename one."
            )
    return [NamedVideo(names[path], path) for path in named]


def _without_suffix(name: str) -> str:
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else name
