"""A folder of features: one file a video, whole or not at all, by any number of processes that share nothing but it.

OUTPUT/NAME.npz            the features of one video (feature_files.py)
OUTPUT/records/NAME.json   how it went: written behind the file, so that what has one is done
OUTPUT/settings.json       what all files of the folder have in common; another network or window is refused
OUTPUT/manifest.jsonl      the records of all videos that are done, sorted by their names
OUTPUT/failed.jsonl        those of videos that cannot be read, and why; tried again next time
"""

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from slowfast_gta.class_names import fingerprint
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.files import file_lock, remove_leftovers, write_whole
from slowfast_gta.inference.feature_files import DTYPES, FORMATS, import_h5py, save_features
from slowfast_gta.inference.features import FeatureExtractor, VideoFeatures
from slowfast_gta.inference.videos import NamedVideo

MANIFEST, FAILED, SETTINGS, RECORDS = "manifest.jsonl", "failed.jsonl", "settings.json", "records"
LOCK = (
    ".lock"  # one process at a time; where a file system has no locks, each for itself, and the last one's file stays
)
# What a reader of the folder wants to see of every video, to know that they belong together.
_IN_EVERY_RECORD = ("network", "weights", "layer", "pool", "fps", "window", "stride", "classes")


@dataclass
class Outcome:
    """What one call did with its share of the videos."""

    num_videos: int  # of the share
    num_there: int = 0  # done by an earlier call
    num_done: int = 0
    num_windows: int = 0
    video_sec: float = 0.0
    wall_sec: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)  # name -> why
    counts: Counter[str] = field(default_factory=Counter)  # frames repeated, filled up, left out, ... of this call

    def per_hour(self) -> dict[str, float]:
        """Videos, windows and hours of video that were done, for each hour of the clock."""
        hours = max(self.wall_sec, 1e-9) / 3600
        return {
            "videos_per_hour": round(self.num_done / hours, 1),
            "windows_per_hour": round(self.num_windows / hours, 1),
            "video_hours_per_hour": round(self.video_sec / 3600 / hours, 3),
        }


