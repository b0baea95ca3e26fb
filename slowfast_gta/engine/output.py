"""OUTPUT_DIR until a run is accepted: as it was. A run that is refused leaves nothing there, and changes nothing."""

import contextlib
import logging
import platform
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import torch

from slowfast_gta import distributed
from slowfast_gta.engine.checkpoint.code_version import code_version
from slowfast_gta.engine.lock import lock_output
from slowfast_gta.engine.logging import close_log_file, log_to_file, release_log_file, setup_logging
from slowfast_gta.errors import UserError

Accept = Callable[[], None]
"""Called once everything that could refuse a run has been asked: from then on OUTPUT_DIR is written."""


@contextlib.contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """A folder that is there inside the block. What had to be made for it and is still empty at the end is removed."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()


@contextlib.contextmanager
def run_output(path: Path, on_accept: Callable[[], None]) -> Iterator[Accept]:
    """OUTPUT_DIR for this process, which the main one has for itself: gives the function that accepts the run.

    on_accept: what the main process writes first. log.txt begins with how the run was started, and ends with how it
    ended.
    """
    accepted = False

    def accept() -> None:
        nonlocal accepted
        if not accepted:
            accepted = True
            if distributed.is_main():
                on_accept()
            release_log_file()

    alone = lock_output(path, keep=lambda: accepted) if distributed.is_main() else contextlib.nullcontext()
    with alone:
        setup_logging(path / "log.txt", held=True)
        log_to_file(logging.INFO, start_line())
        try:
            yield accept
        except BaseException as fault:
            if distributed.is_main():
                with contextlib.suppress(OSError):  # a full disk is the fault, or is not to hide it
                    log_to_file(logging.ERROR, f"The run ended: {_ending(fault)}")
            raise
        log_to_file(logging.INFO, "The run is complete.")
        close_log_file()  # what comes now is about several runs


def versions() -> dict[str, str]:
    """Of what computes."""
    return {
        "slowfast_gta": code_version(),
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "PyAV": av.__version__,
    }


def environment() -> dict[str, str | int]:
    """Versions and machine, as results.json has them."""
    facts: dict[str, str | int] = {**versions(), "platform": platform.platform(), "processor": processor_name()}
    facts |= {"threads": torch.get_num_threads(), "processes": distributed.get_world_size()}
    if torch.cuda.is_available():
        facts["GPU"] = torch.cuda.get_device_name()
    return facts


def processor_name() -> str:
    """Its name, where the system says it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def start_line() -> str:
    """The command, the versions of what computes, and the machine."""
    message = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{shlex.join(sys.argv)}\n{message}; on {socket.gethostname()}, {platform.platform()}, in {Path.cwd()}"


def _ending(fault: BaseException) -> str:
    if isinstance(fault, KeyboardInterrupt):
        return "interrupted."
    if isinstance(fault, UserError):
        return str(fault)
    return f"{type(fault).__name__}: {fault}"
