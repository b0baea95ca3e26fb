"""Means over seeds, differences between them, and what so few can show. Pure functions of numbers.

Student's t is that of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: a finite sum for
whole degrees of freedom, which are all that n seeds have. Holm, "A simple sequentially rejective multiple test
procedure", 1979. Wilson's interval of a proportion, 1927. Bootstrap: Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993: percentile intervals.

Legend: V videos.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
NUM_DRAWS = 10_000  # of a bootstrap


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds. `deviation` (of a single seed, n - 1) is None with one seed; `low`, `high`: the mean's 95 %
    interval, None where there is none: of one seed, by Student's t."""

    mean: float
    n: int
    deviation: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences. `p`: two-sided, of Student's t or of the bootstrap; None where there is no test:
    by t, of one seed, and of seeds that are all alike."""

    estimate: Estimate
    p: float | None


def t_probability(t: float, freedom: int) -> float:
    """P(|T| < t) of Student's t with `freedom` degrees, 1 or more."""
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    if not odd:
        return sine * total
    return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))


def t_quantile(probability: float, freedom: int) -> float:
    """The t with P(|T| < t) = `probability`, below 1."""
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of `values`, one for each seed, and its 95 % interval by Student's t."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Estimate(mean, n, None, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = t_quantile(CONFIDENCE, n - 1) * deviation / math.sqrt(n)
    return Estimate(mean, n, deviation, mean - half, mean + half)


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Of `ours` over `theirs`, seed by seed, by Student's t."""
    difference = estimate([a - b for a, b in zip(ours, theirs, strict=True)])
    if not difference.deviation:
        return Difference(difference, None)
    t = difference.mean / (difference.deviation / math.sqrt(difference.n))
    return Difference(difference, max(0.0, 1 - t_probability(t, difference.n - 1)))


def bootstrap_means(values: np.ndarray) -> np.ndarray:
    """(NUM_DRAWS,) means of `values` (V,), of as many videos drawn anew with replacement: equal for equal values.

    How often each different value is drawn is multinomial, so that V may be large.
    """
    distinct, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(values), counts / len(values), NUM_DRAWS)
    return drawn @ distinct / len(values)


def bootstrap_estimate(by_seed: np.ndarray) -> Estimate:
    """`by_seed` (seeds, V): what each video counts, percent. The interval is of the videos, the seeds as they are."""
    tails = (1 - CONFIDENCE) / 2
    low, high = np.quantile(bootstrap_means(by_seed.mean(0)), [tails, 1 - tails])
    of_seeds = estimate([float(value) for value in by_seed.mean(1)])
    return Estimate(of_seeds.mean, of_seeds.n, of_seeds.deviation, float(low), float(high))


def bootstrap_difference(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """Of `ours` over `theirs`, each (seeds, V), video by video.

    p: twice the smaller part of draws that are not above 0, or not below it, each counted with the data as one draw.
    """
    differences = ours - theirs
    draws = bootstrap_means(differences.mean(0))
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum())) + 1
    return Difference(bootstrap_estimate(differences), min(1.0, 2 * tail / (NUM_DRAWS + 1)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """The p of each of several comparisons, adjusted for there being several; None stays None and counts as none."""
    order = sorted((p, at) for at, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, at) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[at] = largest
    return adjusted


def proportion_interval(percent: float, n: int) -> tuple[float, float]:
    """The 95 % interval (percent, Wilson's) of a proportion seen on n independent videos."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    share, scale = percent / 100, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)
