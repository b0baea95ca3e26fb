"""The commands. Each module has `main(arguments) -> int`; tools/NAME.py and `python -m slowfast_gta NAME` call it.

What a user can do wrong ends here as one sentence on stderr and an exit code: 0 done, 1 the work failed, 2 wrong
usage or config, 130 interrupted.
"""

import difflib
import errno
import importlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from slowfast_gta.errors import DISK_ERRNOS, Interrupted, RunError, UserError

LONGEST_TMPDIR = 70
"""Bytes; multiprocessing and torch put up to 36 behind it."""

COMMANDS = {
    "run_net": "train and test what a config describes",
    "predict": "the five most likely classes of any video file",
    "explain": "pictures of what a network does with a clip: attention, matrices, Grad-CAM",
    "extract_features": "rows of features over time, with their times, of any number of videos",
    "export": "a network as one file (ONNX, torch.export) for people without this package",
    "report": "one HTML page of one or several runs",
    "annotate": "draw the classes and their scores over time on a video or stream",
    "ensemble": "average the scores of runs that tested the same videos",
    "check_weights": "check whether a weights file fits the network of a config",
    "check_data": "find what is wrong with a data set: lists, videos, splits",
    "complexity": "multiply-adds, parameters and memory of a config's network",
    "benchmark": "how fast a network is, and the reading of videos, against a reference implementation",
    "prepare_data": "lists from folders of videos, smaller videos, frames, lists for other codebases",
    "compare": "run the rows of a table with several seeds, and report which differences are significant",
    "submit": "submit a training to a SLURM cluster",
    "demo": "make videos, train R2D and R2D+GTA on them, compare",
}

_FLAGS = {"--list": "the configs that come with it", "--version": "which version this is"}

_FREE_SPACE = "Free space, or choose another OUTPUT_DIR"
_OTHER_NAME = "A file or folder of that name already exists: choose another OUTPUT_DIR, or --output"
_NO_PLACE = "Nothing can be read or written there: choose another path"
_CANNOT_BE_WRITTEN = {
    **dict.fromkeys(DISK_ERRNOS, _FREE_SPACE),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), _OTHER_NAME),
    **dict.fromkeys((errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG), _NO_PLACE),
}


def run_command(name: str, arguments: Sequence[str] | None = None, package: str = "slowfast_gta.commands") -> int:
    """Run the command `name` with `arguments` (the command line's, if None); returns the exit code.

    package: where the module of the command is; a project has its own. A process that was one of several ends here.
    """
    code = _exit_code(lambda: _run_command(name, sys.argv[1:] if arguments is None else list(arguments), package))
    if "slowfast_gta.distributed" in sys.modules:
        from slowfast_gta.distributed import end_member

        end_member(code)
    return code


def _run_command(name: str, arguments: list[str], package: str) -> int:
    # Before torch is imported: threads that wait then sleep instead of spinning. On a machine with anything else to do
    # (our own readers of videos, to begin with), spinning makes a training step up to ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What torch's C++ warns of, with its stack, where another process is gone: distributed/member.py reports it.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Of processes that were killed; for ours there is a message.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    _interrupt_at_warnings()
    shorten_tmpdir()
    if arguments and arguments[0] in _FLAGS:
        return _print_flag(arguments[0])
    return importlib.import_module(f"{package}.{name}").main(arguments)


def _exit_code(work: Callable[[], int]) -> int:
    """What work() returns; what a user did wrong is printed as a sentence, and has an exit code."""
    open_standard_streams()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no text
    try:
        code = work()
        sys.stdout.flush()  # here, where it is known what to do if nobody reads it
        return code
    except Interrupted as stop:
        print(f"{stop} The same command resumes from there.", file=sys.stderr)
        return stop.exit_code
    except UserError as fault:
        from slowfast_gta.config.arguments import as_called

        print(f"error: {as_called(str(fault))}", file=sys.stderr)
        return fault.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return Interrupted.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; Python would complain about it at exit
        return 1
    except OSError as fault:
        if fault.errno not in _CANNOT_BE_WRITTEN:
            raise
        what = f": {fault.filename}" if fault.filename else ""
        print(f"error: {fault.strerror}{what}. {_CANNOT_BE_WRITTEN[fault.errno]}.", file=sys.stderr)
        return 1


def open_standard_streams() -> None:
    """Put /dev/null where whoever started this has closed one (2>&-): the next file to be opened would get its
    number, and what is meant for people would be written into it."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)  # the lowest that is free
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - as long as the process


def shorten_tmpdir() -> None:
    """Processes talk through sockets in TMPDIR, whose whole path Unix limits to 107 bytes: /tmp, where it is too long.

    Raises RunError where /tmp cannot be used.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) <= LONGEST_TMPDIR:
        return
    message = f"TMPDIR, {folder}, is too long for the sockets of processes (at most {LONGEST_TMPDIR} bytes)"
    short = Path("/tmp")
    if not os.access(short, os.W_OK | os.X_OK):
        raise RunError(f"{message}, and nothing can be written in {short}. Set TMPDIR to a shorter path.")
    os.environ["TMPDIR"] = tempfile.tempdir = str(short)
    print(f"{message}: {short} is used.", file=sys.stderr)


def _interrupt_at_warnings() -> None:
    """What a cluster or `kill` sends ends a command as Ctrl-C does; training saves first (engine/training)."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """`python -m slowfast_gta NAME ...` and the console script `slowfast-gta NAME ...`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    return run_command(name, sys.argv[2:]) if name in COMMANDS else _exit_code(lambda: _without_command(name))


def _without_command(name: str) -> int:
    if name in _FLAGS:
        return _print_flag(name)
    usage = "usage: slowfast-gta COMMAND ...   (COMMAND --help for details)\n\n"
    usage += "\n".join(f"  {command:<18}{what}" for command, what in (*COMMANDS.items(), *_FLAGS.items()))
    if name in ("-h", "--help"):
        print(usage)
        return 0
    near = difflib.get_close_matches(name.replace("-", "_").removesuffix(".py"), COMMANDS, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    print(f"error: there is no command '{name}'.{hint}\n{usage}", file=sys.stderr)
    return 2


def _print_flag(flag: str) -> int:
    """Prints what one of _FLAGS asks for."""
    if flag == "--version":
        from slowfast_gta.engine.checkpoint.code_version import code_version

        print(f"slowfast_gta {code_version()}")
    else:
        print("\n".join(list_configs()), flush=True)
    return 0


def list_configs() -> list[str]:
    """The packaged configs that can be given to --cfg, by the names that it takes: configs/SSv1/R2D50.yaml."""
    from slowfast_gta.config.read import packaged_configs

    folder = packaged_configs()
    configs = sorted(path.relative_to(folder) for path in folder.rglob("*.yaml"))
    tables = Path("Evidence")  # compare's, beside the config that their rows share
    return [
        str(Path("configs", path)) for path in configs if not path.name.startswith("Base-") and path.parent != tables
    ]
