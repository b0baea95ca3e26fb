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

from slowfast_gta.errors import ConfigError, DataError, counted
from slowfast_gta.inference.feature_files import load_features
from slowfast_gta.pickles import load_object_array

from .annotations import read_json
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
        raise DataError(
            f"{where}: features must be numbers of shape (T, C), a row of C channels for each moment, not "
            f"{rows.dtype} of shape {rows.shape}. (extract_features: --pool avg, spatial or space; no --keep-views.)"
        )
    if not rows.size:
        raise DataError(f"{where}: the video has no features (shape {rows.shape}); extract them again or leave it out.")
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        raise DataError(
            f"{where}: NaN or Inf in {len(bad)} of {counted(len(rows), 'row')} (the first is row {bad[0]}); "
            "extract them again."
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
                raise DataError(f"{folder} is not a folder; it must contain one .npy file per video.")

    def videos(self) -> list[str]:
        return sorted({path.stem for folder in self.folders for path in folder.glob("*.npy")})

    def load(self, video: str) -> Features:
        for folder in self.folders:
            path = folder / f"{video}.npy"
            if path.is_file():
                rows = checked_rows(load_object_array(path), path)
                return Features(rows, Timeline.uniform(len(rows), self.sec_per_snippet))
        raise DataError(f"No features of {video}: {video}.npy is in none of {', '.join(map(str, self.folders))}.")

    def describe(self) -> dict[str, object]:
        return {"sec_per_snippet": self.sec_per_snippet}


class ObjectArrayFeatures:
    """W-TALC's one file of all videos: an object array of (T, C), in the order of `names`."""

    def __init__(self, path: Path, names: list[str], sec_per_snippet: float) -> None:
        self.path, self.sec_per_snippet = path, sec_per_snippet
        arrays = load_object_array(path)
        if arrays.ndim != 1 or len(arrays) != len(names):
            raise DataError(f"{path} contains {arrays.shape} arrays, but videoname.npy {counted(len(names), 'name')}.")
        self._arrays = dict(zip(names, arrays, strict=True))

    def videos(self) -> list[str]:
        return sorted(self._arrays)

    def load(self, video: str) -> Features:
        if video not in self._arrays:
            raise DataError(f"No features of {video} in {self.path}.")
        rows = self._arrays[video]
        if not isinstance(rows, np.ndarray):  # a list can be a hundred letters that stand for 10 ** 14 numbers
            raise DataError(f"{self.path}, {video}: features must be an array (T, C), found {type(rows).__name__}.")
        rows = checked_rows(rows, f"{self.path}, {video}")
        return Features(rows, Timeline.uniform(len(rows), self.sec_per_snippet))

    def describe(self) -> dict[str, object]:
        return {"sec_per_snippet": self.sec_per_snippet}


MANIFEST, SETTINGS = "manifest.jsonl", "settings.json"  # of slowfast_gta/inference/extraction.py
# What decides on the numbers, under the names of SETTINGS: equal over all videos of a run. The format of the files,
# their type and the batch size may differ.
SHARED_KEYS = (
    *("network", "weights", "layer", "pool", "fps", "window", "stride", "tail", "sampling", "num_frames"),
    *("crops", "mirror", "keep_views", "resize", "crop_size", "mean", "std", "input"),
)


class ExtractedFeatures:
    """A folder that tools/extract_features.py wrote, in any of its formats and by any number of shards.

    manifest.jsonl has a record for each video; the times of its rows are in its file, or (.npy) in its record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records = {record["video"]: record for record in _read_manifest(folder / MANIFEST)}
        if not self._records:
            raise DataError(f"{folder / MANIFEST} lists no video.")
        self._shared = _shared(self._records.values(), folder)
        if self._shared.get("window") == "video":
            raise DataError(
                f"{folder}: each video is one row, so nothing can be found in time. Extract the features again with "
                "--window, for example --window 16, into another folder."
            )

    def videos(self) -> list[str]:
        return sorted(self._records)

    def describe(self) -> dict[str, object]:
        return self._shared

    def load(self, video: str) -> Features:
        if video not in self._records:
            raise DataError(f"No features of {video} in {self.folder}: {MANIFEST} does not list it.")
        record = self._records[video]
        path = self.folder / record["file"]
        if not _is_inside(path, self.folder):
            raise DataError(f"{self.folder / MANIFEST}: the file of {video} is outside of the folder.")
        try:
            arrays, _ = load_features(path)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist, but {MANIFEST} lists it: extract the features again.") from None
        if "features" not in arrays:
            raise DataError(f"{path} has no features: it is not a file of tools/extract_features.py.")
        return timed_features(arrays["features"], arrays.get("times", record.get("times")), path)


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except ValueError:  # a byte 0, or letters that no file has
        return False


def timed_features(rows: np.ndarray, times: object, where: object) -> Features:
    """Features of `rows` (T, C) and `times` (T, 2), start and end in seconds; sentences for what does not fit."""
    rows = checked_rows(rows, where)
    try:
        windows = np.asarray([] if times is None else times, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: the times of its rows are not numbers.") from None
    if windows.shape != (len(rows), 2):
        raise DataError(
            f"{where}: {counted(len(rows), 'row')}, but times of shape {windows.shape}; each needs a start and an end."
        )
    try:
        return Features(rows, Timeline.from_windows(windows[:, 0], windows[:, 1]))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _read_manifest(path: Path) -> list[dict]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
        if not all(isinstance(r.get("video"), str) and isinstance(r.get("file"), str) for r in records):
            raise DataError(f'{path}: every line needs a "video" and a "file".')
        return records
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: it is not a folder of tools/extract_features.py.") from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged ({error}): run tools/extract_features.py again, which completes it."
        ) from None


def _shared(records: Iterable[dict], folder: Path) -> dict[str, object]:
    """The values of SHARED_KEYS, of settings.json and of all records: those that both have must agree."""
    path = folder / SETTINGS
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise DataError(f"{path} is damaged: run tools/extract_features.py again, into another folder.")
    shared, owner = {}, {}
    for name, record in ((SETTINGS, content), *((r["video"], r) for r in records)):
        for key in (key for key in SHARED_KEYS if key in record):
            if shared.setdefault(key, record[key]) != record[key]:
                raise DataError(
                    f'{folder}: the features of {owner[key]} and {name} differ in "{key}" ({shared[key]} and '
                    f"{record[key]}); different networks or rates must not be mixed."
                )
            owner.setdefault(key, name)
    return shared


def same_origin(expected: dict[str, object], source: FeatureSource, what: str) -> None:
    """Refuse features that another network, other weights or another rate made than those a run was trained on."""
    found = source.describe()
    for key in sorted({*expected, *found}):
        if expected.get(key) != found.get(key):
            raise DataError(
                f'{what}: "{key}" of the features is {found.get(key)}, but the run was trained on features with '
                f"{expected.get(key)}. Extract them with the same network, weights and rate."
            )
