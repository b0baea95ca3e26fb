"""Running a job on every process of a training, so that they end together and say why."""

import atexit
import itertools
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from slowfast_gta.distributed import group
from slowfast_gta.distributed.heartbeat import BEAT_SEC, ControlChannel
from slowfast_gta.distributed.launch_context import LaunchContext
from slowfast_gta.distributed.rendezvous import RendezvousError, rendezvous
from slowfast_gta.errors import DISK_ERRNOS, ConfigError, Interrupted, RunError, UserError

logger = logging.getLogger("slowfast_gta")

# What gloo and NCCL say where the process at the other end is gone, and where it lets them wait for too long.
_LOST_PEER = re.compile(r"Connection (reset|closed|refused)|Broken pipe|remote process exited|NCCL comm\w+ was aborted")
_TOO_LATE = re.compile(r"[Tt]imed? ?out")
_LAST_WORDS_SEC = 10.0  # that another process's reason may take to get here
_ENDING_SEC = 30.0  # that the processes of a machine have to end when one has failed

_KILLED_BY = {
    signal.SIGKILL: ", mostly because the memory was full",
    # NCCL's own thread ends its process so: no Python of ours runs any more.
    signal.SIGABRT: ", as NCCL does where one process waits longer than DIST_WAIT_SEC for another, or a GPU fails; its "
    "reason is above",
}

_launches = itertools.count()
_left = threading.Event()  # this process has been one of a group


@dataclass(frozen=True)
class LaunchConfig:
    """How processes work together; equal on all of them."""

    backend: str = "auto"  # auto | nccl | gloo
    on_gpu: bool = False
    folder: Path = Path()  # that all of them share
    timeout_sec: float = 50.0  # for coming together, and for a process that says nothing
    wait_sec: float = 1800.0  # that a process may keep the others waiting
    must_match: dict = field(default_factory=dict)  # what all must have the same of, by name (rendezvous.rendezvous)
    number: int = 0  # of this launch among those of the same command

    @property
    def chosen_backend(self) -> str:
        """The backend that auto stands for."""
        return ("nccl" if self.on_gpu else "gloo") if self.backend == "auto" else self.backend


def launch(job: Callable[..., object], args: tuple, place: LaunchContext, num_local: int, terms: LaunchConfig) -> None:
    """Run job(*args) on every process that `place` stands for: in this one if it is the only one, else in new ones.

    num_local: processes of a machine, where `place` is one. All end together: the first fault, of whichever process,
    is what each of them says and exits with.
    """
    processes = place.processes(num_local)
    terms = replace(terms, number=next(_launches))
    if len(processes) == 1:
        _run(processes[0], job, args, terms)
        return
    if place.num_machines == 1:
        processes = [replace(one, port=port) for port in [group.free_port()] for one in processes]
    _spawn(processes, job, args, terms)


def _run(place: LaunchContext, job: Callable, args: tuple, terms: LaunchConfig) -> None:
    """Run the job as the process at `place`; ends this process where it is one of several and any of them fails."""
    if terms.on_gpu:
        torch.cuda.set_device(_gpu_of(place))
    if place.world_size == 1:
        job(*args)
        return
    meeting = None
    try:
        if place.agent_port and not place.port:
            host, port = group.find_agent(place, terms.number, terms.timeout_sec)
            place = replace(place, host=host, port=port)
        payload = group.open_store(place)
        meeting, payload = rendezvous(
            place, terms.must_match, payload, terms.folder, terms.timeout_sec, terms.number, _own_gpu(terms)
        )
        meeting.watch(lambda fault: _end_with(meeting, fault))
        _join(place, meeting, payload, terms)
        job(*args)
    except Interrupted:
        _leave(meeting)
        if place.is_main:
            raise
        raise Interrupted("Stopped; process 0 says where it saved.") from None
    except BaseException as fault:
        _end_because_of(fault, meeting, place)
    _leave(meeting)


def _gpu_of(place: LaunchContext) -> int:
    """The number, on this machine, of this process's GPU; each may be shown only its own."""
    present = torch.cuda.device_count()
    if 1 < present <= place.local_rank:
        raise RunError(
            f"Process {place.rank} is number {place.local_rank} on its machine, where PyTorch sees {present} GPUs. "
            "Start one process for each GPU."
        )
    return place.local_rank if present > 1 else 0


def _own_gpu(terms: LaunchConfig) -> str:
    """The UUID of this process's GPU, where it must be its own: NCCL connects no two on one."""
    if not terms.on_gpu or terms.chosen_backend != "nccl":
        return ""
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)


def _join(place: LaunchContext, meeting: ControlChannel, payload: dict, terms: LaunchConfig) -> None:
    """The process group, in terms.timeout_sec: torch itself may try for very long."""
    backend = terms.chosen_backend

    def give_up() -> None:
        _end_because_of(group.unconnected(place, backend, f"within {terms.timeout_sec:.0f} s"), meeting, place)

    alarm = threading.Timer(terms.timeout_sec, give_up)
    alarm.daemon = True
    alarm.start()
    group.join_group(place, meeting, payload, backend, terms.wait_sec)
    alarm.cancel()


def _leave(meeting: ControlChannel | None) -> None:
    if meeting is not None:
        meeting.close()
        group.leave_group()
        _left.set()


