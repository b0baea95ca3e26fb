"""Change points, knapsack and runs, against enumeration and other people's solvers."""

import itertools

import numpy as np
import pytest
from a2summ.shots.boxes import scores_from_runs, suppress
from a2summ.shots.choose import Timeline, choose_shots, on_original_frames, shot_values, summary_frames
from a2summ.shots.knapsack import knapsack
from a2summ.shots.kts import segment, segment_in_pieces, shots_of
from scipy.optimize import Bounds, LinearConstraint, milp


def scatter_of(features, cuts):
    """The sum of squared distances to the mean of each shot, from the definition."""
    x = features / np.linalg.norm(features, axis=1, keepdims=True)
    return sum(((x[a:b] - x[a:b].mean(0)) ** 2).sum() for a, b in shots_of(cuts, len(x)))


def objective(features, cuts, penalty=1.0):
    n, m = len(features), len(cuts)
    return scatter_of(features, cuts) / n + (penalty * m / (2 * n) * (np.log(n / m) + 1) if m else 0.0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("min_length", [1, 2, 3])
def test_kts_is_the_best_of_all_partitions(seed, min_length):
    generator = np.random.default_rng(seed)
    n = 4 + seed
    features = generator.standard_normal((n, 3)) * 0.3 + generator.standard_normal((2, 3))[np.arange(n) % 5 // 3]
    penalty = generator.uniform(0.1, 1)
    partitions = [
        cuts
        for number in range(n)
        for cuts in itertools.combinations(range(1, n), number)
        if all(b - a >= min_length for a, b in shots_of(np.array(cuts), n)) or not cuts
    ]
    best = min(objective(features, cuts, penalty) for cuts in partitions)
    found = segment(features, penalty, min_length)
    assert tuple(found) in partitions
    assert objective(features, found, penalty) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(4))
def test_kts_agrees_with_ruptures(seed):
    ruptures = pytest.importorskip("ruptures")
    generator = np.random.default_rng(seed)
    n = 40
    features = np.repeat(generator.standard_normal((8, 16)), 5, axis=0) + 0.2 * generator.standard_normal((n, 16))
    x = features / np.linalg.norm(features, axis=1, keepdims=True)
    detector = ruptures.KernelCPD("linear", min_size=1).fit(x)
    candidates = [()] + [tuple(detector.predict(n_bkps=m)[:-1]) for m in range(1, n - 1)]
    best = min(candidates, key=lambda cuts: objective(features, cuts))
    assert tuple(segment(features)) == best


def planted(seed, num_shots=8, dim=64):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(8, 25, num_shots)
    means = generator.standard_normal((num_shots, dim))
    features = np.repeat(means, lengths, axis=0)
    return features + 0.1 * generator.standard_normal(features.shape), np.cumsum(lengths)[:-1]


@pytest.mark.parametrize("seed", range(30))
def test_kts_finds_planted_change_points(seed):
    features, cuts = planted(seed)
    assert segment(features, min_length=4).tolist() == cuts.tolist()


def test_kts_at_its_corners():
    assert not len(segment(np.ones((50, 4))))
    assert not len(segment(np.zeros((50, 4)))), "a black video"
    assert not len(segment(np.ones((1, 4))))
    noise = np.random.default_rng(0).standard_normal((30, 200))
    assert len(segment(noise, penalty=0.01)) == 29, "independent noise is cut everywhere"
    limited = segment(noise, penalty=0.01, min_length=4, max_cuts=5)
    assert len(limited) <= 5
    assert (np.diff([0, *limited, 30]) >= 4).all()


@pytest.mark.parametrize("seed", range(5))
def test_pieces_find_the_same_change_points(seed):
    features, cuts = planted(seed, num_shots=30)
    assert segment_in_pieces(features, rate=2, piece_sec=600, sec_per_cut=4).tolist() == cuts.tolist()
    assert segment_in_pieces(features, rate=2, piece_sec=60, sec_per_cut=4).tolist() == cuts.tolist()


def test_a_border_of_pieces_is_no_cut_in_an_unchanging_video():
    assert not len(segment_in_pieces(np.ones((500, 4)), rate=2, piece_sec=50))


def worth(values, weights, chosen):
    return sum(values[i] for i in chosen), sum(weights[i] for i in chosen)


@pytest.mark.parametrize("seed", range(60))
def test_the_knapsack_is_the_best_of_all_subsets(seed):
    generator = np.random.default_rng(seed)
    number = int(generator.integers(1, 12))
    values, weights = generator.integers(0, 20, number), generator.integers(1, 12, number)
    capacity = int(generator.integers(0, 40))
    subsets = itertools.chain.from_iterable(itertools.combinations(range(number), k) for k in range(number + 1))
    best = max(worth(values, weights, subset)[0] for subset in subsets if worth(values, weights, subset)[1] <= capacity)
    chosen = knapsack(values, weights, capacity)
    value, weight = worth(values, weights, chosen)
    assert (value, weight <= capacity) == (best, True)
    assert chosen == sorted(set(chosen))
    assert all(values[i] > 0 for i in chosen)


@pytest.mark.parametrize("seed", range(5))
def test_the_knapsack_agrees_with_integer_programming(seed):
    generator = np.random.default_rng(seed)
    values, weights = generator.integers(0, 1000, 60), generator.integers(20, 300, 60)
    capacity = int(0.15 * weights.sum())
    found = milp(
        -values.astype(float),
        constraints=LinearConstraint(weights[None], ub=capacity),
        bounds=Bounds(0, 1),
        integrality=1,
    )
    assert worth(values, weights, knapsack(values, weights, capacity))[0] == round(-found.fun)


def test_ties_of_the_knapsack_take_the_earlier_shot():
    assert knapsack([5, 5, 5], [4, 4, 4], 8) == [0, 1]
    assert knapsack([0, 0], [1, 1], 5) == []
    assert knapsack([3], [1], -1) == []
    assert knapsack([], [], 5) == []


def test_scores_hold_until_the_next_pick():
    timeline = Timeline(10, np.array([0, 4, 8]), np.array([[0, 5], [5, 10]]))
    assert on_original_frames(np.array([1.0, 2, 3]), timeline).tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert shot_values(np.array([1.0, 2, 3]), timeline).tolist() == [1200, 2400]
    assert choose_shots(np.array([1.0, 2, 3]), timeline, 0.5) == [1]
    assert summary_frames([1], timeline).nonzero()[0].tolist() == [5, 6, 7, 8, 9]
    assert not summary_frames([], timeline).any()


def test_suppression_is_the_greedy_loop():
    generator = np.random.default_rng(0)
    low = generator.integers(0, 30, 40)
    boxes = np.stack([low, low + generator.integers(0, 12, 40)], 1)
    scores = generator.uniform(size=40)
    kept = []
    for index in sorted(range(40), key=lambda i: -scores[i]):
        (a, b) = boxes[index]
        if a >= b:
            continue
        ious = []
        for other in kept:
            c, d = boxes[other]
            ious.append(max(0, min(b, d) - max(a, c)) / (max(b, d) - min(a, c)))
        if all(iou < 0.4 for iou in ious):
            kept.append(index)
    assert suppress(scores, boxes, 0.4) == kept


def test_frame_scores_of_runs():
    scores = np.array([0.1, 0.2, 0.4, 0.1, 0.0])
    offsets = np.array([[0, 0], [1, 1], [1, 1], [0, 0], [0, 0]], float)
    # boxes [0,1) [0,3) [1,4) [3,4) [4,5); the best is [1,4), IoU with [0,3) is 2/4, with [3,4) 1/3, with [0,1) 0
    assert scores_from_runs(scores, offsets) == pytest.approx([0.25, 1, 1, 1, 0])
    assert scores_from_runs(np.zeros(3), np.zeros((3, 2))).tolist() == [0, 0, 0]
