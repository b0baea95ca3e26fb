"""Asking: from a model folder and a video file to an answer; and everything that can be wrong with either."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from ma_lmm import loading
from ma_lmm.answering import answer, choose_frames, middle_frames, watch_video
from ma_lmm.commands import run_project_command
from ma_lmm.commands.prove_memory import check_flat, draw_memory, measure
from ma_lmm.commands.prove_needle import ask_file, check_needle
from ma_lmm.loading import folder_digest, load_video_model
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.needle import (
    COLOURS,
    MEMORY,
    METHODS,
    NUM_FRAMES,
    WORDS,
    Method,
    NeedleTask,
    draw_needles,
    needle_model,
    train_needle,
    write_needles,
)
from ma_lmm.strip import clock, draw_strip
from ma_lmm.tiny import save_tiny, tiny_model
from ma_lmm.trained import trained_state

from slowfast_gta.datasets.synthetic.encoding import encode_video
from slowfast_gta.errors import ConfigError, DataError, RunError, WeightsError
from slowfast_gta.video.readers import open_video

QUESTIONS = ["what is shown in the video ?", "which colour ?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model's folder; tests only read it."""
    return save_tiny(tmp_path_factory.mktemp("model"), tiny_model())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """30 frames at 12 frames a second."""
    cells = np.random.default_rng(0).integers(0, 256, (30, 4, 6, 3), np.uint8)
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    path.write_bytes(encode_video(cells.repeat(8, axis=1).repeat(8, axis=2), "h264"))
    return path


@pytest.fixture
def ask(folder, video, capsys):
    """ask(arguments..., model=, path=) -> (exit code, stdout, stderr), in this process."""

    def call(*arguments, model=folder, path=video):
        try:
            code = run_project_command("ask", [str(path), *map(str, arguments), "--model", str(model)])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def test_ask_answers_all_questions_in_one_pass(ask, folder, video, tmp_path):
    code, out, _ = ask(*QUESTIONS, "--caption", "--frames", 9, "--memory", 3, "--json", "--strip", tmp_path / "m.png")
    document = json.loads(out)
    assert code == 0 and [row["question"] for row in document["answers"][:2]] == QUESTIONS
    assert len(document["answers"]) == 3 and document["num_frames"] == 9
    spans = document["memory_spans_sec"]
    assert len(spans) == 3 and spans[0][0] == 0 and spans[-1][1] == pytest.approx(29 / 12)
    assert (tmp_path / "m.png").stat().st_size > 500

    loaded = load_video_model(folder, MemoryRule(length=3))
    for row in document["answers"]:
        watched = watch_video(loaded, video, [row["question"]], num_frames=9, chunk=2)
        assert answer(loaded, watched, 0) == row["answer"]


def test_the_answer_is_printed_once_as_it_comes(ask):
    code, out, err = ask(QUESTIONS[0], "--fps", 3, "--max-new-tokens", 4)
    assert code == 0 and QUESTIONS[0] in out and "In memory" in out and "Watching" in err


@pytest.mark.parametrize("banks", ["visual", "query"])
def test_a_memory_with_one_kind_of_bank_is_reported_too(ask, tmp_path, banks):
    how = ("--frames", 8, "--memory", 3, "--banks", banks)
    code, out, _ = ask(QUESTIONS[0], *how, "--json", "--strip", tmp_path / "m.png")
    spans = json.loads(out)["memory_spans_sec"]
    assert code == 0 and len(spans) == 3 and spans[-1][1] == pytest.approx(29 / 12)
    assert (tmp_path / "m.png").stat().st_size > 500