# --------------------------------------------------------------------------------------------- how a process ends


def _end_with(meeting: ControlChannel, fault: dict) -> None:
    """End this process because another one failed. Runs in the watching thread: the main one may wait for ever."""
    who = meeting.names[fault["rank"]]
    _tell(meeting.place, f"{who} ended this run: {fault['reason']}")
    _exit(fault["exit_code"])


def _end_because_of(fault: BaseException, meeting: ControlChannel | None, place: LaunchContext) -> None:
    """End this process because of its own `fault`, and tell the others; of two faults the first one is told."""
    _ignore_signals()
    reason, code, traceback = _reason(fault)
    if meeting is not None:
        if isinstance(fault, KeyboardInterrupt):
            time.sleep(2 * BEAT_SEC)  # as below: it may be torchrun or srun, which end all when one has failed
        if isinstance(fault, RuntimeError) and _LOST_PEER.search(str(fault)):
            time.sleep(_LAST_WORDS_SEC)  # the watching thread knows more, and ends this process
        if not meeting.report(reason, code):
            time.sleep(_LAST_WORDS_SEC)
    _tell(place, f"{'' if isinstance(fault, RendezvousError) else _who(meeting, place)}{reason}", traceback)
    _exit(code)


def _ignore_signals() -> None:
    """This process ends by itself in a moment: who ends it meanwhile, since another failed, would cost the reason."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)


def _reason(fault: BaseException) -> tuple[str, int, BaseException | None]:
    """A sentence for `fault`, the exit code, and what a traceback should be shown of."""
    if isinstance(fault, KeyboardInterrupt):
        return "It was interrupted.", Interrupted.exit_code, None
    if isinstance(fault, RuntimeError) and not isinstance(fault, UserError):
        if _LOST_PEER.search(str(fault)):
            return "The connection to another process broke.", 1, None
        if _TOO_LATE.search(str(fault)):
            return "Timed out (DIST_WAIT_SEC) in a collective: another rank did not reach it.", 1, None
    if isinstance(fault, UserError):
        return str(fault), fault.exit_code, None
    if isinstance(fault, OSError) and fault.strerror:
        return (
            f"{fault.strerror}: {fault.filename or 'no file is named'}.",
            1,
            None if fault.errno in DISK_ERRNOS else fault,
        )
    return f"{type(fault).__name__}: {fault}", 1, fault


def _who(meeting: ControlChannel | None, place: LaunchContext) -> str:
    return f"{meeting.names[place.rank] if meeting else f'process {place.rank} of {place.world_size}'}: "


def _tell(place: LaunchContext, sentence: str, fault: BaseException | None = None) -> None:
    """Into the log of this process, and on its console; processes of one machine that share one say it once."""
    has_log = logger.hasHandlers()  # not where it fails before it is set up
    if has_log:
        logger.error("%s", sentence, exc_info=fault)
    if not (place.is_main and has_log) and (fault or place.local_rank == 0 or not place.is_machine):
        print(sentence, file=sys.stderr)
        if fault is not None:
            sys.excepthook(type(fault), fault, fault.__traceback__)


def end_member(code: int) -> None:
    """End this process in order, where it was one of a group; nothing elsewhere.

    DistributedDataParallel leaves gloo's threads behind (seen in torch 2.13, after destroy_process_group too); where
    they outlive what C++ takes down last, they abort the process, and a run that went well ends with SIGABRT.
    """
    if _left.is_set():
        atexit._run_exitfuncs()
        _exit(code)


def _exit(code: int) -> None:
    """At once: what an orderly end has to do, in threads and in backends, may wait for a process that is gone."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# ----------------------------------------------------------------------------------- the processes of one machine


def _spawn(places: list[LaunchContext], job: Callable, args: tuple, terms: LaunchConfig) -> None:
    """Run the job at `places`, each in a new process, and wait for all. Raises what the first that fails stands for."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_child, args=(place, job, args, terms)) for place in places]
    with _Forwarding(processes):
        for process in processes:
            process.start()
        failed = _wait_for(processes)
    if failed is None:
        return
    place, code = places[failed], processes[failed].exitcode
    if code == Interrupted.exit_code:
        raise Interrupted("Stopped; what was saved is said above.")
    name = f"Process {place.rank} of {place.world_size}"
    if code is not None and code < 0:
        number = signal.Signals(-code)
        raise RunError(f"{name} was killed by {number.name}{_KILLED_BY.get(number, '')}.")
    kind = ConfigError if code == ConfigError.exit_code else RunError
    raise kind(f"{name} ended with exit code {code}; its reason is above.")


def _child(place: LaunchContext, job: Callable, args: tuple, terms: LaunchConfig) -> None:
    os.setpgrp()  # Ctrl-C and SLURM's signals reach the parent alone, which passes each on once
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    code = 0
    try:
        _run(place, job, args, terms)
    except Interrupted as stop:
        if place.is_main:
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


class _Forwarding:
    """Inside `with`, signals that ask to stop go on to `processes`, which save and end by themselves."""

    def __init__(self, processes: list):
        self._processes = processes
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            self._previous[number] = signal.signal(number, self._forward)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _forward(self, number: int, frame: object) -> None:
        for process in self._processes:
            if process.is_alive():
                os.kill(process.pid, number)
