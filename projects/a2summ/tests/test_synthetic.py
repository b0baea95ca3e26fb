"""The synthetic task: its labels follow from features and alignment, and the experiment runs."""

import numpy as np
import torch
from a2summ import synthetic
from a2summ.samples import alignment_of


def test_labels_need_both_modalities_and_the_alignment():
    directions = synthetic.Directions.of(3)
    samples = synthetic.make_samples(20, 3, 0, directions)
    for sample in samples:
        bright = (sample.frames.numpy() @ directions.frame) > 0
        important = (sample.sentences.numpy() @ directions.sentence) > 0
        aligned = alignment_of(sample.spans, len(sample.frames)).numpy()
        assert (aligned.sum(1) <= 1).all(), "spans follow each other"
        assert np.array_equal(sample.frame_labels.numpy() > 0, bright & (aligned & important).any(1))
        assert np.array_equal(sample.sentence_labels.numpy() > 0, important & (aligned & bright[:, None]).any(0))
    again = synthetic.make_samples(20, 3, 0, directions)
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(samples, again, strict=True))
    other = synthetic.make_samples(20, 3, 1, directions)
    assert not any(a.frames.shape == b.frames.shape and torch.equal(a.frames, b.frames) for a in samples for b in other)


def test_precision_at_the_true_number():
    labels = np.array([0, 1, 1, 0, 1.0])
    assert synthetic.precision_at_k(np.array([0.9, 0.8, 0.1, 0.2, 0.7]), labels) == 2 / 3
    assert synthetic.precision_at_k(np.zeros(5), np.zeros(5)) is None


def test_the_experiment_in_small():
    rows = synthetic.run_experiment([0], ["mask only"], (False, True), epochs=1, num_train=16)
    assert [row["variant"] for row in rows] == ["chance", "mask only", "mask only"]
    assert all(0 <= row["frames"] <= 1 for row in rows)
    assert len(synthetic.table(rows).splitlines()) == 5
