"""What a table of scores is worth. Pure functions of arrays.

Legend: V videos, K classes.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

_SMALLEST = float(np.finfo(np.float32).smallest_normal)  # a probability of 0 is one that float32 could not hold


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """bool (V,): whether the label is among the k highest of scores (V, K); ties and NaN count against us."""
    own = scores[np.arange(len(labels)), labels][:, None]
    # As many as tie with the label stand before it: constant scores must not look right.
    return (~(scores < own)).sum(1) <= k


def topk_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Percent of rows of scores (V, K) whose label is among the k highest."""
    return 100.0 * float(hits(scores, labels, k).mean()) if len(labels) else float("nan")


def joint_topk_accuracy(scores: Sequence[np.ndarray], labels: np.ndarray, k: int) -> float:
    """Percent of rows whose combination of labels (V, outputs) is among the k likeliest, given scores [(V, K)].

    A combination scores the product of its parts', as in EPIC-Kitchens' own evaluation of actions (verb, noun).
    """
    if len(labels) == 0:
        return float("nan")
    hits = 0
    for row, wanted in enumerate(labels):
        products = reduce(np.multiply.outer, [table[row] for table in scores])
        hits += (~(products < products[tuple(wanted)])).sum() <= k  # as in `topk_accuracy`: ties and NaN against us
    return 100.0 * hits / len(labels)


def confusion_matrix(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K, K) counts: row = true class, column = the class with the highest score."""
    num_classes = scores.shape[1]
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(matrix, (labels, scores.argmax(1)), 1)
    return matrix


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """(K,) percent right of each class; NaN where a class has no video."""
    totals = confusion.sum(1)
    return np.where(totals > 0, 100.0 * np.diag(confusion) / np.maximum(totals, 1), np.nan)


def partners(num_classes: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """(K,): the class that each is the reversal of; -1 for none."""
    partner = np.full(num_classes, -1)
    for a, b in pairs:
        partner[a], partner[b] = b, a
    return partner


def pair_choices(scores: np.ndarray, labels: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """(V,): 1 where the true class of a reversed pair scores above its partner, 0.5 at a tie, 0 below; NaN where the
    class has no partner."""
    other = partners(scores.shape[1], pairs)[labels]
    row = np.arange(len(labels))
    difference = scores[row, labels] - scores[row, np.maximum(other, 0)]
    return np.where(other < 0, np.nan, 0.5 * (difference > 0) + 0.5 * (difference >= 0))


def pair_accuracy(scores: np.ndarray, labels: np.ndarray, pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """How often classes that are each other's reversal are distinguished, in percent of the videos of such classes.

    "choice": the true class scores higher than its partner (a tie counts half: it is a coin toss);
    "right_pair": the highest score of all is the true class's or its partner's; "num_videos".
    """
    choices = pair_choices(scores, labels, pairs)
    chosen = np.isfinite(choices)
    if not chosen.any():
        return {"choice": float("nan"), "right_pair": float("nan"), "num_videos": 0}
    best, labels = scores[chosen].argmax(1), labels[chosen]
    other = partners(scores.shape[1], pairs)[labels]
    return {
        "choice": 100.0 * float(choices[chosen].mean()),
        "right_pair": 100.0 * float(((best == labels) | (best == other)).mean()),
        "num_videos": len(labels),
    }


SAME_SCORE = 1e-5  # two probabilities that differ by no more than float32 makes them differ


def both_ways(
    forwards: np.ndarray, backwards: np.ndarray, labels: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> np.ndarray:
    """(V,): the part, 0 to 1, of a clip and of the same clip backwards that is right inside its pair; the label of the
    one backwards is its partner's. NaN where a class has no partner. scores (V, K) of both.

    Where the scores do not tell the two apart, one of them is right: 0.5, exactly.
    """
    other = partners(forwards.shape[1], pairs)[labels]
    row, of = np.arange(len(labels)), np.maximum(other, 0)
    there = forwards[row, labels] - forwards[row, of]
    back = backwards[row, of] - backwards[row, labels]
    right = (0.5 + 0.5 * np.sign(there)) + (0.5 + 0.5 * np.sign(back))
    right = np.where(np.abs(there + back) <= SAME_SCORE, 1.0, right)
    return np.where(other < 0, np.nan, right / 2)


def order_accuracy(
    forwards: np.ndarray, backwards: np.ndarray, labels: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """What a network makes of each clip and of the same clip backwards; scores (V, K) of both.

    "both_ways": percent right inside pairs, each clip counted both ways. Left out where no video is of a pair;
    "num_videos" are. "largest_difference": between the scores of a clip and of it backwards, over all V and K.
    "blind": whether that is no more than SAME_SCORE.
    """
    right = both_ways(forwards, backwards, labels, pairs)
    counted = right[np.isfinite(right)]
    largest = float(np.abs(forwards - backwards).max()) if len(labels) else float("nan")
    accuracy = {"both_ways": 100.0 * float(counted.mean())} if len(counted) else {}
    return {**accuracy, "num_videos": len(counted), "largest_difference": largest, "blind": largest <= SAME_SCORE}


def mean_cross_entropy(scores: np.ndarray, labels: np.ndarray, act: str = "softmax") -> float:
    """The mean over V videos of -log p of the right class, without label smoothing; p is at least what float32 holds.

    scores (V, K), labels (V,). act: what made `scores` of the network's logits (MODEL.HEAD_ACT): softmax, sigmoid or
    none. It is undone, so that the loss is always that of the softmax, which is trained with.
    """
    values = scores.astype(np.float64)
    if act == "none":
        log_probs = values - values.max(1, keepdims=True)
    elif act == "sigmoid":
        log_probs = np.log(np.maximum(values, _SMALLEST)) - np.log(np.maximum(1 - values, _SMALLEST))
        log_probs -= log_probs.max(1, keepdims=True)
    else:
        log_probs = np.log(np.maximum(values, _SMALLEST))
    log_probs -= np.log(np.exp(log_probs).sum(1, keepdims=True))
    return float(-log_probs[np.arange(len(labels)), labels].mean())
