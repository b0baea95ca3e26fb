"""A job on every process of a training: in this process, or in new ones of this machine."""

import contextlib
import itertools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import wait

from slowfast_gta.distributed.launch_context import LaunchConfig, LaunchContext
from slowfast_gta.distributed.member import end_member, run_member
from slowfast_gta.errors import ConfigError, Interrupted, RunError

logger = logging.getLogger("slowfast_gta")

_ENDING_SEC = 30.0  # that the processes of a machine have to end when one has failed

_KILLED_BY = {
    signal.SIGKILL: ", usually because the memory was full",
    # NCCL's own thread ends its process so: no Python of ours runs any more.
    signal.SIGABRT: ", as NCCL does when a process waits longer than DIST_WAIT_SEC for another, or a GPU fails; "
    "the reason is above",
}

_launches = itertools.count()


def launch(
    job: Callable[..., object], args: tuple, context: LaunchContext, num_local: int, config: LaunchConfig
) -> None:
    """Run job(*args) on every process that `context` stands for: in this one if it is the only one, else in new ones.

    num_local: processes of a machine, where `context` is one. All end together: the first fault, of whichever process,
    is what each of them reports and exits with.
    """
    contexts = context.processes(num_local)
    config = replace(config, number=next(_launches))
    if len(contexts) == 1:
        run_member(contexts[0], job, args, config)
    else:
        _spawn(contexts, job, args, config)


def _spawn(contexts: list[LaunchContext], job: Callable, args: tuple, config: LaunchConfig) -> None:
    """Run the job as each of `contexts`, in new processes, and wait for all. Raises what the first failure means."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_child, args=(context, job, args, config)) for context in contexts]
    with _forwarding(processes):
        for process in processes:
            process.start()
        failed = _wait_for(processes)
    if failed is None:
        return
    code = processes[failed].exitcode
    if code == Interrupted.exit_code:
        raise Interrupted("Stopped; what was saved is listed above.")
    name = contexts[failed].name.capitalize()
    if code is not None and code < 0:
        number = signal.Signals(-code)
        raise RunError(f"{name} was killed by {number.name}{_KILLED_BY.get(number, '')}.")
    kind = ConfigError if code == ConfigError.exit_code else RunError
    raise kind(f"{name} ended with exit code {code}; the reason is above.")


def _child(context: LaunchContext, job: Callable, args: tuple, config: LaunchConfig) -> None:
    os.setpgrp()  # Ctrl-C and SLURM's signals reach the parent alone, which passes each on once
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    code = 0
    try:
        run_member(context, job, args, config)
    except Interrupted as stop:
        if context.is_main:
            logger.warning("%s", stop)
        code = stop.exit_code
    end_member(code)


def _stop_with_parent() -> None:
    """Where the parent is killed, this process saves and stops, as after SIGTERM."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "_child runs in a process of ours"
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_for(processes: list) -> int | None:
    """The number of the first process that failed, when all have ended; None where all went well."""
    failed, running, end = None, dict(enumerate(processes)), None
    while running:
        patience = None if end is None else max(0.0, end - time.monotonic())
        wait([process.sentinel for process in running.values()], patience)
        for number, process in list(running.items()):
            if process.exitcode is not None:
                del running[number]
                if process.exitcode != 0 and failed is None:
                    failed, end = number, time.monotonic() + _ENDING_SEC
        if end is not None and time.monotonic() >= end:
            for process in running.values():
                process.kill()
    return failed


@contextlib.contextmanager
def _forwarding(processes: list) -> Iterator[None]:
    """Inside `with`, signals that ask to stop go on to `processes`, which save and end by themselves."""

    def forward(number: int, frame: object) -> None:
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, number)

    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    previous = {number: signal.signal(number, forward) for number in stops}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
