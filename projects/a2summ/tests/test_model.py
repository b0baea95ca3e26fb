"""The network: who sees whom, padding, sizes, and the layout of the authors' checkpoints. All in float64."""

import dataclasses

import numpy as np
import pytest
import torch
from a2summ.mask import attention_mask
from a2summ.model import A2Summ
from a2summ.released import load_released, model_of
from a2summ.samples import Batch, alignment_of, collate
from a2summ_made import DIM_VIDEO, make_model, make_sample
from a2summ_stand_ins import released_state
from torch import nn

from slowfast_gta.errors import DataError, WeightsError

SPANS = [(0, 3), (2, 5), (7, 9)]  # overlapping, and a gap: frames 5, 6 and 9 are in none
HEADS = pytest.mark.parametrize("head", ["anchor_free", "logit"])


def influence(model: A2Summ, batch: Batch) -> dict[str, torch.Tensor]:
    """Which input token changes which output: |d out / d in| > 0, bool (out, in), for the four pairs and CLSV/text."""
    frames, sentences = batch.frames.clone().requires_grad_(), batch.sentences.clone().requires_grad_()
    outputs = model(dataclasses.replace(batch, frames=frames, sentences=sentences))
    weights = torch.linspace(0.3, 1.7, outputs.video.embeddings.shape[-1], dtype=torch.float64).square()

    def rows(values, to):  # (N, C) weighted, since the plain sum of a LayerNorm is constant
        grads = [torch.autograd.grad(row @ weights, to, retain_graph=True, allow_unused=True)[0] for row in values]
        return torch.stack([grad[0].abs().sum(-1) > 1e-14 for grad in grads])

    return {
        "frame by sentence": rows(outputs.video.embeddings[0], sentences),
        "sentence by frame": rows(outputs.text.embeddings[0], frames),
        "frame by frame": rows(outputs.video.embeddings[0], frames),
        "cls video by sentence": rows(outputs.video.cls[:1], sentences),
        "cls text by frame": rows(outputs.text.cls[:1], frames),
    }


@HEADS
def test_a_frame_and_a_sentence_see_each_other_exactly_where_they_are_aligned(head):
    sample = make_sample("a", 10, SPANS)
    aligned = alignment_of(sample.spans, 10)
    found = influence(make_model(1, head=head), collate([sample]))
    assert torch.equal(found["frame by sentence"], aligned)
    assert torch.equal(found["sentence by frame"], aligned.T)
    assert found["frame by frame"].all()
    assert not found["cls video by sentence"].any()
    assert not found["cls text by frame"].any()
    two = influence(make_model(2, head=head), collate([sample]))
    assert two["cls video by sentence"].all()
    assert two["frame by sentence"].all(), "from the second layer on everything reaches everything"


def test_the_mask_is_the_rule_token_by_token():
    frame_mask = torch.tensor([[True, True, False]])
    sentence_mask = torch.tensor([[True, False]])
    alignment = torch.tensor([[[False, True], [True, False], [True, True]]])
    sees = attention_mask(frame_mask, sentence_mask, alignment)[0]
    kinds = ["V", 0, 1, 2, "T", "a", "b"]
    valid = {"V": True, 0: True, 1: True, 2: False, "T": True, "a": True, "b": False}
    pair = {(1, "a"), ("a", 1)}  # (0, b), (2, a), (2, b) are padding
    for i, query in enumerate(kinds):
        for j, key in enumerate(kinds):
            same = (i < 4) == (j < 4)
            assert bool(sees[i, j]) == ((same and valid[key]) or (query, key) in pair), (query, key)
    assert attention_mask(frame_mask, sentence_mask, None)[0].equal(
        torch.tensor([[valid[key] for key in kinds]]).expand(7, -1)
    )


@HEADS
@pytest.mark.parametrize("num_layers", [1, 3])
def test_without_alignment_no_modality_changes_with_the_other(head, num_layers):
    sample = make_sample("a", 8, [(3, 3), (5, 5)])
    found = influence(make_model(num_layers, head=head), collate([sample]))
    assert not found["frame by sentence"].any()
    assert not found["sentence by frame"].any()


