"""SumMe and TVSum as A2Summ's authors pack them: h5 features (GoogLeNet pool5), RoBERTa features of machine captions.

    ROOT/SumMe/feature/eccv16_dataset_summe_google_pool5.h5      ROOT/SumMe/feature/text_roberta.npy
    ROOT/SumMe/splits.yml                                        ROOT/TVSum/... likewise
    ROOT/TVSum/ydata-anno.tsv and ydata-tvsum50-info.tsv (TVSum's own files) for rank correlation with ratings

Five splits, 20/5 and 40/10 videos. The captions have no times: sentence j owns the frames [j r, (j + 1) r) with
r = ceil(T / M). T sampled frame (every 15th), M caption, U user, n original frames.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from a2summ.data.annotations import features, read_splits
from a2summ.data.object_arrays import load_arrays
from a2summ.samples import Sample
from a2summ.shots.choose import Timeline, choose_shots, summary_frames
from slowfast_gta.errors import DataError, counted

BUDGET = 0.15
_MAX_BYTES = 4 * 2**30  # of one array


@dataclass(frozen=True)
class UserReference:
    """What users chose of one video."""

    timeline: Timeline
    user_summaries: np.ndarray  # uint8 (U, n)
    ratings: np.ndarray | None = None  # (20, n), TVSum


def load_summe_tvsum(root: str | Path, dataset: str, split: int) -> dict[str, list[Sample]]:
    """{"train", "test"}: the samples of one of the splits of "SumMe" or "TVSum". Raises DataError."""
    folder = Path(root) / dataset
    splits = read_splits(folder / "splits.yml")
    if not 0 <= split < len(splits):
        raise DataError(f"{folder / 'splits.yml'}: there is no split {split}; it must be 0 to {len(splits) - 1}.")
    path = folder / "feature" / f"eccv16_dataset_{dataset.lower()}_google_pool5.h5"
    captions = folder / "feature" / "text_roberta.npy"
    texts = load_arrays(captions)
    ratings = read_ratings(folder) if dataset == "TVSum" else {}
    with _open(path) as file:
        return {
            part: [
                _read_sample(file, path, key, features(texts, key, str(captions)).numpy(), ratings.get(key))
                for key in splits[split][f"{part}_keys"]
            ]
            for part in ("train", "test")
        }


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as fault:
        reason = "no such file" if not path.exists() else f"not an HDF5 file ({fault})"
        raise DataError(f"{path}: {reason}.") from None


def _read(group: h5py.Group, name: str, ndim: int, where: str) -> np.ndarray:
    """One array of numbers. Links to other files are not followed."""
    link = group.get(name, getlink=True)
    dataset = group.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise DataError(f"{where}: no {name} in the file itself.")
    if dataset.ndim != ndim or dataset.dtype.kind not in "fiub" or dataset.nbytes > _MAX_BYTES:
        raise DataError(
            f"{where}: {name} must be numbers of {counted(ndim, 'dimension')}, not {dataset.dtype} {dataset.shape}."
        )
    try:
        return dataset[()]
    except OSError as fault:
        raise DataError(f"{where}: {name} cannot be read ({fault}).") from None


def _read_sample(file: h5py.File, path: Path, key: str, text: np.ndarray, ratings: np.ndarray | None) -> Sample:
    where = f"{path}, {key}"
    group = file.get(key) if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(group, h5py.Group):
        raise DataError(
            f"{where}: there is no such video. Videos in the file: {len(file)}, for example {next(iter(file), 'none')}."
        )
    frames = _read(group, "features", 2, where).astype(np.float32)
    scores = _read(group, "gtscore", 1, where).astype(np.float64)
    timeline = _read_timeline(group, len(frames), where)
    if len(scores) != len(frames):
        raise DataError(f"{where}: {counted(len(frames), 'feature')}, but {counted(len(scores), 'score')} (gtscore).")
    users = _read(group, "user_summary", 2, where) if "user_summary" in group else np.zeros((0, timeline.num_frames))
    frame_labels, sentence_labels, spans = targets_of(scores, timeline, len(text))
    return Sample(
        key,
        torch.from_numpy(frames),
        torch.from_numpy(text),
        spans,
        frame_labels,
        sentence_labels,
        UserReference(timeline, (users > 0.5).astype(np.uint8), ratings),
    )


def _read_timeline(group: h5py.Group, num_sampled: int, where: str) -> Timeline:
    num_frames = int(_read(group, "n_frames", 0, where))
    picks = _read(group, "picks", 1, where).astype(np.int64)
    change_points = _read(group, "change_points", 2, where).astype(np.int64)
    lengths = _read(group, "n_frame_per_seg", 1, where).astype(np.int64)
    if len(picks) != num_sampled or (np.diff(picks) <= 0).any() or not (picks[0] >= 0 and picks[-1] < num_frames):
        raise DataError(
            f"{where}: picks must be {counted(num_sampled, 'ascending frame')} below n_frames, {num_frames}; it has "
            f"{len(picks)}, from {picks[:1]} to {picks[-1:]}."
        )
    if change_points.shape != (len(lengths), 2) or not len(lengths) or (lengths < 0).any():
        raise DataError(
            f"{where}: change_points {change_points.shape} and n_frame_per_seg {lengths.shape} must be (S, 2) and (S,)."
        )
    if (change_points[:, 0] > change_points[:, 1]).any() or change_points.min() < 0:
        raise DataError(f"{where}: change_points must be rows (first, last), first <= last.")
    shots = np.stack([change_points[:, 0], np.minimum(change_points[:, 1] + 1, num_frames)], axis=1)
    return Timeline(num_frames, picks, shots, lengths)


def targets_of(
    scores: np.ndarray, timeline: Timeline, num_sentences: int
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Importance (T,) -> labels of frames (T,) and sentences (M,), and the sentences' spans (M, 2).

    The shots that a knapsack takes of the min-max scaled scores are the positive frames; a sentence is positive when
    any frame of its span is.
    """
    low, high = scores.min(), scores.max()
    scaled = (scores - low) / (high - low) if high > low else np.zeros_like(scores)
    chosen = choose_shots(scaled, timeline, BUDGET)
    frame_labels = summary_frames(chosen, timeline)[timeline.picks]
    spans = even_spans(len(scores), num_sentences)
    sentence_labels = [frame_labels[start:stop].any() for start, stop in spans]
    return torch.from_numpy(frame_labels).float(), torch.tensor(sentence_labels, dtype=torch.float32), spans


