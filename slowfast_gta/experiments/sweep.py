"""Runs on this machine, several at a time: each is tools/run_net.py in a process with its share of the cores.

Cut off anywhere, it goes on: a finished run is not made again, one that was interrupted resumes from its checkpoint.
"""

import contextlib
import ctypes
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from slowfast_gta.config.load import save_config
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.experiments.outcomes import TIMES
from slowfast_gta.experiments.plan import PlannedRun
from slowfast_gta.files import write_whole
from slowfast_gta.processes.parallel import num_cores

logger = logging.getLogger("slowfast_gta")

_LOOK_SEC = 0.2  # between two looks at what is running
_ENDING_SEC = 150.0  # for a run that is asked to end to finish its step and save
_PR_SET_PDEATHSIG = 1
_LAST_LINES = 5  # of a failed run's output


@dataclass(frozen=True)
class Job:
    """How one run is started: `config` is the file that it is given, `log` where its words go."""

    run: PlannedRun
    config: Path
    log: Path

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "slowfast_gta", "run_net", "--cfg", str(self.config)]


def write_jobs(runs: Sequence[PlannedRun], runs_dir: Path) -> list[Job]:
    """The config of each run as a file of its own, so that the command line of a job is short and can be repeated."""
    folder = runs_dir / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [Job(run, folder / f"{run.digest}.yaml", folder / f"{run.digest}.txt") for run in runs]
    for job in jobs:
        save_config(job.run.cfg, job.config)
    return jobs


def prepare_data(runs: Sequence[PlannedRun]) -> None:
    """Make the data sets that make themselves, each once, before two runs would do so at a time."""
    made = set()
    for run in runs:
        cfg = run.cfg
        key = (cfg.TRAIN.DATASET, cfg.DATA.PATH_TO_DATA_DIR, repr(cfg.SYNTHETIC))
        if key not in made:
            made.add(key)
            build_dataset(cfg, "train")


def threads_of_each(num_jobs: int) -> int:
    """Of so many runs at a time, so that all together have no more than there are cores."""
    return max(1, num_cores() // num_jobs)


def run_jobs(jobs: Sequence[Job], num_jobs: int, on_end: Callable[[Job], None]) -> list[Job]:
    """Run all `jobs`, `num_jobs` at a time; those that failed. on_end: called with each that is done.

    Ctrl-C, or being killed, ends what is running, which saves first.
    """
    waiting, running = list(jobs), list[_Process]()
    failed: list[Job] = []
    try:
        while waiting or running:
            while waiting and len(running) < num_jobs:
                running.append(_Process(waiting.pop(0), threads_of_each(num_jobs)))
            time.sleep(_LOOK_SEC)
            for process in [job_process for job_process in running if job_process.has_ended()]:
                running.remove(process)
                if process.succeeded():
                    on_end(process.job)
                else:
                    failed.append(process.job)
                    logger.error("%s", process.fault())
    finally:
        _end_all(running)
    return failed


class _Process:
    """A run that was started."""

    def __init__(self, job: Job, num_threads: int):
        self.job = job
        self._begin = time.perf_counter()
        self._cpu_seconds = 0.0
        with job.log.open("ab") as log:
            self._popen = _start(job.command, num_threads, log)

    def has_ended(self) -> bool:
        before = _cpu_seconds_of_ended()
        ended = self._popen.poll() is not None
        self._cpu_seconds += _cpu_seconds_of_ended() - before  # the system adds those of a child that has been asked
        return ended

    def succeeded(self) -> bool:
        """Whether it did; then its time is kept beside its results."""
        if self._popen.returncode != 0:
            return False
        times = {"seconds": time.perf_counter() - self._begin, "cpu_seconds": self._cpu_seconds}
        rounded = {key: round(value, 1) for key, value in times.items()}
        content = {**rounded, "date": datetime.now(UTC).date().isoformat()}
        write_whole(self.job.run.results_folder / TIMES, json.dumps(content))
        return True

    def fault(self) -> str:
        lines = self.job.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        message = "\n  ".join(lines)
        run = self.job.run
        return (
            f"{run.row}, seed {run.seed}, ended with exit code {self._popen.returncode} ({self.job.log}):\n  {message}"
        )

    def terminate(self) -> None:
        self._popen.terminate()

    def wait(self) -> None:
        try:
            self._popen.wait(_ENDING_SEC)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def _start(command: Sequence[str], num_threads: int, log: IO[bytes]) -> subprocess.Popen:
    threads = {name: str(num_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    package = str(Path(__file__).resolve().parents[2])  # the code of this command, wherever it was started
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **threads, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path},
        start_new_session=True,  # a terminal's Ctrl-C reaches it through this process alone, once
        preexec_fn=_end_with_parent,
    )


def _cpu_seconds_of_ended() -> float:
    """Of all children of this process that have ended, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end_with_parent() -> None:
    """In the new process: be sent a signal when this one is gone, killed perhaps. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_all(running: Sequence[_Process]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        process.wait()
