"""Pseudo labels (E9), rows to attend to, and the losses (E5, E8)."""

import math

import numpy as np
import pytest
import torch
from asm_loc.losses import cross_entropy, instance_loss, losses, video_losses
from asm_loc.network import Outputs
from asm_loc.row_map import CellMap
from asm_loc.segments import Segments
from asm_loc.settings import LossSettings, SegmentSettings, thumos14
from asm_loc.targets import attention_spans, outermost, pseudo_labels, sampling_weights
from asm_loc.timeline import Timeline

ROWS, CLASSES = 20, 3
TIMELINE = Timeline.uniform(ROWS, 0.5)  # snippet i: [0.5 i, 0.5 i + 0.5)
CELLS = CellMap(np.arange(ROWS + 1, dtype=float))


def test_pseudo_labels():
    segments = Segments([0, 2, 1], [1.0, 2.0, 20.0], [3.0, 4.0, 30.0], [1, 1, 1])
    target = pseudo_labels(segments, TIMELINE, CELLS, CLASSES)
    assert np.array_equal(target.sum(1), np.ones(ROWS))
    assert target[2].tolist() == target[3].tolist() == [1, 0, 0, 0]
    assert target[4].tolist() == target[5].tolist() == [0.5, 0, 0.5, 0]
    assert target[6].tolist() == [0, 0, 1, 0]
    assert (target[[0, 1, 8, 19], -1] == 1).all()  # the segment of class 1 lies beyond the features
    assert pseudo_labels(Segments.empty(), TIMELINE, CELLS, CLASSES)[:, -1].tolist() == [1.0] * ROWS


def test_outermost_spans():
    segments = Segments(
        [0, 1, 0, 0, 1, 0],
        [2.0, 2.0, 0.0, 3.0, 2.0, 6.0],
        [5.0, 5.0, 1.0, 4.0, 4.5, 8.0],
        [0.1, 0.9, 0.3, 0.4, 0.5, 0.6],
    )
    kept = outermost(segments)
    assert list(zip(kept.start, kept.end, strict=True)) == [(0, 1), (2, 5), (6, 8)]
    assert kept.score.tolist() == [0.3, 0.9, 0.6]  # of equal spans, the best score


def test_attention_spans_are_widened_dropped_and_limited():
    settings = thumos14(segments=SegmentSettings(max_proposals=2))
    segments = Segments([0] * 4, [1.0, 4.0, 30.0, 7.0], [2.0, 5.0, 31.0, 7.5], [0.5, 0.9, 0.8, 0.1])
    spans = attention_spans(segments, TIMELINE, CELLS, settings)
    assert (spans.num_over_limit, spans.num_outside) == (2, 1)  # kept: 4 to 5 s and 30 to 31 s, which is outside
    assert (spans.first.tolist(), spans.last.tolist()) == ([7], [10])  # rows 8, 9 and one more on each side


def test_sampling_weights_can_be_switched_off():
    segments = Segments([0, 0], [1.0, 4.0], [2.0, 5.0], [0.5, 0.9])
    weights = sampling_weights(segments, TIMELINE, thumos14())
    assert weights.max() > 1
    assert sampling_weights(segments, TIMELINE, thumos14(dynamic_sampling=False)) is None


def outputs(seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    soft = draw(2, CLASSES + 1).softmax(1), draw(2, CLASSES + 1).softmax(1)
    rows = draw(2, ROWS, CLASSES + 1).softmax(2)
    return Outputs(*soft, draw(2, ROWS, 2).softmax(2), rows, rows, draw(2, ROWS) - 0.5)


def test_video_losses_against_a_loop():
    out = outputs()
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]], dtype=torch.float64)
    terms = video_losses(out, labels)
    for b in range(2):
        true = [c for c in range(CLASSES) if labels[b, c]]
        assert terms["foreground"][b].item() == pytest.approx(
            -sum(math.log(out.foreground[b, c]) for c in true) / len(true)
        )
        assert terms["background"][b].item() == pytest.approx(-math.log(out.background[b, -1]))
        assert terms["action_in_background"][b].item() == pytest.approx(
            -sum(math.log(out.background[b, c]) for c in true) / len(true)
        )


def test_total_is_the_weighted_sum():
    out, labels = outputs(), torch.tensor([[1.0, 0, 1], [0, 1, 0]], dtype=torch.float64)
    target = torch.full((2, ROWS, CLASSES + 1), 0.25, dtype=torch.float64)
    settings = LossSettings(foreground=5.0)
    terms = losses(out, labels, target, settings)
    assert set(terms) == {"foreground", "background", "action_in_background", "instance", "total"}
    expected = (
        5 * terms["foreground"] + 0.5 * terms["background"] + 0.5 * terms["action_in_background"] + terms["instance"]
    )
    torch.testing.assert_close(terms["total"], expected)
    assert "instance" not in losses(out, labels, None, settings)


def test_instance_loss_against_a_loop():
    out, target = outputs(), outputs(1).cas
    values = instance_loss(out.snippet, target, out.uncertainty, 0.2)
    for b in range(2):
        total = 0.0
        for t in range(ROWS):
            error = -sum(float(target[b, t, c]) * math.log(out.snippet[b, t, c]) for c in range(CLASSES + 1))
            total += math.exp(-out.uncertainty[b, t]) * error + 0.2 * float(out.uncertainty[b, t])
        assert values[b].item() == pytest.approx(total / ROWS)


def test_uncertainty_zero_is_plain_cross_entropy_and_the_minimum_is_at_log_of_ce_over_beta():
    out, target = outputs(), outputs(1).cas
    error = cross_entropy(out.snippet, target)
    zero = torch.zeros(2, ROWS, dtype=torch.float64)
    torch.testing.assert_close(instance_loss(out.snippet, target, zero, 0.2), error.mean(1), rtol=0, atol=1e-15)
    torch.testing.assert_close(instance_loss(out.snippet, target, None, 0.2), error.mean(1), rtol=0, atol=0)
    best = (error / 0.2).log().detach().requires_grad_()
    instance_loss(out.snippet, target, best, 0.2).sum().backward()
    assert best.grad.abs().max() < 1e-15


def test_probability_of_zero_is_finite():
    assert cross_entropy(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])).item() == pytest.approx(-math.log(1e-7))