def test_watching_a_file_is_the_models_own_loop(folder, video):
    loaded = load_video_model(folder, MemoryRule(length=3))
    watched = watch_video(loaded, video, QUESTIONS, num_frames=7)
    with open_video(video) as opened:
        pixels = torch.stack([loaded.transform(frame) for frame in opened.frames(watched.indices)])[None]
    prompts = loaded.prompts.questions(QUESTIONS, 4)
    for number in range(2):
        mask = prompts.qformer_attention_mask[number : number + 1]
        with torch.no_grad():
            expected = loaded.model.get_image_features(
                pixels, prompts.qformer_input_ids[number : number + 1], mask
            ).pooler_output
        assert torch.allclose(watched.visual_tokens[number], expected[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["instructblip", "blip2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_folders_load_and_run_in_half_precision(kind, dtype, video, tmp_path):
    save_tiny(tmp_path, tiny_model(kind))
    loaded = load_video_model(tmp_path, MemoryRule(length=3), dtype=dtype)
    assert loaded.model.language_projection.weight.dtype == dtype
    watched = watch_video(loaded, video, QUESTIONS, num_frames=6)
    assert watched.memory.visual.entries.dtype == torch.float32
    assert watched.visual_tokens.isfinite().all() and isinstance(answer(loaded, watched, 1), str)


@pytest.mark.slow
def test_memory_is_flat_from_20_to_400_frames(tmp_path):
    arguments = ["--frames", "20", "400", "--all-at-once", "20", "--output", str(tmp_path)]
    assert run_project_command("prove_memory", arguments) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"memory.json", "memory.png"}


def test_frames_are_chosen_by_rate_or_number(video, tmp_path):
    with open_video(video) as opened:
        indices, times = choose_frames(opened, video, 4.0, None)
        assert indices == list(range(0, 30, 3)) and times[1] == pytest.approx(0.25)
        assert choose_frames(opened, video, None, 500)[0] == list(range(30))  # no frame twice
    from PIL import Image

    for number in range(5):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    with open_video(tmp_path) as opened:
        assert choose_frames(opened, tmp_path, None, 3)[1].tolist() == [0, 2, 4]
        with pytest.raises(ConfigError, match="--frames"):
            choose_frames(opened, tmp_path, 1.0, None)


def test_the_strip_has_a_picture_of_every_entry(video):
    frames = list(middle_frames(video, [(0, 2), (3, 3), (4, 8)], list(range(0, 30, 3))))
    assert len(frames) == 3
    strip = draw_strip(frames, [(0.0, 1.0), (1.2, 1.2), (1.5, 4.0)])
    assert strip.width > 3 * 48 and np.asarray(strip).std() > 0
    assert [clock(value) for value in (0, 12.44, 59.96, 3725)] == ["0:00.0", "0:12.4", "1:00.0", "1:02:05.0"]


# ------------------------------------------------------------------------------------------------------ wrong inputs


def edited(folder, tmp_path, file: str, **values):
    """A copy of the model's folder with some values of a JSON file changed; None removes one."""
    copied = tmp_path / "edited"
    shutil.copytree(folder, copied)
    content = json.loads((copied / file).read_text()) | values
    (copied / file).write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return copied


@pytest.mark.parametrize(
    ("file", "values", "named"),
    [
        ("config.json", {"model_type": "llama"}, "text-only"),
        ("config.json", {"model_type": "resnet"}, "instructblip"),
        ("config.json", {"image_token_index": None}, "image_token_index"),
        ("config.json", {"image_token_index": 7}, "image_token_index 7"),
        ("config.json", {"num_query_tokens": 5}, "num_query_tokens 4"),
        ("processor_config.json", {"num_query_tokens": 3}, "num_query_tokens 3"),
    ],
)
def test_folders_that_do_not_fit_are_refused(ask, folder, tmp_path, file, values, named):
    code, out, err = ask(QUESTIONS[0], model=edited(folder, tmp_path, file, **values))
    assert code == 1 and not out and err.startswith("error: ") and named in err


def test_folders_without_whole_weights_are_refused(ask, folder, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    weights = copied / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    assert ask(QUESTIONS[0], model=copied)[0] == 1
    weights.write_bytes(b"\xff" * 50)
    assert ask(QUESTIONS[0], model=copied)[0] == 1
    weights.unlink()
    code, _, err = ask(QUESTIONS[0], model=copied)
    assert code == 1 and "no weights" in err
    (copied / "pytorch_model.bin").touch()
    assert "pytorch_model.bin" in ask(QUESTIONS[0], model=copied)[2]
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    assert re.search(rf"{copied}: .*\bweight files\b.*\b2 of 2\b", ask(QUESTIONS[0], model=copied)[2])
    (copied / "config.json").write_text("{")
    assert "config.json" in ask(QUESTIONS[0], model=copied)[2]
    assert ask(QUESTIONS[0], model=tmp_path / "nowhere")[0] == 1
    assert ask(QUESTIONS[0], model=tmp_path)[0] == 1


def test_weights_that_lack_tensors_are_refused_not_random(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    state = load_file(copied / "model.safetensors")
    state.pop("qformer.encoder.layer.0.attention.attention.query.weight")
    save_file(state, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="random"):
        load_video_model(copied, MemoryRule())


def test_a_folder_without_its_processor_is_refused(ask, folder, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (copied / name).unlink(missing_ok=True)
    code, _, err = ask(QUESTIONS[0], model=copied)
    assert code == 1 and "processor" in err


def test_too_little_memory_is_reported_before_loading(ask, monkeypatch):
    monkeypatch.setattr(loading, "free_memory_bytes", lambda: 1000)
    code, _, err = ask(QUESTIONS[0])
    assert code == 1 and "memory" in err


def test_running_out_of_memory_is_reported(folder, video, monkeypatch):
    loaded = load_video_model(folder, MemoryRule())

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loaded.model, "encode_frame", full)
    with pytest.raises(RunError, match="--memory"):
        watch_video(loaded, video, QUESTIONS, num_frames=3)


def test_videos_that_are_none_are_refused(ask, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "empty.mp4", tmp_path / "folder", tmp_path / "nowhere.mp4"):
        code, _, err = ask(QUESTIONS[0], path=path)
        assert code == 1 and path.name in err


def test_a_video_without_frames_is_refused():
    class Empty:
        num_frames = 0

    with pytest.raises(DataError, match="no frames"):
        choose_frames(Empty(), "v.mp4", 1.0, None)


def test_a_question_of_which_a_part_would_be_cut_off_is_refused(ask):
    assert ask("which colour " * 15, "--frames", 2)[0] == 0
    code, _, err = ask("which colour " * 50, "--frames", 2)
    assert code == 1 and "101" in err  # with its first token


def test_what_was_learned_on_another_base_is_refused(ask, folder, tmp_path):
    """Its tensors fit, so nothing but the digest tells."""
    state = trained_state(load_video_model(folder, MemoryRule()).model)
    for name, base in (("same", folder_digest(folder)), ("other", "0" * 64)):
        torch.save({"model_state": state, "builds_on": {"base": base}}, tmp_path / f"{name}.pyth")
    assert ask(QUESTIONS[0], "--frames", 2, "--trained", tmp_path / "same.pyth")[0] == 0
    code, _, err = ask(QUESTIONS[0], "--frames", 2, "--trained", tmp_path / "other.pyth")
    assert code == 1 and "other.pyth" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ([]),
        ([" "]),
        ([QUESTIONS[0], "--fps", "0"]),
        ([QUESTIONS[0], "--fps", "2", "--frames", "3"]),
        ([QUESTIONS[0], "--memory", "no"]),
        ([QUESTIONS[0], "--prompt", "x"]),
        ([QUESTIONS[0], "--device", "cuda:77"]),
        ([QUESTIONS[0], "--training-free", "--trained", "x.pth"]),
        ([QUESTIONS[0], "--strip", "picture.nonsense", "--frames", "3"]),
    ],
)
def test_wrong_commands_end_with_2(ask, arguments):
    assert ask(*arguments)[0] == 2


# ------------------------------------------------------------------------------------------------- the proofs, reduced


def test_needles_flash_where_they_may():
    videos, colours, flashes = draw_needles(20, np.random.default_rng(0), times=(2, 3))
    assert videos.shape[:2] == (20, NUM_FRAMES) and set(flashes.tolist()) <= {2, 3}
    for one, colour, flash in zip(videos, colours, flashes, strict=True):
        mean = one[flash].reshape(-1, 3).mean(0)
        assert np.abs(mean - np.array(list(COLOURS.values())[colour])).max() < 6


def test_ceilings_count_what_can_be_seen_and_guessed():
    ceilings = {name: method.ceiling for name, method in METHODS.items()}
    assert ceilings["compression"] == 1 and ceilings["uniform, visual bank"] == 0.25 + 0.75 / 8
    assert ceilings["fifo, visual bank"] == pytest.approx(5 / 16 + 11 / 16 / 8)


@pytest.mark.parametrize(("name", "kept"), [("compression", True), ("fifo, visual bank", False)])
@torch.no_grad()
def test_compression_keeps_the_needle_and_fifo_forgets_it(name, kept):
    """By the bank alone: is there an entry of the flash's frame and no other, at every position?"""
    model = needle_model(0).eval()
    task = NeedleTask(model, METHODS[name])
    videos, _, flashes = draw_needles(32, np.random.default_rng(1), times=range(2, 9))
    watcher = model.watch(NUM_FRAMES, torch.tensor([[1, 6]]).expand(32, -1))
    for frame in task.pixels(videos).unbind(1):
        watcher.see(model.encode_frame(frame).last_hidden_state)
    bank = watcher.memory.visual
    alone = [(int(flash), int(flash)) in bank.spans(1, member) for member, flash in enumerate(flashes)]
    assert np.mean(alone) > 0.9 if kept else not any(alone)


def test_a_trained_model_is_asked_of_encoded_videos(tmp_path):
    """End to end, reduced: trained on 8 frames, a BLIP-2 folder is asked about files of 16 in which the colour
    flashes before what "first in, first out" remembers."""
    method = Method(MemoryRule(length=MEMORY, query=False), 8, tuple(range(8)))
    model, run = train_needle(method, 0, 360, batch=16, lr=4e-3, kind="blip2", num_frames=8)
    save_tiny(tmp_path / "model", model, WORDS)
    answers = write_needles(tmp_path / "videos", 24, seed=1, times=range(1, NUM_FRAMES - MEMORY - 1))
    assert json.loads((tmp_path / "videos" / "answers.json").read_text()) == answers and run["loss"] < 1

    def share(update: str) -> float:
        arguments = ("--banks", "visual", "--update", update)
        answered = {name: ask_file(tmp_path / "videos" / name, tmp_path / "model", *arguments) for name in answers}
        return np.mean([answered[name] == answers[name] for name in answers])

    assert share("compress") >= 0.6  # a guess: 0.125; 24 videos, and what a processor rounds decides some
    assert share("fifo") <= 0.4


def test_the_needle_is_checked():
    row = {"method": "fifo", "seed": 0, "right": 0.30, "ceiling": 0.4}
    files = {"compression": 0.95, "fifo, visual bank": 0.4}
    with pytest.raises(RunError, match="fifo"):
        check_needle([row], files)
    with pytest.raises(RunError, match="files"):
        check_needle([row | {"right": 0.38}], files | {"compression": 0.9})
    with pytest.raises(RunError, match="files"):
        check_needle([row | {"right": 0.38}], files | {"fifo, visual bank": 0.6})
    check_needle([row | {"right": 0.38}, row | {"right": 0.96, "ceiling": 1.0}], files)


def test_memory_is_measured_and_drawn():
    rows = [measure(way, number) for way in ("memory", "all at once") for number in (2, 4)]
    assert all(row["peak_mib"] > 0 and row["frame_sec"] > 0 for row in rows)
    assert [len(row.get("part_sec", ())) for row in rows] == [2, 4, 0, 0]
    picture = np.asarray(draw_memory(rows).convert("L"))
    assert picture.shape == (400, 1040) and (picture[:, :520] < 200).any() and (picture[:, 520:] < 200).any()
    flat = [{"way": "memory", "num_frames": number, "peak_mib": peak} for number, peak in ((20, 100), (2000, 101))]
    check_flat(flat)
    with pytest.raises(RunError, match="not constant"):
        check_flat([*flat, {"way": "memory", "num_frames": 9, "peak_mib": 110}])
