"""Labelled, scored segments of one video, as columns."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Segments:
    """N segments: `label` (N,) int64, `start`, `end` (N,) seconds, `score` (N,) (may be negative)."""

    label: np.ndarray
    start: np.ndarray
    end: np.ndarray
    score: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", np.asarray(self.label, np.int64).reshape(-1))
        for name in ("start", "end", "score"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64).reshape(-1))
        if len({len(self.label), len(self.start), len(self.end), len(self.score)}) != 1:
            raise ValueError("the columns of Segments differ in length")

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: np.ndarray) -> "Segments":
        """The segments at an index array or where a mask (N,) is true."""
        return Segments(self.label[index], self.start[index], self.end[index], self.score[index])

    @classmethod
    def empty(cls) -> "Segments":
        return cls([], [], [], [])

    @classmethod
    def concat(cls, parts: Collection["Segments"]) -> "Segments":
        """All segments of `parts`, in order."""
        parts = [cls.empty(), *parts]
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("label", "start", "end", "score")))

    def of_labels(self, labels: Collection[int]) -> "Segments":
        """Those whose label is one of `labels`."""
        return self[np.isin(self.label, np.asarray(sorted(labels), np.int64))]

    def classes(self) -> np.ndarray:
        """The labels that occur, each once, in rising order."""
        return np.unique(self.label)

    def best_first(self) -> "Segments":
        """By falling score; equal scores keep their order."""
        return self[np.argsort(-self.score, kind="stable")]

    def clipped(self, start: float, end: float) -> "Segments":
        """Cut to [start, end] (seconds); what lies outside altogether, or has no length left, is dropped."""
        cut = Segments(self.label, np.clip(self.start, start, end), np.clip(self.end, start, end), self.score)
        return cut[cut.end > cut.start]

    def to_rows(self) -> list[list[float]]:
        """[[label, start, end, score], ...] for a JSON file; floats round-trip exactly."""
        columns = (self.label.tolist(), self.start.tolist(), self.end.tolist(), self.score.tolist())
        return [list(row) for row in zip(*columns, strict=True)]

    @classmethod
    def from_rows(cls, rows: list[list[float]]) -> "Segments":
        """The inverse of `to_rows`."""
        return cls(*zip(*rows, strict=True)) if rows else cls.empty()
