"""Accuracies of tables small enough to count by hand."""

import numpy as np
import pytest

from slowfast_gta.engine.evaluation.metrics import (
    both_ways,
    class_accuracy,
    confusion_matrix,
    joint_topk_accuracy,
    mean_cross_entropy,
    order_accuracy,
    pair_accuracy,
    topk_accuracy,
)

# V = 4 videos, K = 6 classes. The label's rank is 1, 2, 3 and 6.
SCORES = np.array(
    [
        [0.5, 0.1, 0.1, 0.1, 0.1, 0.1],
        [0.4, 0.3, 0.1, 0.1, 0.05, 0.05],
        [0.4, 0.3, 0.2, 0.1, 0.0, 0.0],
        [0.3, 0.25, 0.2, 0.15, 0.08, 0.02],
    ]
)
LABELS = np.array([0, 1, 2, 5])


@pytest.mark.parametrize(("k", "percent"), [(1, 25), (2, 50), (3, 75), (5, 75), (6, 100)])
def test_topk(k, percent):
    assert topk_accuracy(SCORES, LABELS, k) == percent


def test_topk_of_fewer_classes_than_k_is_always_right():
    assert topk_accuracy(np.array([[0.1, 0.9], [0.6, 0.4]]), np.array([0, 1]), 5) == 100


def test_ties_count_against_the_label():
    flat = np.full((3, 6), 1 / 6)
    assert topk_accuracy(flat, np.array([0, 3, 5]), 1) == 0
    assert topk_accuracy(flat, np.array([0, 3, 5]), 5) == 0
    assert topk_accuracy(np.array([[0.4, 0.4, 0.2]]), np.array([0]), 2) == 100


def test_of_no_video_there_is_no_accuracy():
    assert np.isnan(topk_accuracy(np.zeros((0, 3)), np.zeros(0, int), 1))
    assert np.isnan(joint_topk_accuracy([np.zeros((0, 3)), np.zeros((0, 2))], np.zeros((0, 2), int), 1))


def test_a_pair_of_labels_scores_the_product_of_its_parts():
    """Of 3 verbs and 2 nouns; the first video is right in the noun alone, the second in both, the third ties."""
    verbs = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])
    nouns = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    labels = np.array([[1, 0], [0, 0], [0, 0]])
    found = [joint_topk_accuracy([verbs, nouns], labels, k) for k in (1, 2, 6)]
    assert found == pytest.approx([100 / 3, 100, 100])
    third = joint_topk_accuracy([verbs, nouns], np.array([[2, 1], [0, 1], [0, 0]]), 3)
    assert third == pytest.approx(100 / 3), "0.5 x 0.1 comes after 0.45, 0.27 and 0.18"
    verbs, nouns = np.array([[0.6, 0.2, 0.2]]), np.array([[0.4, 0.05, 0.55]])
    found = [joint_topk_accuracy([verbs, nouns], np.array([[1, 0]]), k) for k in (5, 6)]
    assert found == [0, 100], "0.2 x 0.4 is above 0.6 x 0.05, though its sum is not"
    assert joint_topk_accuracy([verbs * np.nan, nouns], np.array([[0, 0]]), 1) == 0


def test_a_score_that_is_no_number_is_not_right():
    assert topk_accuracy(np.full((2, 3), np.nan), np.array([0, 1]), 1) == 0


def test_confusion_and_class_accuracy_with_an_absent_class():
    scores = np.eye(4)[[0, 0, 1, 3, 3, 1]]  # predictions
    labels = np.array([0, 1, 1, 3, 3, 3])
    confusion = confusion_matrix(scores, labels)
    assert confusion.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 2]]
    np.testing.assert_allclose(class_accuracy(confusion), [100, 50, np.nan, 200 / 3])


def test_pairs():
    scores = np.array(
        [
            [0.6, 0.3, 0.1, 0.0],  # 0: right, and right inside its pair (0, 1)
            [0.5, 0.4, 0.1, 0.0],  # 1: the pair is right, the choice is wrong
            [0.2, 0.2, 0.6, 0.0],  # 0: a tie inside the pair, which is not the answer
            [0.1, 0.1, 0.7, 0.1],  # 2: in no pair, does not count
            [0.2, 0.1, 0.6, 0.1],  # 0: right inside its pair, which is not the answer
        ]
    )
    found = pair_accuracy(scores, np.array([0, 1, 0, 2, 0]), [(0, 1)])
    assert found == {"choice": pytest.approx(62.5), "right_pair": pytest.approx(50), "num_videos": 4}


