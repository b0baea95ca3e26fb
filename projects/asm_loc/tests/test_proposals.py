"""From scores to segments: upsampling, runs, contrast, suppression, and times that come back (property 7)."""

import numpy as np
import pytest
from asm_loc.proposals import (
    VideoScores,
    contrast,
    make_proposals,
    predicted_classes,
    runs,
    suppress,
    sweep_runs,
    upsample,
)
from asm_loc.sampling import sample
from asm_loc.settings import Options, ProposalSettings, Sweep, thumos14
from asm_loc.timeline import Timeline

BOTH = pytest.mark.parametrize("released", [False, True])
TAU = 0.64


@BOTH
def test_upsample_against_a_loop(released):
    signal = np.random.default_rng(0).standard_normal((7, 2))
    fine = upsample(signal, 20, centred=not released)
    assert fine.shape == (140, 2)
    for i in range(140):
        at = i / 20 if released else min(max((i + 0.5) / 20 - 0.5, 0), 6)
        low = min(int(at), 5)
        expected = signal[low] + (at - low) * (signal[low + 1] - signal[low])  # released: the last 19 extrapolate
        np.testing.assert_allclose(fine[i], expected, atol=1e-14)


def test_runs():
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]], bool)
    (row,), first, last = runs(mask)
    assert list(zip(row, first, last, strict=True)) == [(0, 0, 1), (0, 3, 3), (2, 1, 3)]


def naive_contrast(signal, first, last, flank):
    inner = signal[first : last + 1].mean()
    length = last - first + 1
    low, high = max(0, int(first - flank * length)), min(len(signal) - 1, int(last + flank * length))
    outer = [*signal[low:first], *signal[last + 1 : high + 1]]
    return inner - (np.mean(outer) if outer else 0.0)


def test_contrast_against_a_loop():
    rng = np.random.default_rng(1)
    signal = rng.random(60)
    first = rng.integers(0, 50, 40)
    last = np.minimum(first + rng.integers(1, 30, 40), 59)
    first[0], last[0] = 0, 59  # no flank is left: minus 0
    cumulative = np.concatenate([[0], np.cumsum(signal)])
    expected = [naive_contrast(signal, a, b, 0.2) for a, b in zip(first, last, strict=True)]
    np.testing.assert_allclose(contrast(cumulative, first, last, 0.2), expected, atol=1e-13)


@pytest.mark.parametrize(
    "sweep",
    [
        Sweep("cas", (0.15, 0.2)),
        Sweep("attention", (0.3, 0.5, 0.7)),
        Sweep("cas", (0.1, 0.3), 0.7, 0.3, 0.15),
        Sweep("attention", (0.2, 0.4), 0.7, 0.3, 0.15, 0.25),
    ],
)
def test_sweep_against_a_loop(sweep):
    rng = np.random.default_rng(2)
    smooth = np.ones(9) / 9
    cas = np.stack([np.convolve(rng.random(80), smooth, "same") for _ in range(3)])
    attention, video = np.convolve(rng.random(80), smooth, "same"), rng.random(3)
    expected = []
    for k in range(3):
        for threshold in sweep.thresholds:
            by_cas = sweep.signal == "cas"
            c = np.where(cas[k] < threshold, 0, cas[k]) if by_cas else cas[k]
            a = attention if by_cas else np.where(attention < threshold, 0, attention)
            above = (cas[k] if by_cas else attention) >= threshold
            i = 0
            while i < 80:
                j = i
                while j < 80 and above[j]:
                    j += 1
                if j - i >= 2:
                    mixed = sweep.cas_weight * c + sweep.attention_weight * a
                    value = naive_contrast(mixed, i, j - 1, sweep.flank) + sweep.video_score_weight * video[k]
                    expected.append((k, i, j - 1, value))
                i = max(j, i + 1)
    found = list(zip(*sweep_runs(cas, attention, video, sweep), strict=True))
    assert [f[:3] for f in found] == [e[:3] for e in expected]
    assert len(found) > 5
    np.testing.assert_allclose([f[3] for f in found], [e[3] for e in expected], atol=1e-13)


def naive_nms(segments, threshold, extra):
    """Indices kept, best first."""
    order = sorted(range(len(segments)), key=lambda i: -segments[i][2])
    kept = []
    while order:
        i = order.pop(0)
        kept.append(i)
        left = []
        for j in order:
            overlap = max(0.0, min(segments[i][1], segments[j][1]) - max(segments[i][0], segments[j][0]) + extra)
            lengths = [segments[n][1] - segments[n][0] + extra for n in (i, j)]
            if overlap / (sum(lengths) - overlap) < threshold:
                left.append(j)
        order = left
    return kept


@pytest.mark.parametrize("extra", [0.0, 1.0])
def test_suppression_against_a_loop(extra):
    rng = np.random.default_rng(4)
    start = rng.uniform(0, 40, 80)
    end, score = start + rng.uniform(0.2, 8, 80), rng.integers(0, 30, 80) / 10 - 1  # ties and negative scores
    kept = suppress(start, end, score, 0.45, extra)
    assert kept.tolist() == naive_nms(list(zip(start, end, score, strict=True)), 0.45, extra)
    assert 0 < len(kept) < 80


