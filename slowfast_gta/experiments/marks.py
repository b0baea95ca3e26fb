"""What each test video counts for a metric: what a bootstrap over videos draws from, as text that a kept record holds.

Legend: V videos, in the order of their ids.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from slowfast_gta.engine.evaluation.metrics import both_ways, hits, pair_choices
from slowfast_gta.errors import DataError
from slowfast_gta.plain_arrays import load_npz

VIDEOS = "videos"  # a digest of the ids: two runs can be paired where it is the same
_QUARTER = 25.0  # percent; what one video counts is a whole number of these
_NOT_COUNTED = "-"


def load_marks(folder: Path) -> dict[str, str]:
    """{metric: V digits, quarters of what is right, "-" where a video does not count; VIDEOS: digest of the ids}.

    From the scores.npz of a run; nothing where there is none, or where it has several outputs.
    """
    try:
        return _marks_of(load_npz(folder / "scores.npz"))
    except (DataError, ValueError, LookupError, TypeError, ArithmeticError):
        return {}


def _marks_of(marks: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Raises what NumPy raises of arrays that are not those of a test."""
    if not {"video_id", "scores", "label"} <= set(marks) or marks["label"].ndim != 1:
        return {}
    order = np.argsort(marks["video_id"])
    scores, labels = marks["scores"][order], marks["label"][order]
    values = {"top1": hits(scores, labels, 1).astype(float)}
    pairs = [(int(a), int(b)) for a, b in marks.get("reversed_pairs", np.empty((0, 2)))]
    if pairs:
        values["pairs.choice"] = pair_choices(scores, labels, pairs)
        if "backwards_scores" in marks:
            values["order.both_ways"] = both_ways(scores, marks["backwards_scores"][order], labels, pairs)
    ids = "\n".join(map(str, marks["video_id"][order]))
    return {VIDEOS: hashlib.sha256(ids.encode()).hexdigest()[:16]} | {
        metric: "".join(_NOT_COUNTED if np.isnan(mark) else f"{round(4 * mark)}" for mark in value)
        for metric, value in values.items()
    }


def values_of(marks: Mapping[str, str], metric: str) -> np.ndarray | None:
    """(V,) percent, NaN where a video does not count; None where it is not known of each video."""
    if metric not in marks:
        return None
    return np.array([np.nan if mark == _NOT_COUNTED else _QUARTER * int(mark) for mark in marks[metric]])
