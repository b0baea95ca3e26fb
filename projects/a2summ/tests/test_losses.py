"""The losses against plain loops written from their equations, in float64."""

import math

import pytest
import torch
from a2summ.losses import (
    KeyTokens,
    SummaryLoss,
    classification_loss,
    contrast,
    dilate,
    inter_sample_loss,
    intra_sample_loss,
    run_loss,
    run_targets,
)
from a2summ.model import Scores
from a2summ.samples import collate
from a2summ_made import make_model, make_sample

SPANS = [(0, 3), (2, 5), (7, 9)]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_classification_loss_is_the_closed_form():
    logits, labels = random(3, 7), (random(3, 7, seed=1) > 0).double()
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]])
    terms = []
    for b, t in mask.nonzero().tolist():
        p = 1 / (1 + math.exp(-logits[b, t]))
        q = p if labels[b, t] else 1 - p
        terms.append(0.5 * (1 - q) ** 2 * -math.log(q))
    assert classification_loss(logits, labels, mask).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)
    # and the release's two columns: alpha is .25 for the right one and .75 for the other
    p = torch.stack([1 - logits.sigmoid(), logits.sigmoid()], -1)
    hot = torch.nn.functional.one_hot(labels.long(), 2).double()
    p_t = p * hot + (1 - p) * (1 - hot)
    alpha = 0.25 * hot + 0.75 * (1 - hot)
    two_columns = (-alpha * (1 - p_t) ** 2 * p_t.log())[mask].mean()
    torch.testing.assert_close(classification_loss(logits, labels, mask), two_columns)
    assert classification_loss(logits, labels, torch.zeros_like(mask)) == 0
    assert torch.isfinite(classification_loss(1e4 * logits, labels, mask))