def even_spans(num_frames: int, num_sentences: int) -> np.ndarray:
    """Sentence j owns [j r, min((j + 1) r, T)), r = ceil(T / M); the last ones can own nothing. int64 (M, 2)"""
    if num_sentences == 0:
        return np.zeros((0, 2), np.int64)
    ratio = -(-num_frames // num_sentences)
    bounds = np.minimum(np.arange(num_sentences + 1) * ratio, num_frames)
    return np.stack([bounds[:-1], bounds[1:]], axis=1)


def read_ratings(folder: Path) -> dict[str, np.ndarray]:
    """TVSum's own files -> {"video_N": (20, n)}, N the row of its info file; {} where they are not there."""
    info, annotations = folder / "ydata-tvsum50-info.tsv", folder / "ydata-anno.tsv"
    if not annotations.exists() or not info.exists():
        return {}
    ids = [fields[1] for fields in _rows(info) if len(fields) > 1 and fields[1] != "video_id"]
    rows: dict[str, list[np.ndarray]] = {}
    for number, fields in enumerate(_rows(annotations), start=1):
        try:
            rows.setdefault(fields[0], []).append(np.array(fields[2].split(","), np.float64))
        except (IndexError, ValueError):
            raise DataError(f"{annotations}:{number}: expected video, category and comma-separated ratings.") from None
    out = {}
    for number, video in enumerate(ids, start=1):
        if video in rows:
            if len({len(row) for row in rows[video]}) > 1:
                raise DataError(f"{annotations}: the ratings of {video} differ in length.")
            out[f"video_{number}"] = np.stack(rows[video])
    return out


def _rows(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as fault:
        raise DataError(f"{path}: cannot be read ({fault}).") from None
    return [line.split("\t") for line in lines if line.strip()]
