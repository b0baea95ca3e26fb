"""Models that watch videos, against the unmodified library. Tiny, random, offline.

B batch, T frames, P tokens of a frame, N queries, L prompt tokens, S = N + L.
"""

import copy
import pickle

import pytest
import torch
from ma_lmm.answering import generate
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.models import Blip2ForVideo, InstructBlipForVideo
from ma_lmm.prompts import PromptError, Prompts
from ma_lmm.tiny import NUM_QUERIES, tiny_model
from transformers import Blip2ForConditionalGeneration, InstructBlipForConditionalGeneration

from slowfast_gta.errors import ConfigError, DataError

LIBRARY = {InstructBlipForVideo: InstructBlipForConditionalGeneration, Blip2ForVideo: Blip2ForConditionalGeneration}
KINDS = [(kind, language) for kind in ("instructblip", "blip2") for language in ("llama", "t5")]
IMAGE, BOS = 4, 1


def model_of(kind: str = "instructblip", language: str = "llama", **rule):
    model = tiny_model(kind, language)
    model.memory_rule = MemoryRule(**{"length": 4, **rule})
    return model


def library_of(model):
    """The library's own class with the same weights."""
    library = LIBRARY[type(model)](model.config).eval().to(model.dtype)
    state = {name: value for name, value in model.state_dict().items() if name != "frame_positions.weight"}
    library.load_state_dict(state)
    return library


def video(num_frames: int, batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, num_frames, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def text(model, batch: int = 2, num_tokens: int = NUM_QUERIES) -> dict:
    """Prompts, another for each member; labels for T5, which needs some."""
    rows = torch.arange(batch)[:, None]
    words = torch.cat([torch.full((batch, 1), BOS), 6 + rows, 20 + rows, torch.full((batch, 1), 9)], dim=1)
    inputs = {"input_ids": torch.cat([torch.full((batch, num_tokens), IMAGE), words], dim=1)}
    if model.reads_prompt:
        inputs["qformer_input_ids"] = words
    if model.config.text_config.model_type == "t5":
        inputs["labels"] = words
    return inputs


def last_states(model, pixel_values, **prompt):
    """The Q-Former's output at the last frame, (B, S, C)."""
    return model.get_image_features(pixel_values, **prompt).qformer_outputs.last_hidden_state


@pytest.mark.parametrize(("kind", "language"), KINDS)
@torch.no_grad()
def test_one_frame_is_an_image_bitwise(kind, language):
    model = model_of(kind, language)
    pixel_values, inputs = video(1), text(model)
    expected = library_of(model)(pixel_values[:, 0], **inputs).logits
    assert torch.equal(model(pixel_values, **inputs).logits, expected)


@pytest.mark.parametrize(("kind", "language"), KINDS)
@torch.no_grad()
def test_images_are_the_librarys_before_between_and_after_videos(kind, language):
    model = model_of(kind, language)
    pixel_values, inputs = video(6), text(model)
    expected = library_of(model)(pixel_values[:, 0], **inputs).logits
    assert torch.equal(model(pixel_values[:, 0], **inputs).logits, expected)

    watcher = model.watch(6, inputs.get("qformer_input_ids"))
    for number in range(6):
        watcher.see(model.encode_frame(pixel_values[:, number]).last_hidden_state)
        assert torch.equal(model(pixel_values[:, 0], **inputs).logits, expected)
    assert torch.equal(
        watcher.visual_tokens(),
        model.get_image_features(
            pixel_values, **{k: v for k, v in inputs.items() if k == "qformer_input_ids"}
        ).pooler_output,
    )
    assert torch.equal(model(pixel_values[:, 0], **inputs).logits, expected)


@pytest.mark.parametrize(("kind", "language"), KINDS)
@torch.no_grad()
def test_generation_of_one_frame_is_the_librarys(kind, language):
    model = model_of(kind, language)
    pixel_values, inputs = video(1), text(model)
    inputs.pop("labels", None)
    options = {"max_new_tokens": 4, "do_sample": False, "num_beams": 2}
    expected = library_of(model).generate(pixel_values[:, 0], **inputs, **options)
    assert torch.equal(model.generate(pixel_values, **inputs, **options), expected)
    assert torch.equal(model.generate(pixel_values[:, 0], **inputs, **options), expected)


@pytest.mark.parametrize(("kind", "language"), KINDS)
@torch.no_grad()
def test_what_ask_generates_of_one_frame_is_the_librarys(kind, language):
    """The same words, though the prompt goes in as embeddings alone."""
    model = model_of(kind, language)
    pixel_values, inputs = video(1), text(model)
    inputs.pop("labels", None)
    expected = library_of(model).generate(pixel_values[:, 0], **inputs, max_new_tokens=5, do_sample=False)
    prompt = {name: value for name, value in inputs.items() if name != "input_ids"}
    tokens = model.get_image_features(pixel_values, **prompt).pooler_output
    prompts = Prompts(inputs["input_ids"], torch.ones_like(inputs["input_ids"]), None, None)
    got = generate(model, tokens, prompts, max_new_tokens=5, do_sample=False)
    assert torch.equal(got, expected[:, -got.shape[1] :]) and got.shape[1] >= 5


@pytest.mark.parametrize("num_frames", [4, 5])  # at the last frame the bank holds T - 1
@torch.no_grad()
def test_visual_bank_alone_is_one_library_call_on_all_tokens(num_frames):
    model = model_of(length=4, query=False)
    pixel_values, words = video(num_frames), text(model)["qformer_input_ids"]
    tokens = torch.cat([model.encode_frame(frame).last_hidden_state for frame in pixel_values.unbind(1)], dim=1)
    library = library_of(model)
    expected = library.qformer(
        input_ids=words,
        attention_mask=torch.ones(2, NUM_QUERIES + words.shape[1], dtype=torch.long),
        query_embeds=library.query_tokens.expand(2, -1, -1),
        encoder_hidden_states=tokens,
    ).last_hidden_state
    assert torch.equal(last_states(model, pixel_values, qformer_input_ids=words), expected)


def block_causal(num_frames: int, rows: int, columns: int, dtype) -> torch.Tensor:
    """An additive mask (1, 1, T * rows, T * columns): frame t sees the frames up to t."""
    seen = torch.ones(num_frames, num_frames, dtype=torch.bool).tril()
    seen = seen.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)[None, None]


