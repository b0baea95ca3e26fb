"""The 0/1 knapsack: the shots that are worth the most and fit into the summary, found exactly."""

from collections.abc import Sequence

import numpy as np


def knapsack(values: Sequence[float], weights: Sequence[int], capacity: int) -> list[int]:
    """The items, ascending, of the greatest sum of `values` whose `weights` (whole, >= 0) sum to `capacity` at most.

    Exact, by dynamic programming in O(items * capacity). Of equally good sets the one that leaves out later items is
    taken: an item is in only where it makes the sum greater, so items of value 0 (or less) never are.
    """
    values, weights = np.asarray(values, np.float64), np.asarray(weights, np.int64)
    capacity = int(capacity)
    if capacity < 0 or not len(values):
        return []
    best = np.zeros(capacity + 1)  # best[c]: greatest value of the items so far within weight c
    taken = np.zeros((len(values), capacity + 1), bool)
    for item, (value, weight) in enumerate(zip(values, weights, strict=True)):
        if weight > capacity:
            continue
        with_it = best[: capacity + 1 - weight] + value
        taken[item, weight:] = with_it > best[weight:]
        best[weight:] = np.where(taken[item, weight:], with_it, best[weight:])
    chosen, left = [], capacity
    for item in range(len(values) - 1, -1, -1):
        if taken[item, left]:
            chosen.append(item)
            left -= int(weights[item])
    return chosen[::-1]
