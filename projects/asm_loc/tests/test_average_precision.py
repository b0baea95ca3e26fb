"""ActivityNet's mAP against brute force: AP as the integral over recall of the best precision at it or beyond."""

import numpy as np
import pytest
from asm_loc.average_precision import ACTIVITYNET_TIOU, THUMOS_TIOU, mean_average_precision, recall, tiou
from asm_loc.segments import Segments

from slowfast_gta.errors import ConfigError


def iou(a, b):
    overlap = max(min(a[1], b[1]) - max(a[0], b[0]), 0.0)
    union = (a[1] - a[0]) + (b[1] - b[0]) - overlap
    return overlap / union if union > 0 else 0.0


def brute_force(truth, predictions, threshold):
    """{class: AP}, one prediction at a time."""
    result = {}
    for label in sorted({int(c) for s in truth.values() for c in s.label}):
        instances = [(v, s.start[i], s.end[i]) for v, s in truth.items() for i in range(len(s)) if s.label[i] == label]
        guesses = [
            (s.score[i], v, s.start[i], s.end[i])
            for v, s in predictions.items()
            for i in range(len(s))
            if s.label[i] == label
        ]
        guesses.sort(key=lambda g: -g[0])  # stable
        taken, hits = set(), []
        for _, video, start, end in guesses:
            best, best_iou = None, -1.0
            for k, (v, a, b) in enumerate(instances):
                value = iou((start, end), (a, b))
                if v == video and k not in taken and value >= threshold and value > best_iou:
                    best, best_iou = k, value
            hits.append(best is not None)
            if best is not None:
                taken.add(best)
        points = []  # (recall, precision) after each prediction
        for n in range(1, len(hits) + 1):
            points.append((sum(hits[:n]) / len(instances), sum(hits[:n]) / n))
        area, levels = 0.0, [k / len(instances) for k in range(1, len(instances) + 1)]
        for level in levels:  # the integrand is constant between two levels
            area += max((p for r, p in points if r >= level - 1e-12), default=0.0) / len(instances)
        result[label] = area
    return result


def random_case(seed):
    rng = np.random.default_rng(seed)
    truth, predictions = {}, {}
    for v in range(rng.integers(1, 6)):
        n, m = rng.integers(0, 6), rng.integers(0, 15)
        # A coarse grid: equal segments, tIoU exactly at a threshold, zero lengths and tied scores all occur.
        start, length = rng.integers(0, 12, n), rng.integers(0, 6, n)
        truth[f"v{v}"] = Segments(rng.integers(0, 4, n), start, start + length, np.zeros(n))
        start, length = rng.integers(0, 12, m), rng.integers(0, 6, m)
        score = rng.integers(-4, 5, m) / 4
        predictions[f"v{v}"] = Segments(rng.integers(0, 5, m), start, start + length, score)
    predictions["elsewhere"] = Segments([0], [1.0], [2.0], [0.5])
    if rng.random() < 0.2:
        predictions = {}
    return truth, predictions


@pytest.mark.parametrize("seed", range(200))
def test_agrees_with_brute_force(seed):
    truth, predictions = random_case(seed)
    thresholds = (0.1, 0.3, 0.5, 0.7, 1.0)
    result = mean_average_precision(truth, predictions, thresholds)
    for column, threshold in enumerate(thresholds):
        expected = brute_force(truth, predictions, threshold)
        assert result.classes.tolist() == sorted(expected)
        np.testing.assert_allclose(result.ap[:, column], list(expected.values()), rtol=0, atol=1e-14)


def one(truth, predictions, threshold=0.5):
    return mean_average_precision({"v": Segments.from_rows(truth)}, {"v": Segments.from_rows(predictions)}, [threshold])


def test_second_prediction_of_the_same_instance_is_false():
    assert one([[0, 0, 10, 1]], [[0, 0, 10, 0.9], [0, 0, 10, 0.8]]).ap.item() == 1.0
    assert one([[0, 0, 10, 1], [0, 20, 30, 1]], [[0, 0, 10, 0.9], [0, 0, 10, 0.8], [0, 20, 30, 0.7]]).ap.item() == (
        pytest.approx((1 + 2 / 3) / 2)
    )


def test_second_best_instance_may_match():
    # Both predictions overlap instance [0, 10] best; the second one falls back on [2, 12] (VOC would call it false).
    result = one([[0, 0, 10, 1], [0, 2, 12, 1]], [[0, 0, 10, 0.9], [0, 0, 10, 0.8]])
    assert result.ap.item() == 1.0


def test_equal_scores_keep_the_order_given():
    right, wrong = [0, 0, 10, 0.5], [0, 50, 60, 0.5]
    assert one([[0, 0, 10, 1]], [right, wrong]).ap.item() == 1.0
    assert one([[0, 0, 10, 1]], [wrong, right]).ap.item() == 0.5


def test_a_tiou_of_exactly_the_threshold_matches():
    assert one([[0, 0, 10, 1]], [[0, 0, 3, 1]], THUMOS_TIOU[2]).ap.item() == 1.0
    assert one([[0, 0, 10, 1]], [[0, 0, 3, 1]], float(np.arange(0.1, 1, 0.1)[2])).ap.item() == 0.0


def test_classes_without_instances_and_without_predictions():
    result = one([[0, 0, 10, 1], [2, 0, 10, 1]], [[0, 0, 10, 1], [1, 0, 10, 1]])
    assert result.classes.tolist() == [0, 2]
    assert result.ap[:, 0].tolist() == [1.0, 0.0]
    assert (result.num_ignored, result.num_predictions.tolist()) == (1, [1, 0])


def test_negative_scores_and_segments_without_length():
    assert one([[0, 3, 3, 1]], [[0, 3, 3, -0.5]]).ap.item() == 0.0
    assert one([[0, 0, 10, 1]], [[0, 0, 10, -0.5]]).ap.item() == 1.0


def test_no_truth_at_all():
    result = mean_average_precision({}, {"v": Segments([0], [0.0], [1.0], [1.0])})
    assert np.isnan(result.per_threshold).all()
    assert result.num_ignored == 1


def test_ranges():
    assert THUMOS_TIOU == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert ACTIVITYNET_TIOU == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    result = one([[0, 0, 10, 1]], [[0, 0, 6, 1]], 0.5)
    assert result.mean() == 1.0
    table = mean_average_precision(
        {"v": Segments([0], [0], [10], [1])}, {"v": Segments([0], [0], [6], [1])}, THUMOS_TIOU
    )
    assert table.mean(0.0, 0.75) == pytest.approx(6 / 7)


@pytest.mark.parametrize("thresholds", [(), (0.0,), (1.5,)])
def test_thresholds_out_of_range(thresholds):
    with pytest.raises(ConfigError):
        mean_average_precision({}, {}, thresholds)


def test_tiou_and_recall():
    assert tiou(np.array([0.0]), np.array([4.0]), np.array([2.0]), np.array([6.0])).item() == pytest.approx(1 / 3)
    truth = {"v": Segments([0, 0, 1], [0, 20, 40], [10, 30, 50], [1, 1, 1])}
    guess = {"v": Segments([0, 0], [0, 40], [10, 50], [1, 1])}
    assert recall(truth, guess, 0.5, {"v": np.array([True, True, True])}) == pytest.approx(1 / 3)
    assert recall(truth, guess, 0.5, {"v": np.array([True, False, False])}) == 1.0
    assert np.isnan(recall(truth, guess, 0.5, {"v": np.zeros(3, bool)}))