def test_one_second_merges_touching_short_actions():
    start, end, score = np.array([0.0, 0.5]), np.array([0.5, 1.0]), np.array([1.0, 0.9])
    assert suppress(start, end, score, 0.45, extra=1.0).tolist() == [0]  # "IoU" 1 / 2
    assert suppress(start, end, score, 0.45, extra=0.0).tolist() == [0, 1]


def test_suppression_of_segments_without_length():
    assert suppress(np.zeros(2), np.zeros(2), np.ones(2), 0.45).tolist() == [0, 1]
    assert suppress(np.zeros(0), np.zeros(0), np.zeros(0), 0.45).tolist() == []


def test_predicted_classes():
    assert predicted_classes(np.array([0.3, 0.2, 0.5]), 0.25).tolist() == [0, 2]
    assert predicted_classes(np.array([0.1, 0.2, 0.25]), 0.25).tolist() == [2]  # not above: the best one


def planted(num_snippets, start, end, weights, options):
    """CAS with a box on the rows that the snippets start .. end - 1 became; what comes back, in seconds."""
    released = options.snippet_time == "as_released"
    box = np.zeros((num_snippets, 1))
    box[start:end] = 1
    sampled = sample(box, 1000, weights, released=released)
    settings = ProposalSettings((Sweep("cas", (0.5,)),), (), upsampling=20)
    scores = VideoScores(sampled.features, sampled.features[:, 0], np.ones(1))
    timeline = Timeline.uniform(num_snippets, TAU)
    found = make_proposals(scores, settings.detection_sweeps, sampled.rows, timeline, settings, options)
    assert len(found) == 1
    return found.start.item(), found.end.item()


@pytest.mark.parametrize("stretched", [False, True])
def test_a_planted_box_comes_back(stretched):
    weights = None
    if stretched:
        weights = np.ones(50)
        weights[15:23] = 3.0
    start, end = planted(50, 17, 21, weights, Options())
    assert abs(start - 17 * TAU) <= TAU / 20 + 1e-12
    assert abs(end - 21 * TAU) <= TAU / 20 + 1e-12


@pytest.mark.parametrize("stretched", [False, True])
def test_as_released_it_is_half_a_snippet_early(stretched):
    weights = None
    if stretched:
        weights = np.ones(50)
        weights[30:34] = 3.0  # elsewhere: where rows are stretched, the released map is off by more
    start, end = planted(50, 17, 21, weights, Options.released())
    assert abs(start - (17 * TAU - TAU / 2)) <= TAU / 20 + 1e-12
    assert abs(end - (21 * TAU - TAU / 2)) <= TAU / 20 + 1e-12


def test_a_box_over_the_whole_video_is_the_whole_video():
    assert planted(50, 0, 50, None, Options()) == (0.0, pytest.approx(50 * TAU))


def test_clipping():
    signal = np.ones((10, 1))
    sampled = sample(signal, 1000)
    settings = ProposalSettings((Sweep("cas", (0.5,)),), (), upsampling=20)
    scores = VideoScores(sampled.features, sampled.features[:, 0], np.ones(1))
    timeline = Timeline(np.arange(11) * TAU + 3.0)
    found = make_proposals(scores, settings.detection_sweeps, sampled.rows, timeline, settings, Options())
    assert (found.start.item(), found.end.item()) == (timeline.start, timeline.end)


def test_irregular_times():
    """Every snippet carries its own time: windows of unequal length."""
    edges = np.array([0.0, 1.0, 1.5, 4.0, 4.25, 6.0, 9.0])
    box = np.array([0, 0, 1, 1, 0, 0.0])[:, None]
    sampled = sample(box, 1000)
    settings = ProposalSettings((Sweep("cas", (0.5,)),), ())
    scores = VideoScores(sampled.features, box[:, 0], np.ones(1))
    found = make_proposals(scores, settings.detection_sweeps, sampled.rows, Timeline(edges), settings, Options())
    assert (found.start.item(), found.end.item()) == pytest.approx((1.5, 4.25))


def test_published_thresholds():
    cas, attention = thumos14().proposals.detection_sweeps
    assert cas.thresholds == (0.15, 0.2)
    assert len(attention.thresholds) == 33
    assert attention.thresholds[-1] == 0.9
    assert len(thumos14().proposals.training_sweeps[0].thresholds) == 21


@pytest.mark.parametrize(("nms_lengths", "num"), [("as_released", 1), ("corrected", 2)])
def test_the_extra_second_is_an_option(nms_lengths, num):
    """Two actions of 0.3 s, a gap of 0.1 s between them: the released suppression keeps one."""
    timeline = Timeline.uniform(20, 0.1)
    signal = np.zeros(20)
    signal[4:7], signal[8:11] = 0.9, 0.8
    sampled = sample(signal[:, None], 1000)
    settings = ProposalSettings((Sweep("cas", (0.5,)),), ())
    scores = VideoScores(signal[:, None], signal, np.ones(1))
    options = Options(nms_lengths=nms_lengths)
    found = make_proposals(scores, settings.detection_sweeps, sampled.rows, timeline, settings, options)
    assert len(found) == num