def test_pairs_without_a_video():
    found = pair_accuracy(np.eye(4)[:1], np.array([0]), [(2, 3)])
    assert found["num_videos"] == 0 and np.isnan(found["choice"]) and np.isnan(found["right_pair"])


@pytest.mark.parametrize("act", ["softmax", "sigmoid", "none"])
def test_the_loss_is_that_of_the_softmax_whatever_the_head_answers(act):
    logits = np.random.default_rng(0).normal(size=(4, 6)) * 3
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wanted = np.mean([-np.log(row[label]) for row, label in zip(softmax, LABELS, strict=True)])
    answers = {"softmax": softmax, "sigmoid": 1 / (1 + np.exp(-logits)), "none": logits}[act]
    assert mean_cross_entropy(answers, LABELS, act) == pytest.approx(wanted, abs=1e-12)


def test_large_scores_without_a_softmax_have_their_loss():
    """exp(1000) is none that float64 holds."""
    assert mean_cross_entropy(np.array([[1000.0, 999.0]]), np.array([1]), "none") == pytest.approx(1.3132616875)


def test_a_probability_of_0_costs_what_the_smallest_float_does():
    certain = np.eye(6, dtype=np.float32)[[0, 1, 2, 3]]  # right three times, of the last class never
    smallest = np.finfo(np.float32).smallest_normal
    assert mean_cross_entropy(certain, LABELS) == pytest.approx(-np.log(smallest) / 4)


def test_a_network_that_is_blind_to_order_is_at_exactly_half_both_ways():
    """But for what float32 rounds off, whatever it says of the clips."""
    generator = np.random.default_rng(0)
    forwards = generator.dirichlet(np.ones(6), 101)
    forwards[:5, :2] = 0.3  # a tie
    backwards = forwards + generator.uniform(-4e-6, 4e-6, forwards.shape)
    labels = generator.integers(0, 6, 101)
    found = order_accuracy(forwards, backwards, labels, [(0, 1), (4, 3)])
    assert found["both_ways"] == 50.0 and found["blind"] is True and 0 < found["largest_difference"] <= 4e-6
    assert found["num_videos"] == np.isin(labels, [0, 1, 3, 4]).sum()


def test_what_float32_does_not_round_off_is_no_blindness():
    forwards = np.array([[0.5, 0.3, 0.2]])
    found = order_accuracy(forwards, forwards + np.array([0, 0, 3e-5]), np.array([0]), [(0, 1)])
    assert found["blind"] is False and found["both_ways"] == 50.0
    assert both_ways(forwards, forwards + np.array([-3e-5, 0, 0]), np.array([0]), [(0, 1)]).tolist() == [0.5]
    almost_tied = np.array([[0.4, 0.4 - 2e-5, 0.2]])
    found = both_ways(almost_tied, np.array([[0.4, 0.4, 0.2]]), np.array([0]), [(0, 1)])
    assert found.tolist() == [0.75], "a difference of 2e-5 is one"


def test_order_is_counted_both_ways():
    """Four videos of a pair and one of no pair: right both ways, right forwards only, wrong both ways, a tie there."""
    forwards = np.array([[0.9, 0.1, 0], [0.9, 0.1, 0], [0.2, 0.8, 0], [0.5, 0.5, 0], [0.1, 0.1, 0.8]])
    backwards = np.array([[0.1, 0.9, 0], [0.8, 0.2, 0], [0.7, 0.3, 0], [0.4, 0.6, 0], [0.8, 0.1, 0.1]])
    found = order_accuracy(forwards, backwards, np.array([0, 0, 0, 0, 2]), [(0, 1)])
    assert found["both_ways"] == pytest.approx(100 * (2 + 1 + 0 + 1.5) / 8)
    assert found["num_videos"] == 4 and found["blind"] is False
    assert found["largest_difference"] == pytest.approx(0.8)


def test_a_tie_in_one_direction_counts_half():
    forwards, tied = np.array([[0.7, 0.2, 0.1]]), np.array([[0.4, 0.4, 0.2]])
    assert both_ways(forwards, tied, np.array([0]), [(0, 1)]).tolist() == [0.75]
    assert both_ways(tied, forwards[:, [1, 0, 2]], np.array([0]), [(0, 1)]).tolist() == [0.75]
    assert both_ways(tied, forwards, np.array([0]), [(0, 1)]).tolist() == [0.25]


def test_without_pairs_there_is_no_accuracy_of_order():
    assert "both_ways" not in order_accuracy(np.eye(2), np.eye(2)[::-1], np.array([0, 1]), [])
