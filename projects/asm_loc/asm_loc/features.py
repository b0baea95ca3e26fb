"""Features of videos on disk: rows over time, each with the time that it stands for.

Three layouts: a folder of ID.npy (ACM-Net's packs; windows of one length, which the config gives), W-TALC's and
CO2-Net's object arrays, and what tools/extract_features.py writes (times in every file).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from slowfast_gta.errors import ConfigError, DataError

from .object_arrays import load_npy
from .timeline import Timeline


@dataclass(frozen=True)
class Features:
    """`rows` (T, C) float32, finite, T >= 1, and the times of its rows."""

    rows: np.ndarray
    timeline: Timeline


class FeatureSource(Protocol):
    """A store of features. `describe` says what made them: sources of one run must agree."""

    def videos(self) -> list[str]:
        """The names of the videos that it holds."""

    def load(self, video: str) -> Features:
        """The features of one of them."""

    def describe(self) -> dict[str, object]:
        """What all rows share: the network, its weights, the rate, ...; empty where the files do not say."""


def checked_rows(rows: np.ndarray, where: object) -> np.ndarray:
    """(T, C) float32, or a sentence on what is wrong with it."""
    rows = np.asarray(rows)
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.number) or np.issubdtype(rows.dtype, np.complexfloating):
        raise DataError(f"{where}: features must be numbers of shape (T, C), not {rows.dtype} of shape {rows.shape}.")
    if not rows.size:
        raise DataError(f"{where}: the video has no features (shape {rows.shape}); extract them again or leave it out.")
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        raise DataError(
            f"{where}: {len(bad)} of {len(rows)} rows hold NaN or Inf (the first is row {bad[0]}); extract them again."
        )
    return rows


@dataclass(frozen=True)
class NpyFolders:
    """ID.npy files in one or several folders; every row stands for `sec_per_snippet` seconds, one after another."""

    folders: tuple[Path, ...]
    sec_per_snippet: float

    def __post_init__(self) -> None:
        if not self.sec_per_snippet > 0:
            raise ConfigError(
                f"The seconds that a row of features stands for must be positive, not {self.sec_per_snippet}."
            )
        for folder in self.folders:
            if not folder.is_dir():
                raise DataError(f"{folder} is not a folder; it should hold one .npy file a video.")

    def videos(self) -> list[str]:
        return sorted({path.stem for folder in self.folders for path in folder.glob("*.npy")})

    def load(self, video: str) -> Features:
        for folder in self.folders:
            path = folder / f"{video}.npy"
            if path.is_file():
                rows = checked_rows(load_npy(path), path)
                return Features(rows, Timeline.uniform(len(rows), self.sec_per_snippet))
        raise DataError(f"No features of {video}: {video}.npy is in none of {', '.join(map(str, self.folders))}.")

    def describe(self) -> dict[str, object]:
        return {"sec_per_snippet": self.sec_per_snippet}


class ObjectArrayFeatures:
    """W-TALC's one file of all videos: an object array of (T, C), in the order of `names`."""

    def __init__(self, path: Path, names: list[str], sec_per_snippet: float) -> None:
        self.path, self.sec_per_snippet = path, sec_per_snippet
        arrays = load_npy(path)
        if arrays.ndim != 1 or len(arrays) != len(names):
            raise DataError(
                f"{path} holds {arrays.shape} arrays, and videoname.npy {len(names)} names: they do not match."
            )
        self._arrays = dict(zip(names, arrays, strict=True))

    def videos(self) -> list[str]:
        return sorted(self._arrays)

    def load(self, video: str) -> Features:
        if video not in self._arrays:
            raise DataError(f"No features of {video} in {self.path}.")
        rows = checked_rows(self._arrays[video], f"{self.path}, {video}")
        return Features(rows, Timeline.uniform(len(rows), self.sec_per_snippet))

    def describe(self) -> dict[str, object]:
        return {"sec_per_snippet": self.sec_per_snippet}


# What must be equal over all videos of a run, under the names of tools/extract_features.py's manifest.jsonl.
SHARED_KEYS = ("network", "weights", "layer", "pool", "fps", "window", "stride")


class ExtractedFeatures:
    """A folder that tools/extract_features.py wrote: manifest.jsonl, one line a video, and a .npz or .npy for each.

    A line: {"video", "file", "times": [[start, end], ...] (.npy only), ...SHARED_KEYS}. An .npz holds "features" (T, C)
    and "times" (T, 2), seconds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries = {entry["video"]: entry for entry in _read_manifest(folder / "manifest.jsonl")}
        if not self._entries:
            raise DataError(f"{folder / 'manifest.jsonl'} lists no video.")
        self._shared = _shared(self._entries.values(), folder)

    def videos(self) -> list[str]:
        return sorted(self._entries)

    def describe(self) -> dict[str, object]:
        return self._shared

    def load(self, video: str) -> Features:
        if video not in self._entries:
            raise DataError(f"No features of {video} in {self.folder}: manifest.jsonl does not list it.")
        entry = self._entries[video]
        path = self.folder / entry["file"]
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(f"{self.folder / 'manifest.jsonl'}: the file of {video} lies outside of the folder.")
        rows, times = self._npz(path) if path.suffix == ".npz" else (load_npy(path), entry.get("times"))
        rows = checked_rows(rows, path)
        times = np.asarray(times if times is not None else [], np.float64)
        if times.shape != (len(rows), 2):
            raise DataError(
                f"{path}: {len(rows)} rows, but times of shape {times.shape}; a row needs a start and an end."
            )
        return Features(rows, Timeline.from_windows(times[:, 0], times[:, 1]))

    @staticmethod
    def _npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["features"], arrays["times"]
        except FileNotFoundError:
            raise DataError(
                f"{path} does not exist, but manifest.jsonl lists it: extract the features again."
            ) from None
        except KeyError as error:
            raise DataError(f"{path} has no array {error}: it is not a file of tools/extract_features.py.") from None
        except Exception as error:  # zip and numpy raise many types for a damaged file
            raise DataError(f"{path} is damaged ({type(error).__name__}): extract the features again.") from None


def _read_manifest(path: Path) -> list[dict]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines if line.strip()]
        if not all(isinstance(e.get("video"), str) and isinstance(e.get("file"), str) for e in entries):
            raise DataError(f'{path}: every line needs a "video" and a "file".')
        return entries
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: it is not a folder of tools/extract_features.py.") from None
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({error}): run tools/extract_features.py again, which completes it."
        ) from None


def _shared(entries: Iterable[dict], folder: Path) -> dict[str, object]:
    """The values of SHARED_KEYS, which all entries must have in common."""
    entries = list(entries)
    first = {key: entries[0][key] for key in SHARED_KEYS if key in entries[0]}
    for entry in entries[1:]:
        for key in SHARED_KEYS:
            if entry.get(key) != first.get(key):
                raise DataError(
                    f'{folder}: the features of {entries[0]["video"]} and {entry["video"]} differ in "{key}" '
                    f"({first.get(key)} and {entry.get(key)}); different networks or rates must not be mixed."
                )
    return first


def same_origin(expected: dict[str, object], source: FeatureSource, what: str) -> None:
    """Refuse features that another network, other weights or another rate made than those a run was trained on."""
    found = source.describe()
    for key in sorted({*expected, *found}):
        if expected.get(key) != found.get(key):
            raise DataError(
                f'{what}: "{key}" of the features is {found.get(key)}, but the run was trained on features with '
                f"{expected.get(key)}. Extract them with the same network, weights and rate."
            )
