"""One process of a training: rendezvous, process group, its job, and an end together with all the others."""

import atexit
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable

import torch

from slowfast_gta.distributed.control_channel import BEAT_SEC, ControlChannel
from slowfast_gta.distributed.launch_context import LaunchConfig, LaunchContext
from slowfast_gta.distributed.process_group import join_group, unconnected
from slowfast_gta.distributed.rendezvous import GroupStore, RendezvousError, rendezvous
from slowfast_gta.errors import DISK_ERRNOS, Interrupted, RunError, UserError, counted

logger = logging.getLogger("slowfast_gta")

# What gloo and NCCL report where the process at the other end is gone, and where it lets them wait for too long.
_LOST_PEER = re.compile(r"Connection (reset|closed|refused)|Broken pipe|remote process exited|NCCL comm\w+ was aborted")
_TOO_LATE = re.compile(r"[Tt]imed? ?out")
_LAST_WORDS_SEC = 10.0  # that another process's reason may take to get here

_left = threading.Event()  # this process has been one of a group


def run_member(context: LaunchContext, job: Callable, args: tuple, config: LaunchConfig) -> None:
    """Run job(*args) as this process; ends this process where it is one of several and any of them fails."""
    if config.on_gpu:
        torch.cuda.set_device(_gpu_of(context))
    if context.world_size == 1:
        job(*args)
        return
    channel = None
    try:
        channel, store = rendezvous(context, config, _own_gpu(config))
        context = channel.context  # with the address where process 0 listens
        channel.watch(lambda fault: _end_with(channel, fault))
        _join(context, channel, store, config)
        job(*args)
    except Interrupted:
        _leave(channel)
        if context.is_main:
            raise
        raise Interrupted("Stopped; process 0 reports where it saved.") from None
    except BaseException as fault:
        _end_because_of(fault, channel, context)
    _leave(channel)


def _gpu_of(context: LaunchContext) -> int:
    """The number, on this machine, of this process's GPU; each may be shown only its own."""
    present = torch.cuda.device_count()
    if 1 < present <= context.local_rank:
        raise RunError(
            f"Process {context.rank} is number {context.local_rank} on its machine, where PyTorch sees "
            f"{counted(present, 'GPU')}. Start one process for each GPU."
        )
    return context.local_rank if present > 1 else 0


def _own_gpu(config: LaunchConfig) -> str:
    """The UUID of this process's GPU, where it must be its own: NCCL connects no two on one."""
    if not config.on_gpu or config.chosen_backend != "nccl":
        return ""
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)


def _join(context: LaunchContext, channel: ControlChannel, store: GroupStore, config: LaunchConfig) -> None:
    """The process group, in config.timeout_sec: torch itself may try for very long."""
    backend = config.chosen_backend

    def give_up() -> None:
        fault = unconnected(context, backend, f"within {config.timeout_sec:.0f} s")
        _end_because_of(fault, channel, context)

    alarm = threading.Timer(config.timeout_sec, give_up)
    alarm.daemon = True
    alarm.start()
    join_group(context, store, backend, config.wait_sec)
    alarm.cancel()


def _leave(channel: ControlChannel | None) -> None:
    if channel is not None:
        channel.close()
        torch.distributed.destroy_process_group()
        _left.set()


# --------------------------------------------------------------------------------------------- how a process ends


def _end_with(channel: ControlChannel, fault: dict) -> None:
    """End this process because another one failed. Runs in the watching thread: the main one may wait for ever."""
    who = channel.names[fault["rank"]]
    _report(channel.context, f"{who} ended this run: {fault['reason']}")
    _exit(fault["exit_code"])


def _end_because_of(fault: BaseException, channel: ControlChannel | None, context: LaunchContext) -> None:
    """End this process because of its own `fault`, and send it to the others; of two faults the first one counts."""
    _ignore_signals()
    reason, code, traceback = _reason(fault)
    if channel is not None:
        if isinstance(fault, KeyboardInterrupt):
            time.sleep(2 * BEAT_SEC)  # as below: it may be torchrun or srun, which end all when one has failed
        if isinstance(fault, RuntimeError) and _LOST_PEER.search(str(fault)):
            time.sleep(_LAST_WORDS_SEC)  # the watching thread knows more, and ends this process
        if not channel.report(reason, code):
            time.sleep(_LAST_WORDS_SEC)
    who = "" if isinstance(fault, RendezvousError) else f"{channel.names[context.rank] if channel else context.name}: "
    _report(context, f"{who}{reason}", traceback)
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
    if isinstance(fault, UserError):
        return str(fault), fault.exit_code, None
    if isinstance(fault, RuntimeError):
        if _LOST_PEER.search(str(fault)):
            return "The connection to another process was lost.", 1, None
        if _TOO_LATE.search(str(fault)):
            return "Timed out (DIST_WAIT_SEC) in a collective: another rank did not reach it.", 1, None
    if isinstance(fault, OSError) and fault.strerror:
        reason = f"{fault.strerror}: {fault.filename or 'no file is named'}."
        return reason, 1, None if fault.errno in DISK_ERRNOS else fault
    return f"{type(fault).__name__}: {fault}", 1, fault


def _report(context: LaunchContext, message: str, fault: BaseException | None = None) -> None:
    """Into the log of this process, and on its console; processes of one machine that share one print it once."""
    has_log = logger.hasHandlers()  # not where it fails before it is set up
    if has_log:
        logger.error("%s", message, exc_info=fault)
    if not (context.is_main and has_log) and (fault or context.local_rank == 0 or not context.is_machine):
        print(message, file=sys.stderr)
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