def test_a_network_without_times_lets_all_see_all():
    sample = make_sample("a", 8, None, num_sentences=3)
    found = influence(make_model(1, use_mask=False, use_segments=False), collate([sample]))
    assert all(value.all() for value in found.values())


@HEADS
@pytest.mark.parametrize("aligned", [True, False])
def test_results_do_not_depend_on_companions_order_or_padding(head, aligned):
    spans = [SPANS, [(0, 2)], [], [(0, 20), (3, 4), (4, 5), (5, 6), (6, 20)]]
    sizes = [10, 2, 1, 20]
    samples = [
        make_sample(str(i), size, of if aligned else None, seed=i, num_sentences=len(of))
        for i, (size, of) in enumerate(zip(sizes, spans, strict=True))
    ]
    model = make_model(2, head=head, use_mask=aligned, use_segments=aligned)
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        together = model(collate([samples[index] for index in order]))
        for row, index in enumerate(order):
            alone = model(collate([samples[index]]))
            for side, length in (("video", sizes[index]), ("text", len(spans[index]))):
                for name in ("logits", "embeddings", "offsets", "centerness"):
                    one, many = getattr(getattr(alone, side), name), getattr(getattr(together, side), name)
                    if one is not None:
                        torch.testing.assert_close(many[row, :length], one[0], rtol=1e-10, atol=1e-12)
                torch.testing.assert_close(getattr(together, side).cls[row], getattr(alone, side).cls[0])


@pytest.mark.parametrize("shift", [False, True])
def test_without_layers_a_frame_touches_exactly_the_segment_rows_of_its_sentences(shift):
    model = make_model(0, head="logit", segment_shift=shift)
    sample = make_sample("a", 10, SPANS)
    outputs = model(collate([sample]))
    weights = torch.linspace(0.3, 1.7, 16, dtype=torch.float64)
    for frame, row in enumerate(alignment_of(sample.spans, 10)):
        (grad,) = torch.autograd.grad(outputs.video.embeddings[0, frame] @ weights, model.segments, retain_graph=True)
        assert torch.equal(grad.abs().sum(1)[:3] > 0, row)
    for sentence in range(3):
        value = outputs.text.embeddings[0, sentence] @ weights
        (grad,) = torch.autograd.grad(value, model.segments, retain_graph=True)
        assert (grad.abs().sum(1) > 0).nonzero().flatten().tolist() == [sentence + shift]


@pytest.mark.parametrize(
    ("total", "one_layer", "options"),
    [
        (2_515_464, 330_240, {"dim_video": 1024, "dim_text": 768, "head": "anchor_free"}),
        (1_834_242, 330_240, {"dim_video": 512, "dim_text": 768, "num_layers": 6, "max_segments": 200}),
        (4_731_394, 1_315_840, {"dim_video": 2048, "dim_text": 768, "dim": 256, "use_segments": False}),
    ],
)
def test_it_has_as_many_parameters_as_the_release(total, one_layer, options):
    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    shared = A2Summ(**options, shared_layers=True)
    assert count(shared) == total
    assert count(shared.layers[0]) == one_layer
    unshared = A2Summ(**options)
    assert count(unshared) == total + (unshared.num_layers - 1) * one_layer


def test_too_long_or_timeless_samples_are_refused():
    model = make_model(1)
    with pytest.raises(DataError, match="64 frames"):
        model(collate([make_sample("long", 64, SPANS)]))
    model(collate([make_sample("just fits", 63, SPANS)]))
    with pytest.raises(DataError, match="timeless"):
        model(collate([make_sample("timeless", 5, None, num_sentences=2)]))
    with pytest.raises(DataError, match="few: 9 sentences"):
        make_model(1, max_segments=8)(collate([make_sample("few", 9, [(j, j + 1) for j in range(9)])]))


def test_samples_that_do_not_fit_together_are_refused():
    good = make_sample("good", 4, [(0, 2)])
    for name, change in {
        "no frame": {"frames": torch.zeros(0, DIM_VIDEO)},
        "NaN": {"frames": torch.full((4, DIM_VIDEO), torch.nan)},
        "labels": {"frame_labels": torch.zeros(5)},
        "reversed": {"spans": np.array([[3, 2]])},
        "negative": {"spans": np.array([[-1, 2]])},
        "too many spans": {"spans": np.array([[0, 1], [1, 2]])},
    }.items():
        with pytest.raises(DataError, match=name):
            dataclasses.replace(good, id=name, **change)
    wide = dataclasses.replace(good, frames=torch.zeros(4, 9))
    with pytest.raises(DataError, match="good"):
        collate([good, wide])