def test_run_targets_are_counted_one_by_one():
    labels = torch.tensor([[1, 1, 1, 0, 1, 0, 0, 1, 1.0], [0, 0, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.float64)
    offsets, centerness = run_targets(labels)
    assert offsets[0].tolist() == [[0, 2], [1, 1], [2, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 1], [1, 0]]
    assert centerness[0] == pytest.approx([0, 1, 0, 0, 0, 0, 0, 0, 0])
    assert not offsets[1].any()
    assert run_targets(torch.zeros(2, 0))[0].shape == (2, 0, 2)


def test_the_run_loss_is_a_loop_over_positives():
    labels = torch.tensor([[1, 1, 1, 0, 1, 0.0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.float64)
    scores = Scores(labels, labels, labels, random(3, 6, 2).exp(), random(3, 6, seed=2).sigmoid())
    offsets, centerness = run_targets(labels)
    total = 0.0
    for b in range(3):
        ious, entropies = [], []
        for t in range(6):
            if not labels[b, t]:
                continue
            (left, right), (l_true, r_true) = scores.offsets[b, t].tolist(), offsets[b, t].tolist()
            inside = min(left, l_true) + min(right, r_true)
            if l_true + r_true > 0:
                ious.append(-math.log(inside / (left + right + l_true + r_true - inside) + 1e-8))
            p, c = scores.centerness[b, t].item(), centerness[b, t].item()
            entropies.append(-(c * math.log(p) + (1 - c) * math.log(1 - p)))
        total += sum(ious) / max(len(ious), 1) + sum(entropies) / max(len(entropies), 1)
    assert run_loss(scores, labels).item() == pytest.approx(total / 3, rel=1e-9)


def test_the_inter_sample_loss_at_its_corners():
    scale = torch.tensor(14.3, dtype=torch.float64)
    one = random(1, 8)
    assert inter_sample_loss(one, random(1, 8, seed=1), scale).item() == pytest.approx(0)
    copies = inter_sample_loss(one.expand(5, -1), one.expand(5, -1), scale)
    assert copies.item() == pytest.approx(math.log(5))
    video, text = random(4, 8), random(4, 8, seed=1)
    cosines = [[torch.cosine_similarity(v, s, dim=0).item() for s in text] for v in video]
    loss = 0.0
    for i in range(4):
        loss -= 14.3 * cosines[i][i] - math.log(sum(math.exp(14.3 * cosines[i][j]) for j in range(4)))
        loss -= 14.3 * cosines[i][i] - math.log(sum(math.exp(14.3 * cosines[j][i]) for j in range(4)))
    assert inter_sample_loss(video, text, scale).item() == pytest.approx(loss / 8)


def test_hard_negatives_are_those_of_a_plain_loop():
    labels = (random(3, 40, seed=3) > 1.3).double()
    mask = torch.arange(40) < torch.tensor([[40], [25], [9]])
    labels = labels * mask
    scores = Scores(random(3, 40), random(3, 40, 4, seed=1), random(3, 4))
    found = KeyTokens.of(scores, labels, mask, 8)
    for b, n in enumerate([40, 25, 9]):
        keys = [t for t in range(n) if labels[b, t]]
        allowed = [t for t in range(n) if all(abs(t - key) > 4 for key in keys)]
        hardest = sorted(allowed, key=lambda t: -scores.logits[b, t].item())[: max(1, n // 8)]
        assert torch.equal(found.negatives[b], scores.embeddings[b, hardest])
        if keys:
            torch.testing.assert_close(found.means[b], scores.embeddings[b, keys].mean(0))
        else:
            assert found.means[b] is None
    assert dilate(torch.eye(20)[10][None] > 0).nonzero()[:, 1].tolist() == list(range(6, 15))


def test_a_contrast_is_the_cross_entropy_of_cosines():
    query, positive, negatives = random(6), random(6, seed=1), random(3, 6, seed=2)
    cosines = [torch.cosine_similarity(query, key, dim=0).item() for key in (positive, *negatives)]
    wanted = -math.log(math.exp(5 * cosines[0]) / sum(math.exp(5 * value) for value in cosines))
    assert contrast(query, positive, negatives, torch.tensor(5.0)).item() == pytest.approx(wanted)
    assert contrast(query, positive, negatives[:0], torch.tensor(5.0)).item() == pytest.approx(0)


def test_the_intra_loss_asks_each_modality_against_its_own_negatives():
    means = [random(4), None, random(4, seed=5)]
    video = KeyTokens(means, [random(2, 4, seed=1), random(2, 4), random(0, 4)])
    text = KeyTokens([random(4, seed=2), random(4), None], [random(3, 4, seed=3)] * 3)
    scales = torch.tensor(3.0), torch.tensor(4.0)
    first = contrast(means[0], text.means[0], video.negatives[0], scales[0])
    first = (first + contrast(text.means[0], means[0], text.negatives[0], scales[1])) / 2
    torch.testing.assert_close(intra_sample_loss(video, text, *scales), first)


@pytest.mark.parametrize("head", ["anchor_free", "logit"])
@pytest.mark.parametrize("case", ["no key", "all keys", "one frame", "no text", "plain"])
def test_the_whole_loss_and_its_gradient_are_finite(head, case):
    fill = {"no key": torch.zeros, "all keys": torch.ones}.get(case)
    frames, spans = (1, [(0, 1)]) if case == "one frame" else (12, [] if case == "no text" else SPANS)
    labels = (
        {} if fill is None else {"frame_labels": fill(frames).double(), "sentence_labels": fill(len(spans)).double()}
    )
    samples = [make_sample("a", frames, spans, **labels), make_sample("b", frames, spans, seed=1, **labels)]
    model, loss = make_model(2, head=head).train(), SummaryLoss(0.1, 3.0, 16).double()
    batch = collate(samples)
    parts = loss(model(batch), batch)
    parts["loss"].backward()
    assert torch.isfinite(parts["loss"])
    for parameter in (*model.parameters(), *loss.parameters()):
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("head", ["anchor_free", "logit"])
def test_gradients_are_those_of_finite_differences(head):
    batch = collate([make_sample("a", 12, SPANS), make_sample("b", 7, [(1, 3)], seed=1)])
    model, loss = make_model(1, dim=8, head=head), SummaryLoss(0.1, 3.0, 4).double()

    def total(frames, sentences, scale):
        batch.frames, batch.sentences = frames, sentences
        parts = torch.func.functional_call(loss, {"intra_scale_video": scale}, (model(batch), batch))
        return parts["loss"]

    inputs = (batch.frames, batch.sentences, loss.intra_scale_video.data)
    assert torch.autograd.gradcheck(total, [value.clone().requires_grad_() for value in inputs])


def test_the_intra_scale_starts_where_the_release_or_clip_starts_it():
    keys = {"frame_labels": (torch.arange(30) < 2).double(), "sentence_labels": (torch.arange(15) < 1).double()}
    batch = collate([make_sample("a", 30, [(2 * j, 2 * j + 2) for j in range(15)], **keys)])
    outputs = make_model(1)(batch)
    values = {}
    for exp in (True, False):
        loss = SummaryLoss(0.0, 1.0, 4, intra_scale_exp=exp).double()
        values[exp] = loss(outputs, batch)["loss_intra"].item()
        keys = [
            KeyTokens.of(scores, labels, mask, 4)
            for scores, labels, mask in (
                (outputs.video, batch.frame_labels, batch.frame_mask),
                (outputs.text, batch.sentence_labels, batch.sentence_mask),
            )
        ]
        scale = torch.tensor(1 / 0.07 if exp else math.log(1 / 0.07), dtype=torch.float64)
        assert values[exp] == pytest.approx(intra_sample_loss(*keys, scale, scale).item(), rel=1e-6)
    assert values[True] != values[False]


def test_a_sample_without_frame_targets_learns_from_its_text_alone():
    batch = collate([make_sample("a", 12, None, num_sentences=4, frame_labels=None)])
    outputs = make_model(1, use_mask=False, use_segments=False)(batch)
    parts = SummaryLoss(0.0, 0.001, 8).double()(outputs, batch)
    assert set(parts) == {"loss", "loss_text"}
