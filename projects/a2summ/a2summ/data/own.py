"""One's own training data: a folder of videos, their transcripts, and a CSV of what is important in them.

    ROOT/videos/NAME.mp4 (.mkv, .webm, .mov, .avi)      ROOT/transcripts/NAME.srt (.vtt, .ass, .txt), where there is one
    ROOT/annotations.csv     video,start_sec,end_sec            the chosen segments: they are the target as they stand
                             video,start_sec,end_sec,importance  or how important each is: the target is what a
                                                                 knapsack of the budget takes of the video's shots
    ROOT/splits.yml          as SumMe's; without it the videos are dealt to five splits of 80 and 20 percent

Features are computed once and kept in ROOT/features/, a folder for each network and encoder. Everything, F1 too, is on
sampled frames, two a second. N sampled frame, M sentence.
"""

import csv
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from a2summ.data.annotations import read_splits
from a2summ.data.summe_tvsum import UserReference
from a2summ.frames import RATE, FrameNetwork, read_times
from a2summ.samples import Sample
from a2summ.shots.choose import Timeline, choose_shots, summary_frames
from a2summ.shots.kts import segment_in_pieces, shots_of
from a2summ.transcript.cues import SUFFIXES
from a2summ.transcript.read import read_transcript
from a2summ.transcript.sentences import Sentence, spans_of
from slowfast_gta.errors import DataError, counted
from slowfast_gta.files import whole_file
from slowfast_gta.plain_arrays import load_npz

logger = logging.getLogger("slowfast_gta")

_VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".m4v", ".avi")


@dataclass(frozen=True)
class Segment:
    start_sec: float
    stop_sec: float
    importance: float | None  # None: the segment is chosen


