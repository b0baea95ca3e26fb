"""Which rows a network sees of a video: as many as it takes, with short segments stretched.

Dynamic segment sampling (chapter 3 of the thesis): short proposals get more rows, so that one action weighs about as
much as another. A weight w_i per snippet says by how much; W is its running sum, M = round(W_T) the number of rows.
"""

from dataclasses import dataclass

import numpy as np

from .row_map import CellMap, ReleasedMap, RowMap, cells_between
from .segments import Segments
from .settings import SegmentSettings


@dataclass(frozen=True)
class Sampled:
    """`features` (R, C) and where in the video each of the R rows comes from."""

    features: np.ndarray
    rows: RowMap


def interpolate_rows(features: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rows of `features` (T, C) at fractional `positions` (R,), linear; exact (the same bits) at whole ones.

    Positions outside [0, T - 1] take the outermost row.
    """
    positions = np.clip(positions, 0, len(features) - 1)
    low = np.floor(positions).astype(np.int64)
    share = (positions - low).astype(features.dtype)[:, None]
    high = np.minimum(low + 1, len(features) - 1)
    between = features[low] * (1 - share) + features[high] * share
    return np.where(share == 0, features[low], between)


def kept_for_sampling(segments: Segments, keep_score: float) -> Segments:
    """Per class, the best segments whose cumulative score stays within `keep_score` of its largest value.

    A class's only segment is never kept (its score exceeds the share), as in the released code.
    """
    kept = []
    for label in np.unique(segments.label):
        ranked = segments.of_labels([label]).best_first()
        total = np.cumsum(ranked.score)
        kept.append(ranked[np.arange(len(ranked)) < (total <= keep_score * total.max()).sum()])
    return Segments.concat(kept)


def segment_weights(
    start: np.ndarray, end: np.ndarray, num_snippets: int, settings: SegmentSettings, released: bool
) -> np.ndarray:
    """w (T,): 1, and more inside segments (N,) of at most L snippets, so that each comes to about L rows.

    `start`, `end`: snippet coordinates. The sum over each stretched run is a whole number.
    """
    length = end - start
    low, high = start - settings.widen * length, end + settings.widen * length
    if released:
        first, last = np.rint(low), np.rint(high)
    else:
        first, last = cells_between(low, high)
    first, last = np.maximum(first, 0).astype(np.int64), np.minimum(last, num_snippets - 1).astype(np.int64)
    weights, target = np.ones(num_snippets), settings.num_rows_of_short
    for a, b in zip(first, last, strict=True):
        size = b - a + 1
        # Rounding at the starts of snippets gives a one-snippet segment two snippets; released, one is none.
        if size >= (2 if released else 1) and size <= target:
            weights[a : b + 1] = np.maximum(weights[a : b + 1], target / size)
    return _whole_sums(weights)


def _whole_sums(weights: np.ndarray) -> np.ndarray:
    """Scale each run of weights above 1 so that its sum is a whole number."""
    stretched = np.diff(np.concatenate([[0], (weights > 1).astype(np.int8), [0]]))
    for a, b in zip(np.flatnonzero(stretched == 1), np.flatnonzero(stretched == -1), strict=True):
        total = weights[a:b].sum()
        weights[a:b] *= np.rint(total) / total
    return weights


def subsample_positions(num: int, num_rows: int, generator: np.random.Generator | None) -> np.ndarray:
    """Which of `num` rows (fractional, increasing) are fed: exactly `num_rows` in training (`generator` given), at most
    so many in testing (None)."""
    if generator is None:
        return np.arange(num) if num <= num_rows else np.floor(np.arange(num_rows) * (num / num_rows))
    if num < num_rows:
        return np.linspace(0, num - 1, num_rows)
    if num == num_rows:
        return np.arange(num)
    bounds = np.rint(np.linspace(0, num - 1, num_rows + 1)).astype(np.int64)
    return generator.integers(bounds[:-1], bounds[1:])


def sample(
    features: np.ndarray,
    num_rows: int,
    weights: np.ndarray | None = None,
    generator: np.random.Generator | None = None,
    released: bool = False,
) -> Sampled:
    """Rows for the network from `features` (T, C): stretched by `weights` (T,) where given, then `num_rows` drawn at
    random (`generator`: training) or at most `num_rows` evenly (None: testing). One snippet alone is taken twice."""
    num_snippets = len(features)
    if num_snippets == 1:
        features, weights = np.repeat(features, 2, axis=0), None
    stretched, cumulative = features, None
    if weights is not None:
        cumulative = np.concatenate([[0.0], np.cumsum(weights)])
        stretched = _stretch(features, cumulative, released)
    positions = subsample_positions(len(stretched), num_rows, generator)
    rows = interpolate_rows(stretched, positions)
    if released:
        return Sampled(rows, ReleasedMap(len(rows), num_snippets, cumulative))
    return Sampled(rows, CellMap(_row_edges(positions, len(stretched), num_snippets, cumulative)))


def _stretch(features: np.ndarray, cumulative: np.ndarray, released: bool) -> np.ndarray:
    """M rows (M, C) at W's inverse: released at W^-1(1..M), snippets numbered 1..T; else at the rows' centres."""
    num = int(np.rint(cumulative[-1]))
    marks = np.arange(1, num + 1) if released else np.arange(num) + 0.5
    at = np.interp(marks, cumulative, np.arange(len(cumulative), dtype=np.float64))
    return interpolate_rows(features, at - (1.0 if released else 0.5))


def _row_edges(positions: np.ndarray, num: int, num_snippets: int, cumulative: np.ndarray | None) -> np.ndarray:
    """(R + 1,) snippet coordinates between which each fed row lies: halfway between the centres of neighbours."""
    centres = positions + 0.5
    edges = np.concatenate([[0.0], (centres[1:] + centres[:-1]) / 2, [num]])
    if cumulative is None:
        return edges * (num_snippets / num)  # num differs from num_snippets for a single snippet alone
    return np.interp(edges, cumulative * (num / cumulative[-1]), np.arange(num_snippets + 1, dtype=np.float64))