def test_a_batch_splits_into_its_samples():
    batch = collate([make_sample(str(i), 3 + i, SPANS, seed=i) for i in range(3)])
    parts = batch.split(2)
    assert [part.ids for part in parts] == [["0", "1"], ["2"]]
    assert torch.equal(torch.cat([part.frames for part in parts]), batch.frames)
    assert [part.num_samples for part in batch.split(5)] == [1, 1, 1]


# The release's names of what a layer and a head hold; written out here, not taken from the code under test.
@pytest.mark.parametrize(("anchor_free", "aligned"), [(True, True), (False, True), (False, False)])
def test_a_released_checkpoint_loads(tmp_path, anchor_free, aligned):
    state = released_state(anchor_free=anchor_free, aligned=aligned)
    content = {"epoch": 3, "model_state_dict": state, "max_val_fscore": np.float64(0.5), "max_train_fscore": -1}
    torch.save(content, tmp_path / "model_best_split0.pt")
    model = load_released(tmp_path / "model_best_split0.pt")
    assert len(model.layers) == 1
    assert model.num_layers == 2
    assert model.segment_shift == aligned
    assert model.use_mask == aligned
    assert torch.equal(model.layers[0].attention.out.weight, state["multiway_list.1.attn_fusion.m.weight"])
    assert torch.equal(model.head_text.hidden[0].bias, state["fc_text.0.bias"])
    own = sum(value.numel() for name, value in state.items() if "multiway_list.1" not in name)
    assert sum(parameter.numel() for parameter in model.parameters()) == own


def test_a_checkpoint_of_other_code_is_refused(tmp_path):
    state = released_state()
    state["multiway_list.1.norm1_fused.bias"] = state["multiway_list.1.norm1_fused.bias"] + 1
    with pytest.raises(WeightsError, match="layer 1"):
        model_of(state, "file")
    with pytest.raises(WeightsError, match="surprise"):
        model_of({**released_state(), "surprise": torch.zeros(1)}, "file")
    incomplete = released_state()
    del incomplete["fc_video_ctr.bias"]
    with pytest.raises(WeightsError, match="centerness"):
        model_of(incomplete, "file")
    (tmp_path / "text.pt").write_text("nothing of the kind")
    for name in ("text.pt", "absent.pt"):
        with pytest.raises(WeightsError, match=name):
            load_released(tmp_path / name)
    torch.save({"epoch": 1}, tmp_path / "empty.pt")
    with pytest.raises(WeightsError, match="model_state_dict"):
        load_released(tmp_path / "empty.pt")


@pytest.mark.parametrize("shift", [False, True])
@torch.no_grad()
def test_tokens_are_the_sums_of_their_rows(shift):
    """Token by token, without layers: frames of two spans get both rows, of none nothing; as released, sentences and
    CLST are one row further."""
    spans = [(0, 3), (2, 5), (7, 7)]
    model, sample = make_model(0, segment_shift=shift), make_sample("a", 7, spans)
    outputs = model(collate([sample]))
    for frame in range(7):
        token = model.project_video(sample.frames[frame]) + model.position_video[frame + 1] + model.type_video
        for sentence, (start, stop) in enumerate(spans):
            token = token + model.segments[sentence] * (start <= frame < stop)
        assert torch.allclose(outputs.video.embeddings[0, frame], model.head_video.norm(token), rtol=0, atol=1e-12)
    for sentence in range(3):
        token = model.project_text(sample.sentences[sentence]) + model.position_text[sentence + 1] + model.type_text
        token = token + model.segments[sentence + shift]
        assert torch.allclose(outputs.text.embeddings[0, sentence], model.head_text.norm(token), rtol=0, atol=1e-12)
    cls = model.cls_text + model.position_text[0] + model.type_text + model.segments[0] * shift
    assert torch.allclose(outputs.text.cls[0], model.head_text.norm(cls), rtol=0, atol=1e-12)