@pytest.mark.parametrize("kind", ["instructblip", "blip2"])
@torch.no_grad()
def test_both_banks_are_block_causal_attention_over_all_frames(kind):
    num_frames, dtype = 5, torch.float64
    model = model_of(kind, length=8).to(dtype)
    if kind == "blip2":
        model.qformer.to(dtype)
    pixel_values = video(num_frames).to(dtype)
    library = library_of(model)
    tokens = torch.cat([model.encode_frame(frame).last_hidden_state for frame in pixel_values.unbind(1)], dim=1)
    queries = library.query_tokens.expand(2, -1, -1).repeat(1, num_frames, 1)
    cross = block_causal(num_frames, NUM_QUERIES, tokens.shape[1] // num_frames, dtype)
    own = block_causal(num_frames, NUM_QUERIES, NUM_QUERIES, dtype)
    arguments, prompt = {}, {}
    if kind == "instructblip":  # queries of all frames first, then the prompts of all frames
        words = text(model)["qformer_input_ids"]
        length = words.shape[1]
        blocks = [
            [block_causal(num_frames, rows, columns, dtype) for columns in (NUM_QUERIES, length)]
            for rows in (NUM_QUERIES, length)
        ]
        own = torch.cat([torch.cat(row, dim=-1) for row in blocks], dim=-2)
        prompt = {"qformer_input_ids": words}
        arguments = {
            "input_ids": words.repeat(1, num_frames),
            "position_ids": torch.arange(length).repeat(num_frames)[None],
        }
    expected = library.qformer(
        query_embeds=queries,
        attention_mask=own,
        encoder_hidden_states=tokens,
        encoder_attention_mask=cross,
        **arguments,
    ).last_hidden_state[:, : num_frames * NUM_QUERIES]
    got = last_states(model, pixel_values, **prompt)[:, :NUM_QUERIES]
    assert torch.allclose(got, expected[:, -NUM_QUERIES:], rtol=0, atol=1e-12)


@torch.no_grad()
def test_eager_and_sdpa_attention_agree():
    model = model_of(length=3)
    pixel_values, words = video(7), text(model)["qformer_input_ids"]
    got = last_states(model, pixel_values, qformer_input_ids=words)
    model.set_attn_implementation("eager")
    assert torch.allclose(got, last_states(model, pixel_values, qformer_input_ids=words), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["instructblip", "blip2"])
@torch.no_grad()
def test_members_of_a_batch_are_independent(kind):
    model = model_of(kind, length=3)
    pixel_values, inputs = video(8), text(model)
    together = model(pixel_values, **inputs).logits
    alone = model(pixel_values[1:], **{name: value[1:] for name, value in inputs.items()}).logits
    assert torch.allclose(together[1:], alone, rtol=0, atol=1e-4)
    other = torch.cat([video(8, 1, seed=9), pixel_values[1:]])
    assert torch.allclose(together[1:], model(other, **inputs).logits[1:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("bank_text", [True, False])
@torch.no_grad()
def test_a_padded_prompt_is_the_unpadded_one(bank_text):
    model = model_of(length=3, bank_text=bank_text)
    pixel_values, words = video(7, batch=1), torch.tensor([[1, 7, 8]])
    padded = torch.tensor([[1, 7, 8, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    short = last_states(model, pixel_values, qformer_input_ids=words)
    long = last_states(model, pixel_values, qformer_input_ids=padded, qformer_attention_mask=mask)
    assert torch.allclose(short[:, : NUM_QUERIES + 3], long[:, : NUM_QUERIES + 3], rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_prompts_tokens_are_banked_unless_switched_off():
    pixel_values = video(4)
    for bank_text, num_tokens in ((True, NUM_QUERIES + 4), (False, NUM_QUERIES)):
        model = model_of(bank_text=bank_text)
        watcher = model.watch(4, text(model)["qformer_input_ids"])
        for frame in pixel_values.unbind(1):
            watcher.see(model.encode_frame(frame).last_hidden_state)
        assert [bank.entries.shape for bank in watcher.memory.queries] == [(2, 4, num_tokens, 24)] * 4
        assert watcher.memory.visual.entries.shape == (2, 4, 17, 16)


@torch.no_grad()
def test_later_frames_change_no_earlier_state():
    model = model_of(length=3)
    words, first = text(model)["qformer_input_ids"], video(9)
    second = first.clone()
    second[:, 6:] = video(3, seed=5)
    states = []
    for pixel_values in (first, second):
        watcher = model.watch(9, words)
        seen = []
        for frame in pixel_values.unbind(1):
            watcher.see(model.encode_frame(frame).last_hidden_state)
            banks = [watcher.memory.visual, *watcher.memory.queries]
            seen.append([bank.entries.clone() for bank in banks])
        states.append(seen)
    for number in range(9):
        equal = [torch.equal(a, b) for a, b in zip(states[0][number], states[1][number], strict=True)]
        assert all(equal) == (number < 6)


@torch.no_grad()
def test_layer_0_remembers_the_same_again_and_again():
    """In eval mode its input depends on no frame: a bank of equal entries, which attention cannot tell from one."""
    model = model_of(length=3)
    watcher = model.watch(8, text(model)["qformer_input_ids"])
    for frame in video(8).unbind(1):
        watcher.see(model.encode_frame(frame).last_hidden_state)
    bank = watcher.memory.queries[0].entries
    assert torch.allclose(bank, bank[:, :1].expand_as(bank), rtol=0, atol=1e-6)


@torch.no_grad()
def test_only_the_query_banks_see_the_order_of_time():
    pixel_values = video(5)
    words = text(model_of())["qformer_input_ids"]
    for query, ordered in ((False, False), (True, True)):
        model = model_of(length=8, query=query).double()
        forwards = last_states(model, pixel_values.double(), qformer_input_ids=words)
        backwards = last_states(model, pixel_values.double().flip(1), qformer_input_ids=words)
        assert torch.allclose(forwards, backwards, rtol=0, atol=1e-10) != ordered


@pytest.mark.parametrize("kind", ["instructblip", "blip2"])
def test_gradients_reach_what_is_trained_and_only_the_last_position(kind):
    model = model_of(kind, length=3)
    model(video(5), **text(model)).logits.square().mean().backward()
    last_of_text = ("encoder.layer.3.intermediate.", "encoder.layer.3.output.")  # its output goes nowhere
    for name, parameter in model.qformer.named_parameters():
        if ".key.bias" not in name and not name.startswith(last_of_text):  # softmax ignores what is added to all keys
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    rows = model.frame_positions.weight.grad.abs().amax(dim=1)
    assert rows.nonzero().flatten().tolist() == [4]


def test_no_gradient_for_earlier_frames_changes_no_gradient():
    model = model_of(length=3).double()
    pixel_values, inputs = video(6).double(), text(model)
    gradients = []
    for everywhere in (False, True):
        model.zero_grad()
        watcher = model.watch(6, inputs["qformer_input_ids"])
        for number, frame in enumerate(pixel_values.unbind(1)):
            with torch.set_grad_enabled(everywhere or number == 5):
                watcher.see(model.encode_frame(frame).last_hidden_state)
        watcher.visual_tokens().square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


@torch.no_grad()
def test_an_exception_in_one_video_does_not_reach_the_next():
    model = model_of(length=3)
    pixel_values, inputs = video(6), text(model)
    expected = model(pixel_values, **inputs).logits

    def fail(*_):
        raise RuntimeError("in the middle of a layer")

    handle = model.qformer.encoder.layer[2].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="middle of a layer"):
        model(video(6, seed=3), **inputs)
    handle.remove()
    watcher = model.watch(9, inputs["qformer_input_ids"])  # and a video that is given up half way
    watcher.see(model.encode_frame(video(1, seed=4)[:, 0]).last_hidden_state)
    assert torch.equal(model(pixel_values, **inputs).logits, expected)


@torch.no_grad()
def test_more_frames_than_positions():
    model = model_of(length=3)
    model.frame_positions.weight.normal_()
    assert torch.equal(model.frame_positions.of(500), model.frame_positions.weight[119])
    pixel_values = video(1, batch=1).expand(1, 130, 3, 28, 28)
    inputs = text(model, batch=1)
    watcher = model.watch(130, inputs["qformer_input_ids"])
    states = model.encode_frame(pixel_values[:, 0]).last_hidden_state
    for _ in range(130):
        watcher.see(states)
        assert len(watcher.memory.visual) <= 3
    assert watcher.memory.visual.sizes.sum(1).unique().tolist() == [130]
    assert model(pixel_values, **inputs).logits.isfinite().all()


@torch.no_grad()
def test_several_questions_share_one_pass_over_a_video():
    model = model_of(length=3)
    pixel_values, words = video(7, batch=1), text(model, batch=3)["qformer_input_ids"]
    watcher = model.watch(7, words)
    for frame in pixel_values.unbind(1):
        watcher.see(model.encode_frame(frame).last_hidden_state)
    assert watcher.memory.visual.entries.shape[0] == 1
    together = watcher.visual_tokens()
    for number in range(3):
        alone = model.get_image_features(pixel_values, qformer_input_ids=words[number : number + 1]).pooler_output
        assert torch.allclose(together[number : number + 1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("summary", ["average", "tome", "concat"])
@torch.no_grad()
def test_the_papers_alternatives_are_made_of_single_frames(summary):
    model = model_of(visual=False, query=False, summary=summary)
    pixel_values, words = video(5), text(model)["qformer_input_ids"]
    got = model.get_image_features(pixel_values, qformer_input_ids=words).pooler_output
    frames = [
        library_of(model).get_image_features(frame, qformer_input_ids=words).pooler_output
        for frame in pixel_values.unbind(1)
    ]
    assert got.shape == (2, model.memory_rule.num_visual_tokens(NUM_QUERIES, 5), 32)
    if summary == "average":
        assert torch.allclose(got, torch.stack(frames).mean(0), rtol=0, atol=1e-5)
    if summary == "concat":
        assert torch.equal(got, torch.cat(frames, dim=1))
    assert model(pixel_values, **text(model, num_tokens=got.shape[1])).logits.isfinite().all()


@torch.no_grad()
def test_hooks_survive_copies_and_can_be_removed():
    model = model_of(length=3)
    pixel_values, inputs = video(6), text(model)
    expected = model(pixel_values, **inputs).logits
    copied = copy.deepcopy(model)
    pickled = pickle.loads(pickle.dumps(model.qformer))
    assert torch.equal(copied(pixel_values, **inputs).logits, expected)
    assert len(pickled.encoder.layer[0].attention.attention._forward_pre_hooks) == 1
    model.detach_banks()
    with pytest.raises(ConfigError):
        model(pixel_values, **inputs)
    assert torch.equal(copied(pixel_values, **inputs).logits, expected)
    copied.detach_banks()
    assert not any(module._forward_pre_hooks for module in copied.qformer.modules())


def test_gradient_checkpointing_is_refused():
    model = model_of()
    model.activation_checkpointing_enable()
    model.train()
    with pytest.raises(ConfigError, match="checkpointing"):
        model(video(3), **text(model))


def test_a_wrong_number_of_image_tokens_is_refused_for_videos():
    model = model_of()
    for wrong in (NUM_QUERIES - 1, NUM_QUERIES + 1, 0):
        with pytest.raises(PromptError, match=str(wrong)):
            model(video(3), **text(model, num_tokens=wrong))
        with pytest.raises(PromptError, match=str(wrong)):
            model.generate(video(3), **text(model, num_tokens=wrong))
    model.config.image_token_index = None
    with pytest.raises(PromptError, match="image_token_index"):
        model(video(3), **text(model))


def test_a_video_without_frames_is_refused():
    model = model_of()
    with pytest.raises(DataError, match="contains no frames"):
        model.get_image_features(video(0), **text(model))


@pytest.mark.parametrize(("kind", "language"), KINDS)
def test_folders_of_the_library_load_with_positions_of_zero(kind, language, tmp_path):
    model = model_of(kind, language)
    library_of(model).save_pretrained(tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, local_files_only=True, output_loading_info=True)
    assert loaded.frame_positions.weight.abs().max() == 0
    assert not report["missing_keys"] and not report["unexpected_keys"]
    inputs = text(model)
    loaded.memory_rule = model.memory_rule
    assert torch.equal(loaded.eval()(video(6), **inputs).logits, model(video(6), **inputs).logits)


def test_trained_positions_come_back(tmp_path):
    model = model_of()
    torch.nn.init.normal_(model.frame_positions.weight)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, local_files_only=True)
    assert torch.equal(loaded.frame_positions.weight, model.frame_positions.weight)


@torch.no_grad()
def test_memory_does_not_grow_once_the_banks_are_full():
    model = model_of(length=5)
    watcher = model.watch(60, text(model)["qformer_input_ids"])
    states, sizes = model.encode_frame(video(1)[:, 0]).last_hidden_state, []
    for _ in range(60):
        watcher.see(states)
        sizes.append(watcher.memory.num_bytes)
    assert sizes[3] < sizes[4] == sizes[5] == sizes[59]


@torch.no_grad()
def test_a_bf16_model_keeps_its_memory_in_fp32():
    model = model_of(length=3).to(torch.bfloat16)
    watcher = model.watch(8, text(model)["qformer_input_ids"])
    for frame in video(8).to(torch.bfloat16).unbind(1):
        watcher.see(model.encode_frame(frame).last_hidden_state)
    assert {bank.entries.dtype for bank in [watcher.memory.visual, *watcher.memory.queries]} == {torch.float32}
    assert watcher.visual_tokens().dtype == torch.bfloat16
