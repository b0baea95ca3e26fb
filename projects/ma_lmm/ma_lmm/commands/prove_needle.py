"""Proves the memory: the needle, trained by each method with several seeds, and asked of video files."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ma_lmm.answering import answer, watch_video
from ma_lmm.loading import load_video_model
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.needle import COLOURS, MEMORY, METHODS, NUM_FRAMES, QUESTION, WORDS, draw_needles, train_needle
from ma_lmm.tiny import save_tiny
from slowfast_gta.datasets.synthetic.encoding import encode_video
from slowfast_gta.errors import RunError

GOAL, NEAR = 0.95, 0.05  # of compression; how near the others must come to their ceilings
_SCALE = 4  # of the frames in a file: what a codec does to 14 x 14 pixels is no picture of what it does to a video


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, method in METHODS.items():
        for seed in range(options.seeds):
            right, run = train_needle(method, seed, options.steps)
            rows.append({"method": name, "seed": seed, "right": right, "ceiling": method.ceiling} | _numbers(run))
            print(
                f"{name:<26} seed {seed}: {right:6.1%} right (ceiling {method.ceiling:.1%}), "
                f"{run['cpu_sec']:.0f} CPU seconds",
                flush=True,
            )
            if name == "compression" and seed == 0:
                save_tiny(options.output / "model", run["model"], WORDS)
    asked = ask_files(options.output, options.files)
    print(f"asked of {options.files} video files, compression, seed 0: {asked:.1%} right")
    results = {"num_steps": options.steps, "rows": rows, "files": {"num_videos": options.files, "right": asked}}
    (options.output / "needle.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"All of it: {options.output / 'needle.json'}. To ask yourself:")
    print(
        f"  python projects/ma_lmm/ask.py {options.output}/needle.mp4 '{QUESTION}' --frames {NUM_FRAMES} "
        f"--memory {MEMORY} --model {options.output}/model"
    )
    check_needle(rows, asked)
    return 0


def check_needle(rows: list[dict], asked: float) -> None:
    """Raises RunError unless compression is right and the others come near their ceilings, in every run."""
    faults = []
    for row in rows:
        goal = GOAL if row["ceiling"] == 1 else row["ceiling"] - NEAR
        if row["right"] < goal:
            faults.append(f"{row['method']}, seed {row['seed']}: {row['right']:.1%} right, below {goal:.1%}.")
    if asked < GOAL:
        faults.append(f"Asked of video files: {asked:.1%} right, below {GOAL:.1%}.")
    if faults:
        raise RunError("The needle was not found as it should be.\n" + "\n".join(faults))


def ask_files(output: Path, num_videos: int) -> float:
    """The share of right answers about encoded video files, by the way that `ask` takes, of the model in `output`. The
    last file stays there."""
    loaded = load_video_model(output / "model", MemoryRule(length=MEMORY))
    videos, colours, _ = draw_needles(num_videos, np.random.default_rng(99))
    num_right = 0
    for frames, colour in zip(videos, colours, strict=True):
        file = output / "needle.mp4"
        file.write_bytes(encode_video(frames.repeat(_SCALE, axis=1).repeat(_SCALE, axis=2), "h264"))
        watched = watch_video(loaded, file, [QUESTION], num_frames=NUM_FRAMES)
        num_right += answer(loaded, watched, 0, max_new_tokens=3) == list(COLOURS)[colour]
    return num_right / num_videos


def _numbers(run: dict) -> dict:
    return {name: round(value, 4) for name, value in run.items() if name != "model"}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prove.py needle", description="Train tiny models to find one odd frame.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="of 32 videos, the same for every method")
    parser.add_argument("--files", type=int, default=100, help="video files that are made and asked about")
    parser.add_argument("--output", type=Path, default=Path("runs/ma_lmm/needle"))
    return parser.parse_args(arguments)
