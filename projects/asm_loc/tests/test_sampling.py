"""Rows of a video: sampling weights, stretching, the maps between snippets and rows, in both options."""

import numpy as np
import pytest
from asm_loc.row_map import CellMap, ReleasedMap
from asm_loc.sampling import interpolate_rows, kept_for_sampling, sample, segment_weights, subsample_positions
from asm_loc.segments import Segments
from asm_loc.settings import SegmentSettings

BOTH = pytest.mark.parametrize("released", [False, True])
SETTINGS = SegmentSettings()  # delta .5, alpha .7, gamma 6: L = 12


def ramp(num):
    """Features whose value is the index of their snippet."""
    return np.arange(num, dtype=np.float64)[:, None] * np.ones((1, 3))


@BOTH
def test_weights_of_one_are_the_input_bit_for_bit(released):
    rows = np.random.default_rng(0).standard_normal((17, 5)).astype(np.float32)
    sampled = sample(rows, 100, np.ones(17), released=released)
    assert np.array_equal(sampled.features, rows)
    assert sampled.rows.num_rows == 17
    assert np.array_equal(sample(rows, 100, None, released=released).features, rows)


@BOTH
def test_segments_longer_than_the_limit_change_nothing(released):
    weights = segment_weights(np.array([2.0, 20.0]), np.array([15.0, 40.0]), 60, SETTINGS, released)
    assert np.array_equal(weights, np.ones(60))


@BOTH
def test_weights_against_a_loop(released):
    rng = np.random.default_rng(3)
    start = rng.uniform(0, 50, 20)
    end = start + rng.uniform(0.3, 9, 20)
    weights = segment_weights(start, end, 55, SETTINGS, released)
    expected = np.ones(55)
    for s, e in zip(start, end, strict=True):
        low, high = s - 0.5 * (e - s), e + 0.5 * (e - s)
        if released:
            first, last = max(round(low), 0), min(round(high), 54)
            counted = first < last
        else:
            overlapped = [i for i in range(55) if low < i + 1 and high > i]
            first, last = overlapped[0], overlapped[-1]
            counted = True
        n = last - first + 1
        if counted and n <= 12:
            for i in range(first, last + 1):
                expected[i] = max(expected[i], min(12 / n, 12))
    i = 0
    while i < 55:
        j = i
        while j < 55 and expected[j] > 1:
            j += 1
        if j > i:
            expected[i:j] *= round(sum(expected[i:j])) / sum(expected[i:j])
        i = max(j, i + 1)
    np.testing.assert_allclose(weights, expected, rtol=1e-14)
    assert (weights > 1).any()
    assert abs(weights.sum() - round(weights.sum())) < 1e-9


def test_a_run_at_the_very_start_is_scaled_too():
    weights = segment_weights(np.array([0.2]), np.array([0.9]), 10, SegmentSettings(widen=0.0, stretch=2.5), False)
    assert weights.tolist() == [2.0] + [1.0] * 9  # 2.5, rounded half to even


def test_released_formula_of_dynamic_sampling():
    """Sampled row m - 1 lies at W^-1(m), m = 1..M, on snippets numbered from 1; snippet j sits at W[j + 1] - 1."""
    weights = np.ones(30)
    weights[10:13] = 4.0
    cumulative = np.concatenate([[0], np.cumsum(weights)])
    sampled = sample(ramp(30), 1000, weights, released=True)
    assert len(sampled.features) == 39 == round(cumulative[-1])
    for m in range(1, 40):
        position = next(
            t + (m - cumulative[t]) / weights[t] for t in range(30) if cumulative[t] <= m <= cumulative[t + 1]
        )
        assert sampled.features[m - 1, 0] == pytest.approx(max(position - 1, 0), abs=1e-12)
    for j in range(30):
        assert sampled.features[round(cumulative[j + 1] - 1), 0] == pytest.approx(j, abs=1e-12)
        first, _ = sampled.rows.rows(np.array([float(j)]), np.array([float(j + 1)]))
        assert first.item() == round(cumulative[j + 1] - 1)


def test_corrected_stretching_is_symmetric():
    weights = np.ones(30)
    weights[10:13] = 3.0
    sampled = sample(ramp(30), 1000, weights)
    values = sampled.features[:, 0]
    # The middle of the three rows of each stretched snippet is that snippet; the reversed video gives reversed rows.
    assert values[[11, 14, 17]].tolist() == pytest.approx([10, 11, 12])
    mirrored = sample(ramp(30)[::-1].copy(), 1000, weights[::-1].copy()).features[::-1, 0]
    np.testing.assert_allclose(mirrored, values, atol=1e-12)