def read_annotations(path: Path) -> dict[str, list[Segment]]:
    """{video: its segments}. Raises DataError that names the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            names = set(rows.fieldnames or ())
            if not {"video", "start_sec", "end_sec"} <= names:
                raise DataError(f"{path}: expected the columns video, start_sec, end_sec and optionally importance.")
            out: dict[str, list[Segment]] = {}
            for row in rows:
                segment = _segment(row, "importance" in names, f"{path}:{rows.line_num}")
                if not (row["video"] or "").strip():
                    raise DataError(f"{path}:{rows.line_num}: the row names no video.")
                out.setdefault(row["video"].strip(), []).append(segment)
    except OSError as fault:
        raise DataError(f"{path}: {fault.strerror or fault}.") from None
    except (csv.Error, UnicodeError) as fault:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({fault}).") from None
    if not out:
        raise DataError(f"{path}: the file contains no rows.")
    return out


def _segment(row: dict, rated: bool, where: str) -> Segment:
    try:
        start, stop = float(row["start_sec"]), float(row["end_sec"])
        importance = float(row["importance"]) if rated else None
    except (TypeError, ValueError):
        raise DataError(f"{where}: start_sec, end_sec and importance must be numbers.") from None
    if not (0 <= start < stop and np.isfinite([stop, importance or 0.0]).all()):
        raise DataError(f"{where}: expected 0 <= start_sec < end_sec, found {start:g} and {stop:g}.")
    return Segment(start, stop, importance)


def find_videos(root: Path) -> dict[str, Path]:
    """{name without suffix: file} of ROOT/videos. Raises DataError."""
    folder = root / "videos"
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder. It must contain the videos of {root}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _VIDEOS:
            if path.stem in found:
                raise DataError(f"{folder}: {found[path.stem].name} and {path.name} have the same name.")
            found[path.stem] = path
    if not found:
        raise DataError(f"{folder}: the folder contains no video ({', '.join(_VIDEOS)}).")
    return found


def features_folder(root: Path, network_digest: str, encoder_digest: str) -> Path:
    key = hashlib.sha256(f"{network_digest} {encoder_digest} {RATE}".encode()).hexdigest()[:16]
    return root / "features" / key


def prepare_features(root: Path, network: FrameNetwork, encoder) -> None:
    """Compute the features of the annotated videos that have none yet, or whose video or transcript has changed since.

    Raises DataError.
    """
    videos, folder = find_videos(root), features_folder(root, network.digest, encoder.digest)
    names = _annotated(root, videos)
    folder.mkdir(parents=True, exist_ok=True)
    made_of = {name: _made_of(videos[name], find_transcript(root, name)) for name in names}
    missing = [name for name in names if _stored_made_of(folder / f"{name}.npz") != made_of[name]]
    if missing:
        logger.info("Computing the features of %d of %s.", len(missing), counted(len(names), "video"))
    for name in missing:
        times = read_times(videos[name])
        indices, frames = network(times)
        transcript = find_transcript(root, name)
        sentences = [] if transcript is None else _read_sentences(transcript, times.duration_sec)
        vectors = encoder.encode([sentence.text for sentence in sentences]).numpy()
        times_sec = times.times_sec[indices]
        spans = spans_of(sentences, times_sec)
        with whole_file(folder / f"{name}.npz") as file:
            arrays = {"times_sec": times_sec, "frames": frames, "sentences": vectors, "spans": spans}
            np.savez(file, made_of=made_of[name], **arrays)


def _made_of(*files: Path | None) -> str:
    """The names, sizes and times of change of files: another text where one was replaced."""
    found = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files if path is not None]
    return json.dumps(found)


def _stored_made_of(path: Path) -> str | None:
    """What the features in `path` were made of; None where they must be computed."""
    try:
        return str(load_npz(path)["made_of"])
    except (DataError, KeyError):
        return None


def _read_sentences(path: Path, duration_sec: float) -> list[Sentence]:
    """Logs what was repaired and what does not fit."""
    transcript = read_transcript(path, duration_sec)
    for text in (*transcript.warnings, *(f"{path}: {num} x {what}" for what, num in transcript.repairs.items())):
        logger.warning("%s", text)
    return transcript.sentences


def _annotated(root: Path, videos: dict[str, Path]) -> list[str]:
    """The names of the videos that are annotated, all of which must be there."""
    names = sorted(read_annotations(root / "annotations.csv"))
    absent = [name for name in names if name not in videos]
    if absent:
        raise DataError(
            f"{root / 'annotations.csv'}: {counted(len(absent), 'video')} not found in {root / 'videos'}: "
            f"{', '.join(absent[:3])}. The names are those of the files without their suffix."
        )
    return names


def find_transcript(root: Path, name: str) -> Path | None:
    paths = [root / "transcripts" / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.exists()), None)


def split_keys(root: Path, split: int, num_splits: int = 5, seed: int = 0) -> dict[str, list[str]]:
    """{"train_keys", "test_keys"} of one split: of splits.yml, else a fifth of the videos each, in a seeded order."""
    path = root / "splits.yml"
    if path.exists():
        splits = read_splits(path)
    else:
        names = np.random.default_rng(seed).permutation(_annotated(root, find_videos(root))).tolist()
        if len(names) < num_splits:
            raise DataError(
                f"{root}: {counted(len(names), 'annotated video')}, too few for {counted(num_splits, 'split')}. "
                "Give splits.yml."
            )
        splits = [
            {
                "train_keys": [name for i, name in enumerate(names) if i % num_splits != number],
                "test_keys": names[number::num_splits],
            }
            for number in range(num_splits)
        ]
    if not 0 <= split < len(splits):
        raise DataError(f"{root}: there is no split {split}; it must be 0 to {len(splits) - 1}.")
    return splits[split]


def load_own(
    root: str | Path, network_digest: str, encoder_digest: str, split: int, budget: float
) -> dict[str, list[Sample]]:
    """{"train", "test"}: the samples of a split, of features that `prepare_features` has made. Raises DataError."""
    root = Path(root)
    folder = features_folder(root, network_digest, encoder_digest)
    annotations, keys = read_annotations(root / "annotations.csv"), split_keys(root, split)
    return {
        part: [_read_sample(folder, name, annotations.get(name, []), budget) for name in keys[f"{part}_keys"]]
        for part in ("train", "test")
    }


def _read_sample(folder: Path, name: str, segments: list[Segment], budget: float) -> Sample:
    path = folder / f"{name}.npz"
    try:
        stored = load_npz(path)
        times_sec, frames, sentences, spans = (stored[key] for key in ("times_sec", "frames", "sentences", "spans"))
    except (DataError, KeyError) as fault:
        raise DataError(
            f"{path}: cannot be read ({fault}). Remove it, and the features will be computed again."
        ) from None
    if not segments:
        raise DataError(f"{name}: is in splits.yml, but has no row in annotations.csv.")
    timeline = sampled_timeline(frames)
    chosen = target_frames(segments, times_sec, timeline, budget)
    sentence_labels = [float(chosen[start:stop].any()) for start, stop in spans]
    return Sample(
        name,
        torch.from_numpy(frames),
        torch.from_numpy(sentences),
        spans,
        torch.from_numpy(chosen).float(),
        torch.tensor(sentence_labels, dtype=torch.float32),
        UserReference(timeline, chosen[None].astype(np.uint8)),
    )


def sampled_timeline(frames: np.ndarray) -> Timeline:
    """Shots (KTS) of a video whose original frames are taken to be the sampled ones."""
    shots = shots_of(segment_in_pieces(frames, RATE), len(frames))
    return Timeline(len(frames), np.arange(len(frames)), shots)


def target_frames(segments: list[Segment], times_sec: np.ndarray, timeline: Timeline, budget: float) -> np.ndarray:
    """bool (N,): the frames in the chosen segments or, of rated ones, in the shots that a knapsack takes."""
    importance = np.zeros(len(times_sec))
    for segment in segments:
        inside = (times_sec >= segment.start_sec) & (times_sec < segment.stop_sec)
        importance[inside] = np.maximum(importance[inside], 1.0 if segment.importance is None else segment.importance)
    if segments[0].importance is None:
        return importance > 0
    low, high = importance.min(), importance.max()
    scaled = (importance - low) / (high - low) if high > low else np.zeros_like(importance)
    return summary_frames(choose_shots(scaled, timeline, budget), timeline)
