"""From scores to what a summary shows: whole shots within a budget of seconds, key frames, key sentences.

N sampled frame, n original frame, S shot, M sentence.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from a2summ.frames import RATE, VideoTimes
from a2summ.shots.knapsack import knapsack
from a2summ.shots.kts import segment_in_pieces, shots_of
from slowfast_gta.errors import ConfigError, DataError

_BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%|s)\s*")


@dataclass(frozen=True)
class Plan:
    """Which of the shots are shown; all indices are of original frames, [first, stop)."""

    shots: list[tuple[int, int]]
    values: list[float]  # the mean score of each shot
    chosen: list[tuple[int, int]]  # of `shots`, or a part of the best one where no whole shot fits
    budget_sec: float
    used_sec: float
    is_part: bool  # whether no whole shot fitted


def budget_seconds(text: str, duration_sec: float) -> float:
    """ "15%" of the duration, or "90s". Raises ConfigError."""
    match = _BUDGET.fullmatch(text)
    if match is None or float(match[1]) <= 0 or (match[2] == "%" and float(match[1]) > 100):
        raise ConfigError(f"--budget is {text}; it must be a share such as 15% (up to 100%), or seconds such as 90s.")
    return min(duration_sec, float(match[1]) / 100 * duration_sec if match[2] == "%" else float(match[1]))


def find_shots(features: np.ndarray, indices: np.ndarray, num_frames: int) -> list[tuple[int, int]]:
    """Features (N, C) of the sampled frames `indices` -> shots of original frames that cover the video, by KTS."""
    cuts = indices[segment_in_pieces(features, RATE)]
    return [tuple(map(int, shot)) for shot in shots_of(cuts, num_frames)]


def divide_shots(
    shots: list[tuple[int, int]], times: VideoTimes, budget_sec: float, sentence_starts_sec: np.ndarray
) -> list[tuple[int, int]]:
    """Divide shots that last longer than a quarter of the budget (at least 2 s, at most 10 s), so that whole shots can
    fill it: a camera that never cuts is one shot. Into equal parts, whose borders move to where a sentence begins when
    one does within a quarter of a part."""
    longest = min(max(budget_sec / 4, 2.0), 10.0)
    bounds, out = times.bounds_sec, []
    for first, stop in shots:
        number = int((bounds[stop] - bounds[first]) // longest)
        part_sec = (bounds[stop] - bounds[first]) / max(number, 1)
        borders = [_moved(bounds[first] + i * part_sec, sentence_starts_sec, part_sec / 4) for i in range(1, number)]
        cuts = np.searchsorted(times.times_sec, np.array(borders) - 1e-6).tolist()
        inside = sorted({cut for cut in cuts if first < cut < stop})
        out.extend(pairwise([first, *inside, stop]))
    return out


def _moved(time_sec: float, to_sec: np.ndarray, most_sec: float) -> float:
    """The nearest of `to_sec` where it is within `most_sec`, else the time itself."""
    if len(to_sec) == 0:
        return time_sec
    nearest = float(to_sec[np.abs(to_sec - time_sec).argmin()])
    return nearest if abs(nearest - time_sec) <= most_sec else time_sec


def plan_summary(
    scores: np.ndarray, indices: np.ndarray, shots: list[tuple[int, int]], times: VideoTimes, budget_sec: float
) -> Plan:
    """Scores (N,) of the sampled frames `indices` -> the shots of the greatest mean score times length that fit.

    A shot is worth its mean score times its seconds. The knapsack is exact in units of at least 0.01 s, lengths
    rounded up; a budget of the whole video takes every shot. Where no whole shot fits, the best stretch of the
    budget's length in the whole video is shown.
    """
    bounds = times.bounds_sec
    upsampled = _held(scores, indices, len(times.times_sec))
    lengths = np.array([bounds[stop] - bounds[first] for first, stop in shots])
    values = np.array([float(upsampled[first:stop].mean()) for first, stop in shots])
    if budget_sec >= times.duration_sec - 1e-9:  # of lengths that are rounded up, one would be left out
        chosen = list(shots)
    else:
        unit = max(0.01, budget_sec / 20_000)
        costs = np.ceil(lengths / unit - 1e-6).astype(np.int64)
        chosen = [shots[i] for i in knapsack(values * lengths, costs, int(budget_sec / unit + 1e-6))]
    is_part = not chosen
    if is_part:
        chosen = [_best_stretch(upsampled, bounds, budget_sec, times.path)]
    used = sum(bounds[stop] - bounds[first] for first, stop in chosen)
    return Plan(shots, values.tolist(), chosen, float(budget_sec), float(used), is_part)


def _held(scores: np.ndarray, indices: np.ndarray, num_frames: int) -> np.ndarray:
    """(N,) -> (n,): each score holds until the next sampled frame."""
    return np.asarray(scores)[np.searchsorted(indices, np.arange(num_frames), side="right") - 1]


def _best_stretch(scores: np.ndarray, bounds: np.ndarray, budget_sec: float, path: str) -> tuple[int, int]:
    """The frames [first, stop) within `budget_sec` with the highest mean score, the earliest of equals."""
    stops = np.searchsorted(bounds, bounds[:-1] + budget_sec + 1e-6, side="right") - 1
    full = (stops > np.arange(len(scores))) & (bounds[:-1] + budget_sec <= bounds[-1] + 1e-6)
    if not full.any():
        raise DataError(f"{path}: a budget of {budget_sec:.3f} s is shorter than one frame. Give a larger --budget.")
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    means = np.where(full, (sums[stops] - sums[:-1]) / np.maximum(stops - np.arange(len(scores)), 1), -np.inf)
    first = int(np.argmax(np.round(means, 9)))
    return first, int(stops[first])


def key_frames(plan: Plan, scores: np.ndarray, indices: np.ndarray) -> list[int]:
    """One original frame for each chosen shot: its best sampled frame, or its middle where it has none."""
    out = []
    for first, stop in plan.chosen:
        inside = np.flatnonzero((indices >= first) & (indices < stop))
        out.append(int(indices[inside[np.argmax(scores[inside])]]) if len(inside) else (first + stop) // 2)
    return out


def key_sentences(scores: np.ndarray, number: int | None) -> list[int]:
    """The `number` best sentences, in their order; None: 15 % of them, one at least."""
    wanted = max(1, round(0.15 * len(scores))) if number is None else number
    return sorted(np.argsort(-np.asarray(scores), kind="stable")[:wanted].tolist())


def summary_time(time_sec: float, plan: Plan, times: VideoTimes) -> float | None:
    """When a moment of the original is shown in the summary; None where it is not."""
    before = 0.0
    for first, stop in plan.chosen:
        start, end = times.bounds_sec[first], times.bounds_sec[stop]
        if start <= time_sec < end:
            return before + time_sec - start
        before += end - start
    return None
