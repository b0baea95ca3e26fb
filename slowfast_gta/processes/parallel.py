"""Doing many independent jobs on all cores, in processes that end when the main one does, however it ends."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from slowfast_gta.errors import DataError

_JOBS_WORTH_A_PROCESS = 64  # fewer are done sooner than another process starts


def on_all_cores(function: Callable, jobs: Sequence, num_processes: int | None = None) -> Iterator:
    """What `function` returns for each of `jobs`, in the order they are done; `num_processes` None: as many as pay.

    Function, jobs and results travel between processes. Raises DataError when a process dies.
    """
    if num_processes is None:
        num_processes = min(num_cores(), len(jobs) // _JOBS_WORTH_A_PROCESS)
    return _in_processes(function, jobs, num_processes) if num_processes > 1 else map(function, jobs)


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_processes(function: Callable, jobs: Sequence, num_processes: int) -> Iterator:
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, BaseProcess] = {}
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is the main process's business
    try:
        for first in range(num_processes):
            reports, report = context.Pipe(duplex=False)
            workers[reports] = context.Process(target=_work, args=(function, jobs[first::num_processes], report))
            workers[reports].start()
            report.close()  # the worker holds the only one, so that its end is seen here
    finally:
        signal.signal(signal.SIGINT, previous)
    running = list(workers)
    try:
        while running:
            ready: Any  # of `running`: wait() may be given other things too
            for ready in wait(running):
                try:
                    yield ready.recv()
                except EOFError:
                    running.remove(ready)
                    _check_ended_well(workers[ready])
    finally:
        for worker in workers.values():
            worker.terminate()
            worker.join()


def _work(function: Callable, jobs: Sequence, report: Connection) -> None:
    """In a worker: do `jobs` and report on each; end when nobody listens any more."""
    for job in jobs:
        result = function(job)
        try:
            report.send(result)
        except BrokenPipeError:
            return


def _check_ended_well(worker: BaseProcess) -> None:
    worker.join()
    if worker.exitcode != 0:
        raise DataError(
            f"A process that did some of the work ended with exit code {worker.exitcode} before it was done "
            "(-9: mostly, the memory was full). The same command goes on from what is done."
        )
