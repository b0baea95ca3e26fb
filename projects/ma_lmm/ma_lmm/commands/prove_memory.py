"""The command that proves flat memory and flat time: peak memory and time per frame of short and long videos, beside
the same model that attends to all frames at once, each in a process of its own; and one picture of both."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from ma_lmm.chart import Chart, Curve, draw_charts
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.models import VideoModel
from ma_lmm.tiny import tiny_model
from slowfast_gta.errors import RunError, counted

IMAGE_PX, MEMORY = 112, 8
TOLERANCE = 0.02  # by which the peaks of the shortest and the longest video may differ
_WAYS = ("memory", "all at once")
_NUM_PARTS = 10  # of a video, for each of which the time per frame is reported


@torch.inference_mode()
def measure(way: str, num_frames: int) -> dict:
    """Watch a random video, in this process: peak memory (MiB); CPU seconds a frame in the second half of it and, with
    the memory, in each of its parts (the median, which no hiccup moves)."""
    model = tiny_model(image=IMAGE_PX, vision=32)
    frames = _encoded_frames(model, num_frames)
    start, times = time.process_time(), []
    if way == "memory":
        model.memory_rule = MemoryRule(length=MEMORY)
        watcher = model.watch(num_frames, torch.tensor([[1, 6, 7]]))
        for features in frames:
            watcher.see(features)
            times.append(time.process_time())
    else:  # as one frame with all tokens
        model.memory_rule = MemoryRule(visual=False, query=False)
        watcher = model.watch(1, torch.tensor([[1, 6, 7]]))
        watcher.see(torch.cat(list(frames), dim=1))
    watcher.visual_tokens()
    all_sec = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    row = {"way": way, "num_frames": num_frames, "peak_mib": peak, "frame_sec": all_sec / num_frames}
    if way == "memory":
        of_frame = torch.tensor(times, dtype=torch.float64).diff(prepend=torch.tensor([start], dtype=torch.float64))
        row["frame_sec"] = float(of_frame[num_frames // 2 :].mean())
        row["part_sec"] = [float(part.median()) for part in of_frame.chunk(min(_NUM_PARTS, num_frames))]
    return row


def _encoded_frames(model: VideoModel, num_frames: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(num_frames):
        frame = torch.rand(1, 3, IMAGE_PX, IMAGE_PX, generator=generator)
        yield model.encode_frame(frame).last_hidden_state


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    if options.measure:
        print(json.dumps(measure(options.measure[0], int(options.measure[1]))))
        return 0
    rows = []
    for way in _WAYS:
        for num_frames in options.frames if way == "memory" else options.all_at_once:
            rows.append(_in_own_process(way, num_frames))
            row = rows[-1]
            print(
                f"{way:<12} {num_frames:>5} frames: peak {row['peak_mib']:7.1f} MiB, "
                f"{1000 * row['frame_sec']:6.2f} CPU ms a frame",
                flush=True,
            )
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "memory.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw_memory(rows).save(options.output / "memory.png")
    print(f"Picture: {options.output / 'memory.png'}")
    check_flat(rows)
    return 0


def check_flat(rows: list[dict]) -> None:
    """Raises RunError unless the memory of the longest video is that of the shortest, within TOLERANCE."""
    peaks = [row["peak_mib"] for row in rows if row["way"] == "memory"]
    if max(peaks) > min(peaks) * (1 + TOLERANCE):
        raise RunError(
            f"Memory is not constant: {min(peaks):.1f} to {max(peaks):.1f} MiB, more than {TOLERANCE:.0%} apart."
        )


def draw_memory(rows: list[dict]) -> Image.Image:
    """Peak memory over the number of frames; and the time per frame within the longest video, beside
    that of all frames at once over the length of the video."""
    names = {"memory": f"banks of {MEMORY} entries", "all at once": "all frames at once"}
    peaks = [
        Curve(names[way], [(row["num_frames"], row["peak_mib"]) for row in rows if row["way"] == way]) for way in _WAYS
    ]
    longest = max((row for row in rows if row["way"] == "memory"), key=lambda row: row["num_frames"])
    parts = longest["part_sec"]
    within = [(longest["num_frames"] * (part + 1) / len(parts), 1000 * sec) for part, sec in enumerate(parts)]
    at_once = [(row["num_frames"], 1000 * row["frame_sec"]) for row in rows if row["way"] == "all at once"]
    times = [
        Curve(f"{names['memory']}, within {counted(longest['num_frames'], 'frame')}", within, labels=False),
        Curve(f"{names['all at once']}, the mean of a whole video", at_once),
    ]
    return draw_charts(
        [
            Chart("peak memory of the process, MiB", "frames of the video", peaks),
            Chart("CPU milliseconds a frame", "frames watched", times, "{:.1f}", margin=4.0),
        ]
    )


def _in_own_process(way: str, num_frames: int) -> dict:
    code = "import sys; from ma_lmm.commands.prove_memory import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--measure", way, str(num_frames)]
    # One arena and returned blocks: what is measured is what the tensors need, not what malloc keeps.
    # It finds this project and the core where this process did, whatever PYTHONPATH was before.
    paths = os.pathsep.join(dict.fromkeys(str(Path(entry or ".").resolve()) for entry in sys.path))
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RunError(
            f"Measuring {counted(num_frames, 'frame')} ({way}) failed: "
            f"{(done.stderr.strip().splitlines() or ['?'])[-1]}"
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prove.py memory", description="Measure memory over the length of a video.")
    parser.add_argument("--frames", type=int, nargs="+", default=[20, 200, 2000], help="with the memory banks")
    parser.add_argument("--all-at-once", type=int, nargs="+", default=[20, 200, 2000], help="without")
    parser.add_argument("--output", type=Path, default=Path("runs/ma_lmm/memory"))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)