@BOTH
def test_row_map_there_and_back(released):
    rng = np.random.default_rng(5)
    weights = np.where(rng.random(40) < 0.3, 3.0, 1.0)
    row_map = sample(ramp(40), 1000, weights, released=released).rows
    cumulative = np.concatenate([[0], np.cumsum(weights)])
    inside = rng.uniform(0, 40, 50)
    stretched = np.interp(inside, np.arange(41), cumulative)  # W
    np.testing.assert_allclose(row_map.snippets(stretched * row_map.num_rows / cumulative[-1]), inside, atol=1e-12)


def test_corrected_rows_are_those_that_overlap():
    rng = np.random.default_rng(6)
    for trial in range(50):
        weights = np.where(rng.random(60) < 0.2, rng.integers(2, 5), 1).astype(float) if trial % 2 else None
        generator = np.random.default_rng(trial) if trial % 3 else None
        sampled = sample(ramp(60), int(rng.integers(20, 150)), weights, generator)
        edges = sampled.rows.edges
        assert (np.diff(edges) > 0).all()
        assert edges[[0, -1]].tolist() == [0, 60]
        start = rng.uniform(0, 50)
        end = start + rng.uniform(3, 10)
        first, last = sampled.rows.rows(np.array([start]), np.array([end]))
        at = np.interp([start, end], edges, np.arange(len(edges)))
        expected = [r for r in range(len(edges) - 1) if at[0] < r + 1 and at[1] > r]
        assert [first.item(), last.item()] == [expected[0], expected[-1]]


def test_released_rows():
    """round(s T' / T), both included, half to even, widened after the map; beyond the features: none."""
    row_map = ReleasedMap(num_rows=100, num_snippets=50)
    first, last = row_map.rows(np.array([3.25, 49.9, 60.0]), np.array([6.0, 70.0, 70.0]), widen=0.0)
    assert first.tolist() == [6, 0, 0]  # 6.5 rounds to 6; 99.8 rounds to 100, past the last row
    assert last.tolist() == [12, -1, -1]
    first, last = row_map.rows(np.array([3.25]), np.array([6.0]), widen=0.5)
    assert (first.item(), last.item()) == (round(6.5 - 2.75), round(12 + 2.75))


def test_corrected_rows_outside_and_shorter_than_a_row():
    row_map = CellMap(np.arange(11, dtype=float))
    first, last = row_map.rows(np.array([10.0, -5.0, 4.1, 9.9]), np.array([12.0, -1.0, 4.2, 20.0]))
    assert first.tolist() == [0, 0, 4, 9]
    assert last.tolist() == [-1, -1, 4, 9]


def test_random_positions():
    rng = np.random.default_rng(0)
    assert subsample_positions(3, 5, rng).tolist() == [0, 0.5, 1, 1.5, 2]
    assert subsample_positions(5, 5, rng).tolist() == [0, 1, 2, 3, 4]
    bounds = np.rint(np.linspace(0, 99, 11)).astype(int)
    seen = set()
    for _ in range(300):
        drawn = subsample_positions(100, 10, rng)
        assert ((bounds[:-1] <= drawn) & (drawn < bounds[1:])).all()
        seen |= set(drawn.tolist())
    assert seen == set(range(99))  # the last row is never drawn


def test_even_positions():
    assert subsample_positions(4, 5, None).tolist() == [0, 1, 2, 3]
    assert subsample_positions(10, 4, None).tolist() == [0, 2, 5, 7]


@BOTH
@pytest.mark.parametrize("generator", [None, 0])
def test_one_snippet_alone(released, generator):
    generator = None if generator is None else np.random.default_rng(generator)
    sampled = sample(ramp(1) + 7, 2, np.ones(1), generator, released)
    assert sampled.features[:, 0].tolist() == [7, 7]
    assert sampled.rows.snippets(np.array([0, 2])).tolist() == [0, 1]
    first, last = sampled.rows.rows(np.array([0.0]), np.array([1.0]))
    assert (first.item(), last.item()) in {(0, 1), (0, 1)}


def test_interpolate_rows_is_exact_at_whole_positions():
    rows = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    assert np.array_equal(interpolate_rows(rows, np.array([0, 3, 5, 9, -2])), rows[[0, 3, 5, 5, 0]])
    np.testing.assert_allclose(interpolate_rows(rows, np.array([2.25]))[0], 0.75 * rows[2] + 0.25 * rows[3], rtol=1e-6)


def test_kept_for_sampling():
    segments = Segments([0, 0, 0, 1, 2, 2], [0, 1, 2, 3, 4, 5], [9] * 6, [0.2, 0.5, 0.3, 0.9, -1.0, -2.0])
    kept = kept_for_sampling(segments, 0.7)
    # Class 0: 0.5, then 0.8 > 0.7. Class 1: alone, never kept. Class 2: the largest sum is -1, and -1, -3 <= -0.7.
    assert kept.score.tolist() == [0.5, -1.0, -2.0]
    assert kept.label.tolist() == [0, 2, 2]
    assert len(kept_for_sampling(Segments.empty(), 0.7)) == 0
