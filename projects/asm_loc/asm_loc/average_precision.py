"""ActivityNet's mean average precision over tIoU thresholds, as a library function.

Per class, over all videos: predictions by falling score (equal scores in the order given: ActivityNet's own order is
unspecified); each takes, among the instances of its video and class that are not taken yet and overlap it with
tIoU >= t, the one of highest tIoU, else it is false (unlike VOC, a second-best instance may match). AP is the sum over
recall steps of the best precision at that recall or beyond. Classes without instances are left out, predictions of them
too; a class without predictions has AP 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slowfast_gta.errors import ConfigError

from .segments import Segments

# Exact decimals: numpy's arange gives 0.30000000000000004, which a tIoU of exactly 0.3 misses.
THUMOS_TIOU = tuple(i / 10 for i in range(1, 10))
ACTIVITYNET_TIOU = tuple(i / 100 for i in range(50, 100, 5))
TIOU_RANGES = {"thumos": THUMOS_TIOU, "activitynet": ACTIVITYNET_TIOU}


@dataclass(frozen=True)
class APResult:
    """`ap` (C, H): average precision of each class that has instances, at each threshold, in [0, 1]."""

    classes: np.ndarray  # (C,) labels
    thresholds: tuple[float, ...]
    ap: np.ndarray
    num_instances: np.ndarray  # (C,)
    num_predictions: np.ndarray  # (C,)
    num_ignored: int  # predictions of classes without an instance

    @property
    def per_threshold(self) -> np.ndarray:
        """mAP (H,); NaN where there is no instance at all."""
        return self.ap.mean(0) if len(self.ap) else np.full(len(self.thresholds), np.nan)

    def mean(self, low: float = 0.0, high: float = 1.0) -> float:
        """mAP averaged over the thresholds in [low, high]."""
        chosen = [low <= t <= high for t in self.thresholds]
        return float(self.per_threshold[chosen].mean())


def tiou(start_a: np.ndarray, end_a: np.ndarray, start_b: np.ndarray, end_b: np.ndarray) -> np.ndarray:
    """Temporal intersection over union, broadcast; 0 where both segments have no length (0 / 0 in the original)."""
    overlap = np.maximum(np.minimum(end_a, end_b) - np.maximum(start_a, start_b), 0.0)
    union = (end_a - start_a) + (end_b - start_b) - overlap
    return np.divide(overlap, union, out=np.zeros(np.broadcast(overlap, union).shape), where=union > 0)


def mean_average_precision(
    truth: dict[str, Segments], predictions: dict[str, Segments], thresholds: Sequence[float] = THUMOS_TIOU
) -> APResult:
    """Evaluate `predictions` against `truth`, both {video: Segments} (the score of a true instance is ignored)."""
    thresholds = tuple(float(t) for t in thresholds)
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise ConfigError(f"tIoU thresholds must lie in (0, 1], not {thresholds}.")
    instances, detections = _flatten(truth, list(truth)), _flatten(predictions, list(truth))
    classes = np.unique(instances.label)
    known = np.isin(detections.label, classes)
    ignored = sum(len(s) for s in predictions.values()) - int(known.sum())
    # A prediction for a video outside of `truth` is false, but counts: see _flatten.
    detections = detections[known]
    hit = _matches(instances, detections, np.array(thresholds))
    ap = np.zeros((len(classes), len(thresholds)))
    for row, label in enumerate(classes):
        ap[row] = _average_precision(hit[detections.label == label], int((instances.label == label).sum()))
    counts = [np.array([(part.label == c).sum() for c in classes], np.int64) for part in (instances, detections)]
    return APResult(classes, thresholds, ap, *counts, ignored)


@dataclass(frozen=True)
class _Rows:
    """Segments of many videos, best first."""

    video: np.ndarray
    label: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __getitem__(self, index: np.ndarray) -> "_Rows":
        return _Rows(self.video[index], self.label[index], self.start[index], self.end[index])


def _flatten(by_video: dict[str, Segments], names: list[str]) -> _Rows:
    """All segments, by falling score; a video that is not in `names` gets a number that no instance has."""
    number = {name: i for i, name in enumerate(names)}
    all_segments = Segments.concat(list(by_video.values()))
    video = np.repeat([number.get(name, -1) for name in by_video], [len(s) for s in by_video.values()])
    order = np.argsort(-all_segments.score, kind="stable")
    video = video.astype(np.int64)
    return _Rows(video, all_segments.label, all_segments.start, all_segments.end)[order]


def _matches(instances: _Rows, detections: _Rows, thresholds: np.ndarray) -> np.ndarray:
    """(D, H) bool: detection d takes an instance at threshold h.

    Videos and classes do not touch each other, so the r-th best detections of all of them are matched at once.
    """
    hit = np.zeros((len(detections.label), len(thresholds)), bool)
    groups, group_of = _groups(instances, detections)
    if not len(groups):
        return hit
    slots, num_slots = _instance_slots(groups, instances)
    start, end = np.full((2, len(groups), num_slots), np.nan)
    start[slots], end[slots] = instances.start, instances.end
    free = np.zeros((len(groups), len(thresholds), num_slots), bool)
    free[slots[0], :, slots[1]] = True
    for rows in _ranks(group_of):
        group = group_of[rows]
        with np.errstate(invalid="ignore"):
            overlap = tiou(detections.start[rows, None], detections.end[rows, None], start[group], end[group])
        allowed = free[group] & (overlap[:, None] >= thresholds[:, None])
        best = np.where(allowed, overlap[:, None], -1.0).argmax(2)
        found = allowed.any(2)
        hit[rows] = found
        r, h = np.nonzero(found)
        free[group[r], h, best[r, h]] = False
    return hit


def _groups(instances: _Rows, detections: _Rows) -> tuple[np.ndarray, np.ndarray]:
    """(video, class) pairs that have instances, (G, 2); and which of them each detection belongs to, -1 for none."""
    groups = np.unique(np.stack([instances.video, instances.label], 1), axis=0)
    number = {pair: i for i, pair in enumerate(map(tuple, groups.tolist()))}
    pairs = zip(detections.video.tolist(), detections.label.tolist(), strict=True)
    return groups, np.array([number.get(pair, -1) for pair in pairs], np.int64)


def _instance_slots(groups: np.ndarray, instances: _Rows) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    """For each instance its group and a slot of its own there; and the number of slots of the largest group."""
    number = {pair: i for i, pair in enumerate(map(tuple, groups.tolist()))}
    pairs = zip(instances.video.tolist(), instances.label.tolist(), strict=True)
    group = np.array([number[pair] for pair in pairs], np.int64)
    slot = _rank_in_group(group)
    return (group, slot), int(slot.max()) + 1


def _rank_in_group(group: np.ndarray) -> np.ndarray:
    """How many earlier entries have the same group."""
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], group[order], side="left")
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - first
    return rank


def _ranks(group_of: np.ndarray) -> list[np.ndarray]:
    """The detections (indices) that are the best of their group, then the second best, ...; those of no group never."""
    inside = np.flatnonzero(group_of >= 0)
    rank = _rank_in_group(group_of[inside])
    order = np.argsort(rank, kind="stable")
    return np.split(inside[order], np.cumsum(np.bincount(rank))[:-1]) if len(inside) else []


def _average_precision(hit: np.ndarray, num_instances: int) -> np.ndarray:
    """AP (H,) of one class; `hit` (D, H) by falling score."""
    if not len(hit):
        return np.zeros(hit.shape[1])
    found = np.cumsum(hit, axis=0)
    precision = found / np.arange(1, len(hit) + 1)[:, None]
    best_beyond = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    return (best_beyond * hit).sum(0) / num_instances  # recall grows by 1 / num_instances at each hit, else not


def recall(
    truth: dict[str, Segments], predictions: dict[str, Segments], threshold: float, keep: dict[str, np.ndarray]
) -> float:
    """Share of the true instances (of those marked in `keep`, {video: mask}) that some prediction of their class
    overlaps with tIoU >= `threshold`; NaN where none is marked."""
    found = total = 0
    for video, segments in truth.items():
        guess, chosen = predictions.get(video, Segments.empty()), segments[keep[video]]
        total += len(chosen)
        overlap = tiou(chosen.start[:, None], chosen.end[:, None], guess.start, guess.end)
        found += int(((overlap >= threshold) & (chosen.label[:, None] == guess.label)).any(1).sum())
    return found / total if total else float("nan")
