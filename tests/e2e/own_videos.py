"""From a folder of videos to predictions on a CPU: the commands of docs/your-own-videos.md, word for word.

    python tests/e2e/own_videos.py --seeds 1 2 3                   (make own-videos)

Each seed has made-up videos of its own, 40 to learn from and 100 others to answer; nothing else changes. What is
measured: the share of the 100 that was answered right, beside what guessing reaches in 95 of 100 cases; wall time; the
memory of each command with all that comes from it. Exit code 1 where a command fails, where the answers are no better
than guesses, or where the memory is 4 GB or more. The time is printed: it is the machine's, and that of its other work.
"""

import argparse
import csv
import os
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "your-own-videos.md"
MOST_GB = 4.0
_POLL_SEC = 0.1


@dataclass
class Outcome:
    """What following the page came to. `peak_gb` counts what processes share once for each: an upper bound.

    `seconds`: of each command; `cpu_seconds`: of all of them, what they would take on one core that is theirs alone."""

    num_videos: int
    num_correct: int
    num_classes: int
    seconds: dict[str, float]
    cpu_seconds: float
    peak_gb: float

    @property
    def bound(self) -> float:
        """The part that guessing stays below in 95 of 100 cases."""
        chance = 1 / self.num_classes
        return chance + 1.645 * (chance * (1 - chance) / self.num_videos) ** 0.5

    @property
    def holds(self) -> bool:
        return self.num_correct / self.num_videos > self.bound and self.peak_gb < MOST_GB


def commands_of_the_page() -> list[str]:
    """The block of the page that begins with made-up videos, a command a line."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (block,) = [block for block in blocks if "prepare_data.py made-up" in block]
    return block.splitlines()


def follow(seed: int, folder: Path) -> Outcome:
    """Give the page's commands in `folder`, with `seed` - 1 added to the seeds of its made-up videos, 1 and 1001."""
    seconds, cpu_seconds, peak_gb = {}, 0.0, 0.0
    for line in commands_of_the_page():
        line = re.sub(r"--seed (\d+)$", lambda found: f"--seed {int(found[1]) - 1 + seed}", line)
        begin = time.perf_counter()
        of_this, gb = _run(line, folder)
        cpu_seconds, peak_gb = cpu_seconds + of_this, max(peak_gb, gb)
        seconds[line] = time.perf_counter() - begin
    with (folder / "answers.csv").open(newline="", encoding="utf-8") as file:
        answers = [(Path(row["video"]).parent.name, row["class"]) for row in csv.DictReader(file)]
    classes = {name for name, _ in answers}
    num_correct = sum(name == answer for name, answer in answers)
    return Outcome(len(answers), num_correct, len(classes), seconds, cpu_seconds, peak_gb)


def _run(line: str, folder: Path) -> tuple[float, float]:
    """One command, with the page's python and tools being these: the CPU time that it took, in seconds, and the most
    memory that it had, in GB, both with all that came from it."""
    _, tool, *words = shlex.split(line)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (folder / "output.txt").open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / tool), *words], cwd=folder, env=environment, stdout=output, stderr=output
        )
        peak, cpu_seconds = 0, {}
        while process.poll() is None:
            tree = _tree(process.pid)
            cpu_seconds |= {
                pid: seconds for pid in tree if (seconds := _cpu_seconds(pid))
            }  # an ended one keeps its last
            peak = max(peak, sum(map(_resident_bytes, tree)))
            time.sleep(_POLL_SEC)
    if process.returncode:
        raise SystemExit(f"{line}\nended with {process.returncode}:\n{(folder / 'output.txt').read_text()[-3000:]}")
    return sum(cpu_seconds.values()), peak / 1e9


def _tree(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:  # it has ended
            continue
    return found


def _cpu_seconds(pid: int) -> float:
    """What a process has had of the CPU, without those that came from it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):  # it has ended
        return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="from 1 to 999")
    parser.add_argument("--output", type=Path, metavar="DIR", help="a folder to keep what is made in")
    args = parser.parse_args(arguments)
    holds = True
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (args.output or Path(temporary)) / f"seed_{seed}"
            folder.mkdir(parents=True)
            outcome = follow(seed, folder)
        holds &= outcome.holds
        print(
            f"seed {seed}: {outcome.num_correct} of {outcome.num_videos} right, guessing stays below "
            f"{100 * outcome.bound:.1f} %; {sum(outcome.seconds.values()):.0f} s, {outcome.cpu_seconds:.0f} s of "
            f"CPU time, {outcome.peak_gb:.2f} GB at most",
            flush=True,
        )
        for line, seconds in outcome.seconds.items():
            print(f"  {seconds:6.1f} s  {line}", flush=True)
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
