"""Kernel temporal segmentation: cut a sequence of features where they change (Potapov et al., ECCV 2014).

The features are L2-normalised, the kernel is linear. J(a, b) is the sum of squared distances of the frames [a, b) to
their mean. c_m, the least sum of J with m cuts, comes by dynamic programming; the number of cuts minimises
c_m / n + penalty * m / (2 n) * (ln(n / m) + 1), n frames. N frame, C channel.
"""

from itertools import pairwise

import numpy as np


def segment(features: np.ndarray, penalty: float = 1.0, min_length: int = 1, max_cuts: int | None = None) -> np.ndarray:
    """(N, C) -> the cuts, ascending: frame c begins a new shot. int64 (m,), m <= max_cuts.

    Every shot has at least `min_length` frames. Takes O(max_cuts N^2) time and O(N^2) memory: cut hours into pieces
    (`segment_in_pieces`). Of equally good cuts the earliest are taken, and of equally good numbers the fewest.
    """
    num_frames = len(features)
    most = num_frames // max(min_length, 1) - 1
    max_cuts = max(0, min(most, num_frames - 1, most if max_cuts is None else max_cuts))
    if max_cuts == 0:
        return np.zeros(0, np.int64)
    costs, begins = _least_costs(_scatter(features), max_cuts, min_length)
    number = np.arange(1, max_cuts + 1)
    penalties = penalty * number / (2 * num_frames) * (np.log(num_frames / number) + 1)
    chosen = int(np.argmin(costs / num_frames + np.concatenate([[0.0], penalties])))
    return _follow(begins, chosen, num_frames)


def _scatter(features: np.ndarray) -> np.ndarray:
    """J: float64 (N + 1, N + 1), J[a, b] of the frames [a, b); 0 where b <= a."""
    x = np.asarray(features, np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    num_frames = len(x)
    squares = np.concatenate([[0.0], np.cumsum((x * x).sum(1))])
    # S[a, b] = | sum of frames [a, b) |^2, from a table of the sums of the kernel over rectangles
    kernel = np.zeros((num_frames + 1, num_frames + 1))
    kernel[1:, 1:] = (x @ x.T).cumsum(0).cumsum(1)
    diagonal = np.diag(kernel)
    inside = diagonal[None, :] + diagonal[:, None] - kernel - kernel.T
    length = np.arange(num_frames + 1)[None, :] - np.arange(num_frames + 1)[:, None]
    scatter = squares[None, :] - squares[:, None] - inside / np.maximum(length, 1)
    return np.where(length > 0, np.maximum(scatter, 0.0), 0.0)


def _least_costs(scatter: np.ndarray, max_cuts: int, min_length: int) -> tuple[np.ndarray, np.ndarray]:
    """c (max_cuts + 1,), and where the last shot begins: int32 (max_cuts + 1, N + 1) for each number and end."""
    num_ends = len(scatter)
    length = np.arange(num_ends)[None, :] - np.arange(num_ends)[:, None]
    allowed = np.where(length >= min_length, scatter, np.inf)  # [begin, end)
    best = allowed[0].copy()
    costs, begins = [best[-1]], np.zeros((max_cuts + 1, num_ends), np.int32)
    for cuts in range(1, max_cuts + 1):
        table = best[:, None] + allowed
        begins[cuts] = table.argmin(0)
        best = table[begins[cuts], np.arange(num_ends)]
        costs.append(best[-1])
    return np.array(costs), begins


def _follow(begins: np.ndarray, num_cuts: int, num_frames: int) -> np.ndarray:
    cuts, end = [], num_frames
    for number in range(num_cuts, 0, -1):
        end = int(begins[number, end])
        cuts.append(end)
    return np.array(cuts[::-1], np.int64)


def segment_in_pieces(
    features: np.ndarray,
    rate: float,
    min_shot_sec: float = 2.0,
    sec_per_cut: float = 5.0,
    piece_sec: float = 300.0,
    penalty: float = 1.0,
) -> np.ndarray:
    """`segment` for a video of any length; `rate` frames per second. -> cuts (m,)

    Each piece has at most one cut per `sec_per_cut` seconds and no shot under `min_shot_sec`. The border of two pieces
    is no cut of the video's own: the shots around it are cut anew without it.
    """
    num_frames = len(features)
    num_pieces = max(1, round(num_frames / max(1.0, piece_sec * rate)))
    borders = np.linspace(0, num_frames, num_pieces + 1).round().astype(int)
    min_length = max(1, round(min_shot_sec * rate))
    cuts: list[int] = []
    for start, stop in pairwise(borders.tolist()):
        most = max(1, int((stop - start) / (sec_per_cut * rate)))
        inner = segment(features[start:stop], penalty, min_length, most) + start
        cuts.extend([start] * (start > 0))
        cuts.extend(inner.tolist())
    for border in borders[1:-1].tolist():
        _settle(cuts, border, features, penalty, min_length)
    return np.array(cuts, np.int64)


def _settle(cuts: list[int], border: int, features: np.ndarray, penalty: float, min_length: int) -> None:
    """Cut the shots around `border` anew, as one sequence, with as many cuts at most as there were.

    Cuts nearer to the border than two of the shortest shots may be where they are only because of it.
    """
    near = [cut for cut in cuts if abs(cut - border) <= 2 * min_length]
    if not near:  # pieces so short that the border before took this one away
        return
    index = cuts.index(near[0])
    start = cuts[index - 1] if index else 0
    after = index + len(near)
    stop = cuts[after] if after < len(cuts) else len(features)
    cuts[index:after] = (segment(features[start:stop], penalty, min_length, len(near)) + start).tolist()


def shots_of(cuts: np.ndarray, num_frames: int) -> np.ndarray:
    """Cuts -> shots, int64 (m + 1, 2): first frame and the one after the last."""
    bounds = np.concatenate([[0], np.asarray(cuts, np.int64), [num_frames]])
    return np.stack([bounds[:-1], bounds[1:]], axis=1)
