"""kill -9 at random moments of a small training, started again each time: nothing is lost and nothing comes twice.

    python tests/e2e/faults.py --kills 50 --processes 1 2          (make faults)

Trainings of a few seconds, with checkpoints inside epochs, validation, EMA, dropout and a test at the end, on one or
two processes (gloo), their videos read in the process or by a worker of its own. What is killed, and when, follows from
the seed: any process of a training (main, second, worker, fork server) at any moment, or the writer inside the write of
a checkpoint. The others must end by themselves, with a sentence. The same command is given again until the training is
done; then weights, optimiser, scores and metrics must be those of a training that nothing disturbed, bit for bit.

Trainings are forked from this process, which has imported everything and run nothing, to save the seconds of importing.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import numpy as np
import torch
from miniatures import CFG, TINY, keys, make_ssv2, metrics

from slowfast_gta import files
from slowfast_gta.commands import run_command
from slowfast_gta.engine.checkpoint import checkpoint

PATIENCE_SEC = 100  # for processes whose peer was killed to end by themselves
TRAINING = [
    *(*TINY, "SOLVER.MAX_EPOCH", 8, "TRAIN.EVAL_PERIOD", 2, "TRAIN.CHECKPOINT_PERIOD", 2),
    *("TRAIN.CHECKPOINT_PERIOD_STEPS", 2, "TRAIN.KEEP_CHECKPOINTS", 2, "TRAIN.KEEP_BEST", True),
    *("EMA.ENABLE", True, "EMA.DECAY", 0.9, "LOG_PERIOD", 1, "DIST_TIMEOUT_SEC", 20),
]
# Where in the write of a checkpoint its writer is killed: half of the bytes out; all of them; the file under its name.
IN_A_WRITE = ("half", "written", "renamed")


class Failure(Exception):  # noqa: N818 - what the harness finds
    """A sentence about what did not hold."""


@dataclass
class Run:
    """One start of a training: its main processes, and what they say."""

    log: Path
    mains: list[int]
    codes: dict[int, int] = field(default_factory=dict)

    def poll(self) -> bool:
        """Whether all main processes have ended."""
        for pid in set(self.mains) - set(self.codes):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.codes[pid] = os.waitstatus_to_exitcode(status)
        return len(self.codes) == len(self.mains)

    def processes(self) -> list[int]:
        """The main processes that run, and all that come from them; not git, which says once what code this is."""
        found = [pid for pid in self.mains if pid not in self.codes]
        for pid in found:  # children too, whose turn comes
            found += [child for child in _children(pid) if not _command_line(child).startswith("git ")]
        return found

    def kill(self) -> None:
        for pid in self.processes():
            _kill(pid)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:  # it has ended
        return ""


def _what(pid: int, run: Run) -> str:
    return f"process {run.mains.index(pid)}" if pid in run.mains else "a reader of videos, or their server"


# ------------------------------------------------------------------------------------------------ starting


def start(data: Path, output: Path, num_processes: int, workers: int, death: tuple[str, int] | None = None) -> Run:
    """Fork a training; `death`: (one of IN_A_WRITE, which write), where its writer kills itself."""
    output.mkdir(exist_ok=True)
    where = ("DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", output / "run", "DATA_LOADER.NUM_WORKERS", workers)
    line = ["--cfg", str(CFG), *keys(*TRAINING, *where)]
    if num_processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        line += ["--num_shards", str(num_processes), "--init_method", f"tcp://127.0.0.1:{port}"]
    log = output / f"log_{len(list(output.glob('log_*'))):03d}.txt"
    run = Run(log, [])
    for shard in range(num_processes):
        own = [*line, "--shard_id", str(shard)] if num_processes > 1 else line
        pid = os.fork()
        if pid == 0:
            _be_a_training(own, log, death)
        run.mains.append(pid)
    return run


def _be_a_training(line: list[str], log: Path, death: tuple[str, int] | None) -> None:
    code = 70
    try:
        os.setsid()
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        if death:
            _die_in_a_write(*death)
        code = run_command("run_net", line)
    except BaseException:  # this process must never go back into the harness
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _die_in_a_write(where: str, which: int) -> None:
    """Have this process send itself SIGKILL in its `which`-th write of a checkpoint."""
    count, rename = [0], files.rename_synced

    def dying_rename(temporary, path):
        count[0] += 1
        if count[0] == which and where == "half":
            os.truncate(temporary, temporary.stat().st_size // 2)
        if count[0] == which and where == "renamed":
            temporary.replace(path)
        if count[0] == which:
            _kill(os.getpid())
        rename(temporary, path)

    files.rename_synced = dying_rename


def wait(run: Run, limit_sec: float, seen: Callable[[], None] = lambda: None) -> bool:
    """Wait until all main processes have ended; False where they do not within `limit_sec`."""
    limit = time.monotonic() + limit_sec
    while not run.poll():
        if time.monotonic() > limit:
            return False
        seen()
        time.sleep(0.005)
    return True


# ------------------------------------------------------------------------------------------------ disturbing


def disturb(run: Run, generator: random.Random, delay_sec: float, death: tuple[str, int] | None) -> str | None:
    """Kill a process of `run` after `delay_sec`, or wait until its writer dies its `death`; then wait for the others.

    Returns what was killed, None if the training ended before. Raises Failure where the others do not end, end with a
    traceback, or leave processes behind.
    """
    killed, everybody = None, set()
    if not wait(run, PATIENCE_SEC if death else delay_sec, lambda: everybody.update(run.processes())) and not death:
        there = run.processes()
        # Python restarts its own resource tracker, which does nothing here, and complains.
        victim = generator.choice([pid for pid in there if "resource_tracker" not in _command_line(pid)])
        killed = f"{_what(victim, run)}, of {len(there)}, after {delay_sec:.2f} s"
        _kill(victim)
        wait(run, PATIENCE_SEC, lambda: everybody.update(run.processes()))
    elif death and -signal.SIGKILL in run.codes.values():
        killed = f"the writer, inside the write of a checkpoint ({death[0]})"
    if not run.poll():
        run.kill()
        raise Failure(f"killed: {killed}; and {PATIENCE_SEC} s later others still run; see {run.log}")
    check_output(run)
    limit = time.monotonic() + 30
    while left := [pid for pid in everybody if _is_alive(pid)]:
        if time.monotonic() > limit:
            raise Failure(f"processes {left} were left behind by a run; see {run.log}")
        time.sleep(0.01)
    return killed


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def check_output(run: Run) -> None:
    """Every process ended well, by SIGKILL, or with a sentence."""
    output = run.log.read_text(errors="replace")
    if "Traceback" in output or set(run.codes.values()) - {0, 1, -signal.SIGKILL}:
        raise Failure(f"exit codes {sorted(run.codes.values())}, and the output was:\n{output[-3000:]}")


# ------------------------------------------------------------------------------------------------ comparing


def outcome(output: Path) -> dict:
    """All that a training leaves and that must be the same: state, scores, metrics without speeds."""
    content = torch.load(checkpoint.list_checkpoints(output / "run")[-1][1], weights_only=True)
    del content["cfg"]
    best = torch.load(checkpoint.checkpoint_dir(output / "run") / checkpoint.BEST, weights_only=True)
    rows = metrics(output / "run")
    tests = [row for row in rows if row["kind"] == "test"]
    speeds = ("clips_per_sec", "data_share", "memory_gib")
    rows = [{key: value for key, value in row.items() if key not in speeds} for row in rows if row["kind"] != "test"]
    with np.load(output / "run" / "scores.npz") as scores:
        arrays = {name: torch.from_numpy(scores[name]) for name in ("scores", "label")}
    results = json.loads((output / "run" / "results.json").read_text())
    return {
        "checkpoint": content,
        "best": best["epoch"],
        "scores": arrays,
        "top1": results["top1"],
        "metrics": rows,
        "test": tests[-1],
    }


def differences(found: object, wanted: object, where: str = "") -> list[str]:
    """Where two outcomes are not the same, bit by bit, however deep."""
    if isinstance(wanted, torch.Tensor):
        return [] if torch.equal(found, wanted) else [where]
    if isinstance(wanted, dict) and isinstance(found, dict):
        parts = [differences(found.get(key), wanted.get(key), f"{where}/{key}") for key in {**wanted, **found}]
        return [name for part in parts for name in part]
    if isinstance(wanted, list | tuple) and len(found) == len(wanted):
        parts = [differences(*pair, f"{where}/{index}") for index, pair in enumerate(zip(found, wanted, strict=True))]
        return [name for part in parts for name in part]
    return [] if found == wanted else [f"{where}: {str(found)[:60]} and not {str(wanted)[:60]}"]


def undisturbed(data: Path, output: Path, num_processes: int, workers: int) -> tuple[dict, float]:
    """The outcome of a training that nothing disturbs, and the seconds that it took."""
    begin = time.monotonic()
    run = start(data, output, num_processes, workers)
    if not wait(run, PATIENCE_SEC) or any(run.codes.values()):
        run.kill()
        raise Failure(f"a training that nothing disturbed did not end well:\n{run.log.read_text()[-3000:]}")
    return outcome(output), time.monotonic() - begin


def run_faults(
    folder: Path, data: Path, num_processes: int, num_kills: int, seed: int, workers: Sequence[int], writes: float
) -> str:
    """`num_kills` kills over as many trainings as that takes; a sentence about them. Raises Failure.

    `workers`: the numbers of readers that each start chooses among; `writes`: the part of the kills inside a write.
    """
    generator = random.Random(f"{seed} {num_processes}")
    wanted, seconds = {}, {}
    for number in sorted(set(workers)):
        output = folder / f"undisturbed_{number}"
        found, seconds[number] = undisturbed(data, output, num_processes, number)
        wanted = wanted or found
        check_same(found, wanted, output)
    num_trainings = kills = starts = 0
    while kills < num_kills:
        num_trainings += 1
        output, finished = folder / f"training_{num_trainings}", False
        while not finished:
            readers = generator.choice(workers)
            in_a_write = generator.random() < writes
            death = (generator.choice(IN_A_WRITE), generator.randint(1, 4)) if in_a_write else None
            delay = generator.uniform(0, 0.7 * seconds[readers])
            starts += 1
            if kills == num_kills:
                death, delay = None, PATIENCE_SEC
            run = start(data, output, num_processes, readers, death)
            killed = disturb(run, generator, delay, death)
            finished = not any(run.codes.values())
            if killed:
                kills += 1
                print(f"  kill {kills}/{num_kills}: {killed}", flush=True)
            elif not finished:
                raise Failure(f"a training ended by itself, with {run.codes}:\n{run.log.read_text()[-3000:]}")
        check_same(outcome(output), wanted, output)
        shutil.rmtree(output)
    return (
        f"{num_processes} process{'es' * (num_processes > 1)}: {kills} kills in {starts} starts of {num_trainings} "
        f"trainings of {len([row for row in wanted['metrics'] if row['kind'] == 'train'])} steps; every one ended with "
        "the weights, optimiser, scores and metrics of the undisturbed one, bit for bit."
    )


def check_same(found: dict, wanted: dict, output: Path) -> None:
    """Raises Failure where two outcomes differ."""
    if names := differences(found, wanted):
        raise Failure(f"{output} differs from the undisturbed training in {len(names)} places: {'; '.join(names[:5])}")


def main() -> int:
    """Exit code 0 when every disturbed training ended as the undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 0, 1], help="each start chooses among these")
    parser.add_argument("--writes", type=float, default=0.3, help="part of the kills that are inside a write")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults_"))
    begin = time.monotonic()
    try:
        data = make_ssv2(folder / "data")
        for num_processes in args.processes:
            part = folder / f"on_{num_processes}"
            part.mkdir()
            print(f"{args.kills} kills, {num_processes} process{'es' * (num_processes > 1)}, seed {args.seed}")
            print(run_faults(part, data, num_processes, args.kills, args.seed, args.workers, args.writes), flush=True)
    except Failure as fault:
        print(f"FAILED: {fault}\nEverything is left in {folder}.", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"{time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
