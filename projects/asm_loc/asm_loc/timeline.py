"""Where the snippets of a video lie in time. No frame rate and no window length is written anywhere in the code."""

from dataclasses import dataclass

import numpy as np

from slowfast_gta.errors import DataError


@dataclass(frozen=True)
class Timeline:
    """`edges` (T + 1,), seconds, increasing: snippet i stands for [edges[i], edges[i + 1])."""

    edges: np.ndarray

    def __post_init__(self) -> None:
        edges = np.asarray(self.edges, np.float64)
        if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
            raise DataError("The times of the snippets must be finite and increase from snippet to snippet.")
        object.__setattr__(self, "edges", edges)

    @classmethod
    def uniform(cls, num_snippets: int, sec_per_snippet: float, start: float = 0.0) -> "Timeline":
        """Windows of equal length, one after another."""
        return cls(start + sec_per_snippet * np.arange(num_snippets + 1, dtype=np.float64))

    @classmethod
    def from_windows(cls, starts: np.ndarray, ends: np.ndarray) -> "Timeline":
        """Windows (T,) that may overlap or leave gaps: a snippet is the times nearest to its window's centre. The first
        and the last reach as far as their windows do."""
        starts, ends = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
        centres = (starts + ends) / 2
        middles = (centres[1:] + centres[:-1]) / 2
        if len(centres) == 1:
            return cls(np.array([starts[0], ends[0]]))
        first, last = 2 * centres[0] - middles[0], 2 * centres[-1] - middles[-1]
        return cls(np.concatenate([[min(first, starts[0])], middles, [max(last, ends[-1])]]))

    @property
    def num_snippets(self) -> int:
        return len(self.edges) - 1

    @property
    def start(self) -> float:
        return float(self.edges[0])

    @property
    def end(self) -> float:
        return float(self.edges[-1])

    def to_seconds(self, snippets: np.ndarray) -> np.ndarray:
        """Snippet coordinates -> seconds; before the first and after the last snippet, their lengths go on."""
        return _linear(snippets, np.arange(len(self.edges), dtype=np.float64), self.edges)

    def to_snippets(self, seconds: np.ndarray) -> np.ndarray:
        """Seconds -> snippet coordinates, the inverse of `to_seconds`."""
        return _linear(seconds, self.edges, np.arange(len(self.edges), dtype=np.float64))


def _linear(values: np.ndarray, known: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Piecewise linear from `known` (increasing) to `images`, extrapolated by the outermost pieces."""
    values = np.asarray(values, np.float64)
    piece = np.clip(np.searchsorted(known, values, side="right") - 1, 0, len(known) - 2)
    share = (values - known[piece]) / (known[piece + 1] - known[piece])
    return images[piece] + share * (images[piece + 1] - images[piece])
