"""Samples of the paper's tasks: a part of a video, what is asked of it, and what the answer should be."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast_gta.errors import DataError

_SUFFIXES = ("", ".mp4", ".webm", ".avi", ".mkv", ".MP4", ".mov")


@dataclass(frozen=True)
class Sample:
    """One question about one video.

    path: a video file, or a folder of frames; `fps` of such a folder, which cannot say it itself.
    span_sec: the part of the video that is watched, None for all of it.
    answers: the right answer; of captions all references.
    """

    id: str
    path: str
    prompt: str
    answers: tuple[str, ...]
    span_sec: tuple[float, float] | None = None
    fps: float | None = None


def read_table(path: Path, what: str) -> dict[str, dict[str, Any]]:
    """A JSON file {name: {field: value}}. Raises DataError, which says `what` it was to be."""
    content = read_json(path, what)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: {what} must be a JSON object with an entry for each sample.")
    for name, entry in content.items():
        if not isinstance(entry, dict):
            raise DataError(f"{path}: entry {name!r} must be an object with named fields, not {type(entry).__name__}.")
    return content


def read_json(path: Path, what: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: {what} is missing.") from None
    except (OSError, ValueError, RecursionError) as fault:
        raise DataError(f"{path}: {what} cannot be read as JSON ({fault}).") from None


def field_of(path: Path, name: str, entry: dict[str, Any], field: str, kind: type | tuple[type, ...]) -> Any:
    """A field of an entry. Raises DataError where it is missing or of another type."""
    if field not in entry:
        raise DataError(f"{path}: entry {name!r} has no field {field!r}; it has {', '.join(map(repr, entry))}.")
    if not isinstance(entry[field], kind) or isinstance(entry[field], bool):
        kinds = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataError(f"{path}: entry {name!r}: {field} is {entry[field]!r}; it must be {kinds}.")
    return entry[field]


def of_split(path: Path, table: dict[str, dict[str, Any]], split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries whose `subset` is `split` ("train", "val", "test"); all of a file that has no such field.

    Names of subsets are read by their beginning: training, validation, testing. A file without "val" has the test's.
    """
    subsets = {name: str(entry["subset"]).lower() for name, entry in table.items() if "subset" in entry}
    if not subsets:
        yield from table.items()
        return
    begins = {"train": "train", "val": "val", "test": "test"}
    unknown = sorted({subset for subset in subsets.values() if not subset.startswith(tuple(begins.values()))})
    if unknown or len(subsets) != len(table):
        message = f"subset {unknown[0]!r} is not train, val or test" if unknown else "some entries have no subset"
        raise DataError(f"{path}: {message}.")
    if not any(subset.startswith(begins[split]) for subset in subsets.values()):
        split = {"val": "test", "test": "val", "train": "train"}[split]
    found = [name for name, subset in subsets.items() if subset.startswith(begins[split])]
    if not found:
        raise DataError(f"{path}: no entry has the subset {split}.")
    yield from ((name, table[name]) for name in found)


class Videos:
    """Where the videos are: files, or folders of frames, by the names that annotations use."""

    def __init__(self, folder: Path, folder_fps: float):
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder of videos or frame folders (MA_LMM.VIDEO_DIR).")
        self._folder, self._fps = folder, folder_fps
        self._found: dict[str, Path | None] = {}

    def of(self, name: str) -> tuple[str, float | None]:
        """(path, fps of a frame folder). A video that is not there has the path where it was looked for."""
        if name not in self._found:
            stem = Path(name).with_suffix("") if Path(name).suffix in _SUFFIXES else Path(name)
            tries = [self._folder / name, *(self._folder / f"{stem}{suffix}" for suffix in _SUFFIXES)]
            self._found[name] = next((path for path in tries if path.exists()), None)
        path = self._found[name]
        return str(path or self._folder / name), self._fps if path is not None and path.is_dir() else None

    def check_found(self) -> None:
        """Raises DataError where not one of the videos asked for is there."""
        if self._found and not any(self._found.values()):
            first = next(iter(self._found))
            raise DataError(
                f"{self._folder}: no video of the annotations was found (of {len(self._found)}), "
                f"for example {first!r}, as a folder of frames or as {', '.join(_SUFFIXES[1:])} "
                "(MA_LMM.VIDEO_DIR)."
            )
