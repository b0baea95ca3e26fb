"""Proves the memory: the needle, trained by each method with several seeds, and asked of video files by `ask`."""

import argparse
import contextlib
import io
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from ma_lmm.commands import ask
from ma_lmm.needle import MEMORY, METHODS, NUM_FRAMES, QUESTION, WORDS, share_right, train_needle, write_needles
from ma_lmm.tiny import save_tiny
from slowfast_gta.errors import RunError

# Of compression; how near the others must come to their ceilings; how far above it chance may carry them on few files.
GOAL, NEAR, ABOVE = 0.95, 0.05, 0.15
ASKED = {"compression": "model", "fifo, visual bank": "model_fifo"}  # the folder of each, trained with seed 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, method in METHODS.items():
        for seed in range(options.seeds):
            model, run = train_needle(method, seed, options.steps)
            right = share_right(model, method)
            spent = {key: round(value, 4) for key, value in run.items()}
            rows.append({"method": name, "seed": seed, "right": right, "ceiling": method.ceiling, **spent})
            print(
                f"{name:<26} seed {seed}: {right:6.1%} right (ceiling {method.ceiling:.1%}), "
                f"{run['cpu_sec']:.0f} CPU seconds",
                flush=True,
            )
            if name in ASKED and seed == 0:
                save_tiny(options.output / ASKED[name], model, WORDS)
    files = ask_files(options.output, options.files)
    results = {"num_steps": options.steps, "rows": rows, "num_files": options.files, "files": files}
    (options.output / "needle.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"All results: {options.output / 'needle.json'}. To ask questions yourself:")
    example = _arguments(options.output / "videos" / "needle_000.mp4", options.output / "model")
    print(f"  python projects/ma_lmm/ask.py {shlex.join(example)}")
    check_needle(rows, files)
    return 0


def ask_files(output: Path, num_videos: int) -> dict[str, float]:
    """{method: the share of right answers}, by the command `ask`, about encoded video files that are left in
    `output`/videos, of the models in `output`."""
    answers = write_needles(output / "videos", num_videos, seed=99)
    found = {}
    for name, folder in ASKED.items():
        rule = METHODS[name].rule
        options = ["--update", rule.update, "--banks", "both" if rule.query else "visual"]
        answered = {file: ask_file(output / "videos" / file, output / folder, *options) for file in answers}
        found[name] = sum(answered[file] == answers[file] for file in answers) / num_videos
        print(f"asked of {num_videos} video files, {name}: {found[name]:.1%} right", flush=True)
    return found


def ask_file(video: Path, model: Path, *options: str) -> str:
    """What `ask` answers about one video."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        ask.main([*_arguments(video, model), *options, "--json"])
    return json.loads(printed.getvalue())["answers"][0]["answer"]


def _arguments(video: Path, model: Path) -> list[str]:
    how = ["--frames", str(NUM_FRAMES), "--memory", str(MEMORY), "--max-new-tokens", "3"]
    return [str(video), QUESTION, "--model", str(model), *how]


def check_needle(rows: list[dict], files: dict[str, float]) -> None:
    """Raises RunError unless compression is right and the others come near their ceilings, in every run, and of files
    compression alone is right."""
    faults = []
    for row in rows:
        goal = GOAL if row["ceiling"] == 1 else row["ceiling"] - NEAR
        if row["right"] < goal:
            faults.append(f"{row['method']}, seed {row['seed']}: {row['right']:.1%} right, below {goal:.1%}.")
    for name, right in files.items():
        if METHODS[name].ceiling == 1 and right < GOAL:
            faults.append(f"{name}, asked of video files: {right:.1%} right, below {GOAL:.1%}.")
        if right > METHODS[name].ceiling + ABOVE:
            faults.append(f"{name}, asked of video files: {right:.1%} right, more than it can have seen.")
    if faults:
        raise RunError("The accuracy is not as expected.\n" + "\n".join(faults))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prove.py needle", description="Train tiny models to find one odd frame.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="of 32 videos, the same for every method")
    parser.add_argument("--files", type=int, default=100, help="video files that are made and asked about")
    parser.add_argument("--output", type=Path, default=Path("runs/ma_lmm/needle"))
    return parser.parse_args(arguments)
