"""The command `ask`: answers about a video, from a model folder on this machine."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from ma_lmm.answering import Watched, answer, middle_frames, watch_video
from ma_lmm.loading import Loaded, load_video_model
from ma_lmm.memory.rules import CHOICES, MemoryRule
from ma_lmm.strip import clock, draw_strip, save_strip
from ma_lmm.trained import load_trained
from slowfast_gta.engine.device import peak_memory_gib
from slowfast_gta.errors import ConfigError, counted

CAPTION_PROMPT = "what does the video describe?"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    show = partial(print, file=sys.stderr if options.json else sys.stdout, flush=True)
    questions = [options.prompt.replace("{}", question) for question in options.question]
    questions += [CAPTION_PROMPT] if options.caption else []
    loaded = _load(options)
    for question in questions:
        loaded.prompts.check_length(question)
    for note in loaded.notes:
        print(f"note: {note}", file=sys.stderr)

    progress = partial(tqdm, unit=" frames", desc="Watching", file=sys.stderr, mininterval=1.0)
    watched = watch_video(loaded, options.video, questions, options.fps, options.frames, options.chunk, progress)
    show(_how_it_was_watched(watched, loaded))
    answers = []
    for number, question in enumerate(questions):
        show(f"\n{question}")
        stream = options.beams == 1 and not options.json
        answers.append(answer(loaded, watched, number, options.max_new_tokens, options.beams, stream))
        if not stream:
            show(answers[-1])
    spans = watched.spans_sec()
    if spans:
        show("\nIn memory: " + ", ".join(f"{clock(first)}-{clock(last)}" for first, last in spans))
    if options.strip:
        _save_strip(options, watched)
        show(f"Their frames: {options.strip}")
    if options.json:
        print(json.dumps(_document(watched, loaded, answers, spans), indent=1))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ask.py", description="Ask questions about a video of any length.")
    parser.add_argument("video", help="a video file, or a folder of frames")
    parser.add_argument("question", nargs="*", help="questions, all answered in one pass over the video")
    parser.add_argument("--model", required=True, help="folder of InstructBLIP or BLIP-2, as transformers saves it")
    parser.add_argument("--trained", help="what MA-LMM learned: a checkpoint of run.py, or of the authors")
    parser.add_argument("--training-free", action="store_true", help="the folder's weights, without frame positions")
    parser.add_argument("--caption", action="store_true", help=f"also ask: {CAPTION_PROMPT}")
    parser.add_argument(
        "--prompt",
        default="{}",
        help="what the model is told, {} is the question; for example 'Question: {} Short answer:'",
    )
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument("--fps", type=_positive(float), help="frames watched a second (default: 1)")
    how_many.add_argument("--frames", type=_positive(int), help="frames watched in all, evenly chosen")
    parser.add_argument("--memory", type=_positive(int), default=20, help="length of the memory banks (default: 20)")
    parser.add_argument("--banks", choices=("both", "visual", "query"), default="both", help="memory banks to use")
    parser.add_argument("--update", choices=CHOICES["update"], default="compress", help="what a full bank does")
    parser.add_argument("--level", choices=CHOICES["level"], default="token")
    parser.add_argument("--strip", help="write a picture of what is in memory, for example memory.png")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=_DTYPES, help="default: bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument("--chunk", type=_positive(int), default=8, help="frames in the vision encoder at once")
    parser.add_argument("--beams", type=_positive(int), default=1, help="1 prints the answer as it comes")
    parser.add_argument("--max-new-tokens", type=_positive(int), default=50)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    if not options.question and not options.caption:
        parser.error("ask something: a question, or --caption")
    if not all(question.strip() for question in options.question):
        parser.error("a question is empty")
    if "{}" not in options.prompt:
        parser.error("--prompt must contain {}, which stands for the question")
    return options


def _positive(kind: type):
    def number(text: str):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    number.__name__ = kind.__name__  # what argparse calls a wrong value
    return number


def _load(options: argparse.Namespace) -> Loaded:
    if options.trained and options.training_free:
        raise ConfigError("--trained and --training-free exclude each other.")
    try:
        device = torch.device(options.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ConfigError(f"--device {options.device}: there is no such device here; cpu always works.") from None
    dtype = _DTYPES[options.dtype or ("bfloat16" if device.type == "cuda" else "float32")]
    rule = MemoryRule(
        length=options.memory,
        update=options.update,
        level=options.level,
        visual=options.banks != "query",
        query=options.banks != "visual",
    )
    loaded = load_video_model(options.model, rule, options.device, dtype)
    if options.trained:
        loaded.notes += load_trained(loaded.model, options.trained, Path(options.model))
    if options.training_free:
        torch.nn.init.zeros_(loaded.model.frame_positions.weight)
    return loaded


def _how_it_was_watched(watched: Watched, loaded: Loaded) -> str:
    positions = loaded.model.frame_positions
    beyond = max(0, len(watched.indices) - positions.num_embeddings)
    text = (
        f"Watched {counted(len(watched.indices), 'frame')}, {clock(watched.times_sec[0])} to "
        f"{clock(watched.times_sec[-1])}, "
        f"{1000 * watched.sec_per_frame:.0f} ms each. Memory banks: "
        f"{watched.memory.num_bytes / 1e6:.1f} MB; peak of all: {peak_memory_gib(loaded.model.device):.2f} GiB."
    )
    if watched.num_repeated:
        text += f" {counted(watched.num_repeated, 'frame')} could not be decoded; the nearest decoded frame was used."
    if beyond and positions.weight.any():
        text += f" Frames beyond the {positions.num_embeddings} learned positions, which share the last one: {beyond}."
    return text


def _save_strip(options: argparse.Namespace, watched: Watched) -> None:
    frames = middle_frames(options.video, watched.spans(), watched.indices)
    try:
        save_strip(Path(options.strip), draw_strip(frames, watched.spans_sec()))
    except ValueError:
        raise ConfigError(f"--strip {options.strip}: the name must end in .png or .jpg.") from None


def _document(watched: Watched, loaded: Loaded, answers: list[str], spans: list[tuple[float, float]]) -> dict:
    asked = [{"question": question, "answer": text} for question, text in zip(watched.questions, answers, strict=True)]
    return {
        "answers": asked,
        "num_frames": len(watched.indices),
        "num_repeated": watched.num_repeated,
        "memory_spans_sec": spans,
        "memory_bytes": watched.memory.num_bytes,
        "peak_memory_gib": peak_memory_gib(loaded.model.device),
        "sec_per_frame": watched.sec_per_frame,
    }
