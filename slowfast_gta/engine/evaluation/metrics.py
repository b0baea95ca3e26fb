"""What a table of scores is worth. Pure functions of arrays.

Legend: V videos, K classes.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

_SMALLEST = float(np.finfo(np.float32).smallest_normal)  # a probability of 0 is one that float32 could not hold


def topk_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Percent of rows of scores (V, K) whose label is among the k highest; ties and NaN count against us."""
    if len(labels) == 0:
        return float("nan")
    own = scores[np.arange(len(labels)), labels][:, None]
    # As many as tie with the label stand before it: constant scores must not look right.
    rank = (~(scores < own)).sum(1) - 1
    return 100.0 * float((rank < k).mean())


def joint_topk_accuracy(scores: Sequence[np.ndarray], labels: np.ndarray, k: int) -> float:
    """Percent of rows whose combination of labels (V, outputs) is among the k likeliest, given scores [(V, K)].

    A combination scores the product of its parts', as in EPIC-Kitchens' own evaluation of actions (verb, noun).
    """
    if len(labels) == 0:
        return float("nan")
    hits = 0
    for row, wanted in enumerate(labels):
        products = reduce(np.multiply.outer, [one[row] for one in scores])
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


def pair_accuracy(scores: np.ndarray, labels: np.ndarray, pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """How often classes that are each other's reversal are distinguished, in percent of the videos of such classes.

    "choice": the true class scores higher than its partner (a tie counts half: it is a coin toss);
    "right_pair": the highest score of all is the true class's or its partner's; "num_videos".
    """
    partner = np.full(scores.shape[1], -1)
    for a, b in pairs:
        partner[a], partner[b] = b, a
    chosen = partner[labels] >= 0
    scores, labels = scores[chosen], labels[chosen]
    if len(labels) == 0:
        return {"choice": float("nan"), "right_pair": float("nan"), "num_videos": 0}
    row = np.arange(len(labels))
    own, other = scores[row, labels], scores[row, partner[labels]]
    best = scores.argmax(1)
    return {
        "choice": 100.0 * float(((own > other) + 0.5 * (own == other)).mean()),
        "right_pair": 100.0 * float(((best == labels) | (best == partner[labels])).mean()),
        "num_videos": len(labels),
    }


SAME_SCORE = 1e-5  # two probabilities that differ by no more than float32 makes them differ


def order_accuracy(
    forwards: np.ndarray, backwards: np.ndarray, labels: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """What a network makes of each clip and of the same clip backwards; scores (V, K) of both.

    "both_ways": percent right inside pairs, each clip counted both ways, the label of the one backwards being its
    partner's. Where the scores do not tell the two apart, one of them is right: 50 %, exactly. Left out where no video
    is of a pair; "num_videos" are. "largest_difference": between the scores of a clip and of it backwards, over all V
    and K. "blind": whether that is no more than SAME_SCORE.
    """
    partner = np.full(forwards.shape[1], -1)
    for a, b in pairs:
        partner[a], partner[b] = b, a
    chosen = partner[labels] >= 0
    row, own, other = np.flatnonzero(chosen), labels[chosen], partner[labels[chosen]]
    there = forwards[row, own] - forwards[row, other]
    back = backwards[row, other] - backwards[row, own]
    right = (0.5 + 0.5 * np.sign(there)) + (0.5 + 0.5 * np.sign(back))
    right = np.where(np.abs(there + back) <= SAME_SCORE, 1.0, right)
    largest = float(np.abs(forwards - backwards).max()) if len(labels) else float("nan")
    accuracy = {"both_ways": 50.0 * float(right.mean())} if len(row) else {}
    return {**accuracy, "num_videos": len(row), "largest_difference": largest, "blind": largest <= SAME_SCORE}


def mean_cross_entropy(answers: np.ndarray, labels: np.ndarray, act: str = "softmax") -> float:
    """The mean over V videos of -log p of the right class, without label smoothing; p is at least what float32 holds.

    answers (V, K), labels (V,). act: what made `answers` of the network's scores (MODEL.HEAD_ACT): softmax, sigmoid or
    none. It is undone, so that the loss is always that of the softmax, which is trained with.
    """
    values = answers.astype(np.float64)
    if act == "none":
        log_probs = values - values.max(1, keepdims=True)
    elif act == "sigmoid":
        log_probs = np.log(np.maximum(values, _SMALLEST)) - np.log(np.maximum(1 - values, _SMALLEST))
        log_probs -= log_probs.max(1, keepdims=True)
    else:
        log_probs = np.log(np.maximum(values, _SMALLEST))
    log_probs -= np.log(np.exp(log_probs).sum(1, keepdims=True))
    return float(-log_probs[np.arange(len(labels)), labels].mean())
