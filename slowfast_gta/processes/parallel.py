"""Doing many independent jobs on all cores, in processes that end when the main one does, however it ends."""

import math
import os
from collections.abc import Callable, Iterator, Sequence

from slowfast_gta.errors import DataError
from slowfast_gta.processes.isolated import Lost, in_isolation

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
    for _, result in in_isolation(function, jobs, num_processes, timeout_sec=math.inf):
        if isinstance(result, Lost):
            raise DataError(f"Some of the work failed: {result}. The same command resumes it.")
        yield result
