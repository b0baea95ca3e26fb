"""From one score a sampled frame to the shots of a summary, on the frames of the original video.

T sampled frame, S shot, n original frames.
"""

from dataclasses import dataclass

import numpy as np

from a2summ.shots.knapsack import knapsack


@dataclass(frozen=True)
class Timeline:
    """How sampled frames, original frames and shots of one video belong together."""

    num_frames: int  # n, of the original video
    picks: np.ndarray  # int64 (T,), the original index of each sampled frame
    shots: np.ndarray  # int64 (S, 2), first original frame and the one after the last
    lengths: np.ndarray | None = None  # int64 (S,), what a shot costs; None: its frames

    @property
    def costs(self) -> np.ndarray:
        return self.shots[:, 1] - self.shots[:, 0] if self.lengths is None else self.lengths


def on_original_frames(scores: np.ndarray, timeline: Timeline) -> np.ndarray:
    """(T,) -> (n,): a score holds from its pick until before the next one; 0 before the first."""
    out = np.zeros(timeline.num_frames)
    stops = np.append(timeline.picks[1:], timeline.num_frames)
    for score, start, stop in zip(scores, timeline.picks, stops, strict=True):
        out[start:stop] = score
    return out


def shot_values(scores: np.ndarray, timeline: Timeline) -> np.ndarray:
    """(T,) -> int64 (S,): int(1000 * mean score over the shot's original frames); 0 for a shot without a frame."""
    upsampled = on_original_frames(scores, timeline)
    means = [upsampled[first:stop].mean() if stop > first else 0.0 for first, stop in timeline.shots]
    return np.array([int(1000 * mean) for mean in means], np.int64)


def choose_shots(scores: np.ndarray, timeline: Timeline, budget: float = 0.15) -> list[int]:
    """The shots of the summary, by the exact knapsack, within round(budget * n) original frames."""
    capacity = round(budget * timeline.num_frames)
    return knapsack(shot_values(scores, timeline), timeline.costs, capacity)


def summary_frames(chosen: list[int], timeline: Timeline) -> np.ndarray:
    """bool (n,): which original frames are in the chosen shots."""
    out = np.zeros(timeline.num_frames, bool)
    for shot in chosen:
        out[slice(*timeline.shots[shot])] = True
    return out
