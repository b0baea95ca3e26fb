"""Flat memory: the peak memory of `summarize` on videos of different lengths, each in a process of its own.

    python -m a2summ.long_video --output runs/a2summ/long [--minutes 5 60] [--network-cfg YAML --network-weights FILE]

The videos are made: shots of 3 s, 64 x 48 pixels, a sentence each.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from a2summ.world import write_transcript
from a2summ.world_videos import SHAPES, SHOT_SEC, render
from slowfast_gta.errors import RunError

TOLERANCE = 0.10  # by which the peaks may differ: features and scores of all frames are kept, pictures are not
_PEAK = "peak.json"


def make_long_video(folder: Path, minutes: float) -> tuple[Path, Path]:
    """(video, transcript); what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(int(60 * minutes))
    num_shots = max(2, round(60 * minutes / SHOT_SEC))
    video, transcript = folder / f"{minutes:g}_minutes.mp4", folder / f"{minutes:g}_minutes.srt"
    write_transcript(transcript, generator.uniform(size=num_shots) < 0.5, generator)
    if not video.exists():
        render(video, generator.choice(SHAPES, num_shots).tolist(), generator)
    return video, transcript


def measure(arguments: Sequence[str], output: Path) -> dict[str, float]:
    """{"peak_mib", "cpu_sec"} of `summarize` with `arguments`, in a new process."""
    code = "import sys; from a2summ.long_video import summarize_and_print; sys.exit(summarize_and_print(sys.argv[1:]))"
    paths = os.pathsep.join(dict.fromkeys(str(Path(entry or ".").resolve()) for entry in sys.path))
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--output", str(output)], env=environment, check=False
    )
    if done.returncode:
        raise RunError(f"summarize {arguments[0]} ended with exit code {done.returncode}.")
    return json.loads((output / _PEAK).read_text(encoding="utf-8"))


def summarize_and_print(arguments: Sequence[str]) -> int:
    """`summarize`, and beside what it leaves the peak memory of this process."""
    from a2summ.summarize import main as summarize

    code = summarize(arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    folder = Path(arguments[list(arguments).index("--output") + 1])
    (folder / _PEAK).write_text(json.dumps({"peak_mib": peak, "cpu_sec": time.process_time()}), encoding="utf-8")
    return code


def check_flat(rows: Sequence[dict[str, float]]) -> None:
    """Raises RunError where the peaks are further apart than TOLERANCE."""
    peaks = [row["peak_mib"] for row in rows]
    if max(peaks) > (1 + TOLERANCE) * min(peaks):
        raise RunError(
            f"Memory is not constant: {min(peaks):.0f} to {max(peaks):.0f} MiB, more than {TOLERANCE:.0%} apart."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the peak memory does not grow with the length."""
    parser = argparse.ArgumentParser("long_video", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/a2summ/long"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 60.0])
    parser.add_argument("--network-cfg", metavar="YAML")
    parser.add_argument("--network-weights", metavar="FILE")
    args = parser.parse_args(arguments)
    network = []
    if args.network_cfg:
        network = ["--network-cfg", args.network_cfg, "--network-weights", args.network_weights]
    rows = []
    for minutes in args.minutes:
        video, transcript = make_long_video(args.output, minutes)
        found = measure([str(video), "--transcript", str(transcript), *network], args.output / f"{minutes:g}_summary")
        rows.append({"minutes": minutes, **found})
        print(f"{minutes:5g} minutes: peak {found['peak_mib']:.0f} MiB, {found['cpu_sec']:.0f} CPU seconds", flush=True)
    (args.output / "long.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    check_flat(rows)
    return 0


if __name__ == "__main__":
    from slowfast_gta.commands import run_command

    sys.exit(run_command("long_video", package="a2summ"))
