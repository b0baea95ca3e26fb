"""From scores over rows to scored segments: upsampling, thresholds, runs, contrast, non-maximum suppression.

Vectorised over thresholds and classes. P points = 20 a row; a run is a stretch of points above a threshold.
"""

from dataclasses import dataclass

import numpy as np

from .row_map import RowMap
from .segments import Segments
from .settings import CORRECTED, RELEASED, Options, ProposalSettings, Sweep
from .timeline import Timeline

MIN_POINTS = 2  # shorter runs are no proposals
TINY = np.finfo(np.float64).tiny  # what two segments without length divide their overlap by: IoU 0


@dataclass(frozen=True)
class VideoScores:
    """Scores of one video, the background left out: `cas` (R, K), `attention` (R,), `video` (K,)."""

    cas: np.ndarray
    attention: np.ndarray
    video: np.ndarray


def predicted_classes(video_scores: np.ndarray, threshold: float) -> np.ndarray:
    """The classes (indices) whose video score exceeds `threshold`; the best one where none does."""
    above = np.flatnonzero(video_scores > threshold)
    return above if len(above) else np.array([int(video_scores.argmax())])


def upsample(signal: np.ndarray, scale: int, centred: bool) -> np.ndarray:
    """Signal over rows (R, ...) -> (R * scale, ...), linear.

    Point i stands for [i, i + 1] / scale in row coordinates. Centred: a row's value lies at its centre, and beyond the
    outermost centres it stays. Else, as released, at its start, and the last points continue the last slope.
    """
    num = len(signal)
    if centred:
        at = np.clip((np.arange(num * scale) + 0.5) / scale - 0.5, 0, num - 1)
    else:
        at = np.arange(num * scale) / scale
    low = np.clip(np.floor(at).astype(np.int64), 0, max(num - 2, 0))
    high = np.minimum(low + 1, num - 1)
    share = (at - low).reshape(-1, *([1] * (signal.ndim - 1)))
    return signal[low] + share * (signal[high] - signal[low])


def runs(mask: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Runs of true values along the last axis of `mask` (..., P) -> (indices of the leading axes), first, last."""
    step = np.diff(np.pad(mask.astype(np.int8), [(0, 0)] * (mask.ndim - 1) + [(1, 1)]), axis=-1)
    *leading, first = np.nonzero(step == 1)
    last = np.nonzero(step == -1)[-1] - 1
    return tuple(leading), first, last


def contrast(cumulative: np.ndarray, first: np.ndarray, last: np.ndarray, flank: float) -> np.ndarray:
    """Mean inside minus mean of the two flanks of runs (N,), a flank being `flank` times as long, cut at the ends of
    the video; 0 where nothing is left of both. `cumulative` (N, P + 1) or (P + 1,) is the running sum of the signal."""
    num_points, length = cumulative.shape[-1] - 1, last - first + 1
    low = np.maximum(0, (first - flank * length).astype(np.int64))
    high = np.minimum(num_points - 1, (last + flank * length).astype(np.int64))

    def total(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Sum of the points a ... b - 1."""
        if cumulative.ndim == 1:
            return cumulative[b] - cumulative[a]
        return cumulative[np.arange(len(a)), b] - cumulative[np.arange(len(a)), a]

    outer = total(low, first) + total(last + 1, high + 1)
    num_outer = (first - low) + (high - last)
    return total(first, last + 1) / length - outer / np.maximum(num_outer, 1)


def sweep_runs(
    cas: np.ndarray, attention: np.ndarray, video: np.ndarray, sweep: Sweep
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All runs of one sweep: class index, first, last point, score. `cas` (K', P), `attention` (P,), `video` (K',)."""
    thresholds = np.asarray(sweep.thresholds)
    index, first, last, score = [], [], [], []
    for k, signal in enumerate(cas):
        thresholded = signal if sweep.signal == "cas" else attention
        mask = thresholded >= thresholds[:, None]
        (row,), a, b = runs(mask)
        long = b - a + 1 >= MIN_POINTS
        row, a, b = row[long], a[long], b[long]
        mixed = _mixed(signal, attention, mask, sweep)
        cumulative = np.cumsum(np.pad(mixed, [(0, 0)] * (mixed.ndim - 1) + [(1, 0)]), axis=-1)
        value = np.empty(len(a))
        if cumulative.ndim == 1:
            value = contrast(cumulative, a, b, sweep.flank)
        else:
            for h in range(len(thresholds)):
                of = row == h
                value[of] = contrast(cumulative[h], a[of], b[of], sweep.flank)
        index.append(np.full(len(a), k))
        first.append(a)
        last.append(b)
        score.append(value + sweep.video_score_weight * video[k])
    return tuple(np.concatenate(part) for part in (index, first, last, score))


def _mixed(cas: np.ndarray, attention: np.ndarray, mask: np.ndarray, sweep: Sweep) -> np.ndarray:
    """The signal that scores: (P,), or (H, P) where it depends on the threshold, being 0 below it."""
    if sweep.signal == "cas":
        return sweep.cas_weight * np.where(mask, cas, 0.0) + sweep.attention_weight * attention
    if sweep.attention_weight == 0:
        return sweep.cas_weight * cas
    return sweep.cas_weight * cas + sweep.attention_weight * np.where(mask, attention, 0.0)


def suppress(start: np.ndarray, end: np.ndarray, score: np.ndarray, threshold: float, extra: float = 0.0) -> np.ndarray:
    """Greedy non-maximum suppression: indices kept, by falling score (equal scores in their order).

    What overlaps a kept segment with IoU >= `threshold` goes. `extra` seconds are added to lengths and overlaps.
    """
    order = np.argsort(-score, kind="stable")
    start, end = start[order], end[order]
    length = end - start + extra
    alive, kept = np.ones(len(order), bool), []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        rest = i + 1 + np.flatnonzero(alive[i + 1 :])
        overlap = np.maximum(np.minimum(end[i], end[rest]) - np.maximum(start[i], start[rest]) + extra, 0.0)
        union = length[i] + length[rest] - overlap
        alive[rest[overlap / np.maximum(union, TINY) >= threshold]] = False
    return order[np.array(kept, np.int64)]


def make_proposals(
    scores: VideoScores,
    sweeps: tuple[Sweep, ...],
    row_map: RowMap,
    timeline: Timeline,
    settings: ProposalSettings,
    options: Options,
) -> Segments:
    """Segments (seconds) of the classes that the network predicts, after suppression, class by class."""
    classes = predicted_classes(scores.video, settings.class_threshold)
    centred = options.snippet_time == CORRECTED
    cas = upsample(scores.cas[:, classes].astype(np.float64), settings.upsampling, centred).T
    attention = upsample(scores.attention.astype(np.float64), settings.upsampling, centred)
    parts = []
    for sweep in sweeps:
        index, first, last, score = sweep_runs(cas, attention, scores.video[classes], sweep)
        start = timeline.to_seconds(row_map.snippets(first / settings.upsampling))
        end = timeline.to_seconds(row_map.snippets((last + 1) / settings.upsampling))
        parts.append(Segments(classes[index], start, end, score))
    found = Segments.concat(parts)
    if options.clipping == CORRECTED:
        found = found.clipped(timeline.start, timeline.end)
    extra = 1.0 if options.nms_lengths == RELEASED else 0.0
    kept = []
    for label in classes:
        own = found.of_labels([label])
        kept.append(own[suppress(own.start, own.end, own.score, settings.nms_threshold, extra)])
    return Segments.concat(kept)