@dataclass(frozen=True)
class FeatureFolder:
    """Where features go, and in which form."""

    folder: Path
    format: str
    dtype: str

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.{self.format}"

    def record_file(self, name: str) -> Path:
        return self.folder / RECORDS / f"{name}.json"

    def is_done(self, video: NamedVideo) -> bool:
        """Whether its features are there, made from a file of the size that it has."""
        record = _read_json(self.record_file(video.name))
        return (
            record is not None
            and "error" not in record
            and record.get("source_bytes") == _size(video.path)
            and self.file(video.name).is_file()
        )

    def save(self, video: NamedVideo, features: VideoFeatures, settings: Mapping[str, object]) -> None:
        """The file of one video, then its record."""
        arrays = {
            "features": features.rows.astype(DTYPES[self.dtype]),
            "times": features.times,
            "frames": features.frame_indices,
        }
        record = {
            "video": video.name,
            "file": self.file(video.name).relative_to(self.folder).as_posix(),
            "path": video.path,
            "source_bytes": _size(video.path),
            "num_rows": len(features.rows),
            "shape": list(features.rows.shape),
            "num_windows": features.num_windows,
            "duration_sec": None if np.isnan(features.duration_sec) else features.duration_sec,
            "video_fps": features.fps,
            "counts": features.counts,
            **{key: settings[key] for key in _IN_EVERY_RECORD},
        }
        save_features(self.file(video.name), arrays, dict(settings) | record)
        if self.format == "npy":
            record |= {"times": features.times.tolist(), "frames": features.frame_indices.tolist()}
        self._save_record(video.name, record)

    def save_failure(self, video: NamedVideo, reason: str) -> None:
        self._save_record(video.name, {"video": video.name, "path": video.path, "error": reason})

    def _save_record(self, name: str, record: dict) -> None:
        path = self.record_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(record, ensure_ascii=False) + "\n")

    def check_settings(self, settings: dict) -> None:
        """Write settings.json, or raise ConfigError where the folder was filled with other ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder / LOCK):
            path = self.folder / SETTINGS
            there = _read_json(path)
            if there is None:
                write_whole(path, json.dumps(settings, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
                return
        other = [key for key in sorted({*there, *settings}) if there.get(key) != settings.get(key)]
        if other:
            key = other[0]
            raise ConfigError(
                f"{self.folder} was filled with other settings: {', '.join(other)} ({key} was {there.get(key)!r}, now "
                f"{settings.get(key)!r}). All features of a folder must be extracted alike: name another --output."
            )

    def write_manifest(self) -> None:
        """manifest.jsonl and failed.jsonl from all records that there are, whoever wrote them."""
        with file_lock(self.folder / LOCK):
            remove_leftovers(self.folder)
            records = [_read_json(path) for path in (self.folder / RECORDS).rglob("*.json")]
            records = sorted((entry for entry in records if entry), key=lambda record: record["video"])
            for name, failed in ((MANIFEST, False), (FAILED, True)):
                chosen = [record for record in records if ("error" in record) == failed]
                lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in chosen)
                if lines or name == MANIFEST:
                    write_whole(self.folder / name, lines)
                else:
                    (self.folder / name).unlink(missing_ok=True)


def build_feature_folder(output: Path, file_format: str, dtype: str) -> FeatureFolder:
    """Raises ConfigError for a format or type that there is not."""
    if file_format not in FORMATS:
        raise ConfigError(f"--format is {file_format}; it must be one of {', '.join(FORMATS)}.")
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype is {dtype}; it must be one of {', '.join(DTYPES)}.")
    if file_format == "h5":
        import_h5py()
    return FeatureFolder(output, file_format, dtype)


def extract_folder(
    extractor: FeatureExtractor, videos: Sequence[NamedVideo], folder: FeatureFolder, shard: tuple[int, int] = (0, 1)
) -> Outcome:
    """Extract the videos of one shard, (its number from 0, how many there are), that are not done yet.

    Videos are dealt out in the order of their names: the first to shard 0, the next to shard 1, ...
    """
    number, num_shards = shard
    settings = settings_of(extractor, folder)
    folder.check_settings(settings)
    share = sorted(videos)[number::num_shards]
    missing = [video for video in share if not folder.is_done(video)]
    outcome = Outcome(len(share), num_there=len(share) - len(missing))
    begin = time.perf_counter()
    results = extractor.extract([video.path for video in missing])
    quiet: dict[str, Any] = {} if sys.stderr.isatty() else {"mininterval": 30.0}
    with contextlib.closing(results):
        named = zip(missing, results, strict=True)
        for video, (_, features) in tqdm(named, total=len(missing), desc="features", unit="video", **quiet):
            if isinstance(features, DataError):
                outcome.failed[video.name] = str(features)
                folder.save_failure(video, str(features))
                continue
            try:
                folder.save(video, features, settings)
            except FileExistsError as fault:
                raise ConfigError(
                    f"{fault.filename}: this is a file, where a folder of features must be created."
                ) from None
            _count(outcome, features)
    outcome.wall_sec = time.perf_counter() - begin
    folder.write_manifest()
    return outcome


def _count(outcome: Outcome, features: VideoFeatures) -> None:
    outcome.num_done += 1
    outcome.num_windows += features.num_windows
    outcome.video_sec += float(np.nan_to_num(features.duration_sec))
    outcome.counts.update(features.counts)


def settings_of(extractor: FeatureExtractor, folder: FeatureFolder) -> dict[str, object]:
    """Everything that decides on the numbers in the files, and what they are numbers of."""
    network, plan = extractor.network, extractor.reader.plan
    crops: Any = extractor.reader.crops  # Crops, of an extractor
    transform = crops.transform
    classes = network.class_names
    return {
        "network": network.name,
        "weights": network.weights_digest,
        "layer": extractor.layer,
        "pool": extractor.pool,
        "fps": plan.fps,
        "window": str(plan.length) if plan.length else "video",
        "stride": str(plan.stride or plan.length) if plan.length else "video",
        "tail": plan.tail,
        "sampling": plan.spread,
        "num_frames": plan.num_frames,
        "crops": transform.num_crops,
        "mirror": crops.mirror,
        "keep_views": extractor.keep_views,
        "resize": list(transform.resize) if transform.resize else None,
        "crop_size": transform.crop_size,
        "mean": network.normalize.mean,
        "std": network.normalize.std,
        "input": "BGR" if network.normalize.reverse else "RGB",
        "batch_size": network.batch_size,
        "precision": str(network.dtype).removeprefix("torch."),
        "dtype": folder.dtype,
        "format": folder.format,
        "classes": fingerprint(classes),
        "class_names": classes,
    }


def _read_json(path: Path) -> dict | None:
    """None where it is not there, or was truncated by a loss of power."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _size(path: str) -> int | None:
    source = Path(path)
    try:
        return source.stat().st_size if source.is_file() else None
    except (OSError, ValueError):
        return None
