"""Means over seeds, differences between them, and what can be told from so few. Pure functions of numbers.

Student's t is that of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: a finite sum for
whole degrees of freedom, which are all that n seeds have. Holm, "A simple sequentially rejective multiple test
procedure", 1979. Wilson's interval of a proportion, 1927.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds. `deviation` (of a single seed, n - 1) and `half` (of the mean's 95 % interval) are None
    where one seed gives none."""

    mean: float
    n: int
    deviation: float | None
    half: float | None


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences. `p`: two-sided, of Student's t; None where the seeds give no test: one of them,
    or all alike."""

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
        return Estimate(mean, n, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Estimate(mean, n, deviation, t_quantile(CONFIDENCE, n - 1) * deviation / math.sqrt(n))


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Of `ours` over `theirs`, seed by seed."""
    found = estimate([a - b for a, b in zip(ours, theirs, strict=True)])
    if not found.deviation:
        return Difference(found, None)
    t = found.mean / (found.deviation / math.sqrt(found.n))
    return Difference(found, max(0.0, 1 - t_probability(t, found.n - 1)))


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
