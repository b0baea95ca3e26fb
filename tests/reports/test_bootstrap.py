"""Intervals: against draws written as a loop, and what must be true of them."""

import numpy as np
import pytest

from slowfast_gta.engine.evaluation.metrics import hits, pair_accuracy, pair_choices, topk_accuracy
from slowfast_gta.reports.bootstrap import bootstrap_intervals
from slowfast_gta.reports.history import OutputScores

PAIRS = [(0, 1), (2, 3)]


def answers(num_videos: int = 50, num_classes: int = 6, seed: int = 0) -> OutputScores:
    draw = np.random.default_rng(seed)
    labels = draw.integers(num_classes, size=num_videos)
    scores = draw.random((num_videos, num_classes)) + 0.5 * np.eye(num_classes)[labels]
    return OutputScores("", [str(label) for label in range(num_classes)], scores, labels)


def test_the_figures_are_those_of_a_test():
    output = answers()
    found = bootstrap_intervals(output, PAIRS)
    for name, k in (("top1", 1), ("top5", 5)):
        assert found[name][0] == pytest.approx(topk_accuracy(output.scores, output.labels, k))
        assert hits(output.scores, output.labels, k).mean() * 100 == pytest.approx(found[name][0])
    choice = pair_accuracy(output.scores, output.labels, PAIRS)["choice"]
    assert (
        found["pairs"][0]
        == pytest.approx(choice)
        == 100 * np.nanmean(pair_choices(output.scores, output.labels, PAIRS))
    )
    assert all(low <= value <= high for value, low, high in found.values())


def test_against_a_loop():
    output, num_draws = answers(), 200
    generator, drawn = np.random.default_rng(0), []
    for _ in range(num_draws):
        chosen = generator.integers(len(output.labels), size=len(output.labels))
        scores, labels = output.scores[chosen], output.labels[chosen]
        classes = [np.mean(scores[labels == c].argmax(1) == c) for c in np.unique(labels)]
        pairs = pair_accuracy(scores, labels, PAIRS)["choice"]
        drawn.append([topk_accuracy(scores, labels, 1), 100 * np.mean(classes), pairs])
    ends = np.quantile(drawn, (0.025, 0.975), axis=0)
    found = bootstrap_intervals(output, PAIRS, num_draws)
    for at, name in enumerate(("top1", "mean_class_accuracy", "pairs")):
        assert found[name][1:] == pytest.approx(tuple(ends[:, at]))


def test_the_interval_is_that_of_a_mean_of_hits():
    """Of many videos, the normal approximation: 1.96 sqrt(p (1 - p) / V)."""
    output = answers(4000)
    value, low, high = bootstrap_intervals(output)["top1"]
    expected = 196 * np.sqrt(value / 100 * (1 - value / 100) / 4000)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)


def test_ties_count_against_and_no_pair_gives_no_figure():
    flat = OutputScores("", ["a", "b"], np.ones((3, 2)), np.array([0, 1, 0]))
    found = bootstrap_intervals(flat)
    assert found["top1"] == (0, 0, 0) and "pairs" not in found
    assert pair_choices(flat.scores, flat.labels, [(0, 1)]).tolist() == [0.5, 0.5, 0.5]
    assert bootstrap_intervals(OutputScores("", ["a"], np.ones((0, 1)), np.zeros(0, np.int64))) == {}
