"""From snippets of a video to the rows that the network is fed, and back.

Rows are snippets, resampled: some stretched (dynamic segment sampling), then as many as the network takes. Both forms
of the map answer the same two questions, `rows` and `snippets`:

* `CellMap` (corrected): snippet i spans the cell [i, i + 1]; a row spans the part of the video that is nearer to it
  than to its neighbours. Both directions are inverse to each other; a segment covers the rows that it overlaps.
* `ReleasedMap` (as_released): the formulas of the released code, where a value lies at the start of its snippet.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

TOUCH = 1e-6  # of a row: an overlap that is none


class RowMap(Protocol):
    """What sampling hands out with its rows."""

    num_rows: int

    def rows(self, start: np.ndarray, end: np.ndarray, widen: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Segments (N,) in snippet coordinates -> first and last row (N,), both included, widened on both sides by
        `widen` lengths after the map; last < first where a segment lies outside the video altogether."""

    def snippets(self, rows: np.ndarray) -> np.ndarray:
        """Row coordinates in [0, num_rows] -> snippet coordinates."""


def _outside(first: np.ndarray, last: np.ndarray, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Clip to the rows there are; (0, -1) for segments that none of them is in."""
    gone = (first > num_rows - 1) | (last < 0)
    first, last = np.clip(first, 0, num_rows - 1), np.clip(last, 0, num_rows - 1)
    return np.where(gone, 0, first).astype(np.int64), np.where(gone, -1, last).astype(np.int64)


@dataclass(frozen=True)
class CellMap:
    """`edges` (R + 1,), snippet coordinates, not decreasing: row r spans [edges[r], edges[r + 1]]."""

    edges: np.ndarray

    @property
    def num_rows(self) -> int:
        return len(self.edges) - 1

    def rows(self, start: np.ndarray, end: np.ndarray, widen: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        index = np.arange(len(self.edges), dtype=np.float64)
        outside = (np.asarray(start) >= self.edges[-1]) | (np.asarray(end) <= self.edges[0])
        low, high = np.interp(start, self.edges, index), np.interp(end, self.edges, index)
        low, high = low - widen * (high - low), high + widen * (high - low)
        first, last = cells_between(low, high)
        first, last = np.where(outside, self.num_rows, first), np.where(outside, -1, last)
        return _outside(first, last, self.num_rows)

    def snippets(self, rows: np.ndarray) -> np.ndarray:
        return np.interp(rows, np.arange(len(self.edges), dtype=np.float64), self.edges)


def cells_between(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last unit cell that [low, high] overlaps (by more than rounding errors)."""
    first, last = np.floor(low + TOUCH), np.ceil(high - TOUCH) - 1
    return first, np.maximum(first, last)


@dataclass(frozen=True)
class ReleasedMap:
    """`cumulative` (T + 1,) is W, the running sum of the sampling weights from 0; None: no segment is stretched."""

    num_rows: int
    num_snippets: int
    cumulative: np.ndarray | None = None

    def rows(self, start: np.ndarray, end: np.ndarray, widen: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        low, high = self._stretched(start), self._stretched(end)
        total = self.num_snippets if self.cumulative is None else np.rint(self.cumulative[-1])
        middle, length, scale = (low + high) / 2, high - low, self.num_rows / total
        first = np.rint((middle - (widen + 0.5) * length) * scale)
        last = np.rint((middle + (widen + 0.5) * length) * scale)
        return _outside(first, last, self.num_rows)

    def _stretched(self, snippets: np.ndarray) -> np.ndarray:
        """u = W(s + 1) - 1; past the last snippet W goes on with its last slope."""
        snippets = np.asarray(snippets, np.float64)
        if self.cumulative is None:
            return snippets
        last = len(self.cumulative) - 1
        beyond = np.maximum(snippets + 1 - last, 0) * (self.cumulative[-1] - self.cumulative[-2])
        return np.interp(snippets + 1, np.arange(last + 1), self.cumulative) + beyond - 1

    def snippets(self, rows: np.ndarray) -> np.ndarray:
        share = np.asarray(rows, np.float64) / self.num_rows
        if self.cumulative is not None:
            share = np.interp(share, self.cumulative / self.cumulative[-1], np.linspace(0, 1, len(self.cumulative)))
        return share * self.num_snippets
