"""The commands. Each module has `main(arguments) -> int`; tools/NAME.py and `python -m slowfast_gta NAME` call it.

What a user can do wrong ends here as one sentence on stderr and an exit code: 0 done, 1 the work failed, 2 wrong
usage or config, 130 interrupted.
"""

import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from slowfast_gta.errors import DISK_ERRNOS, Interrupted, UserError

COMMANDS = {
    "run_net": "train and test what a config describes",
    "predict": "the five most likely classes of any video file",
    "extract_features": "rows of features over time, with their times, of any number of videos",
    "ensemble": "average the scores of runs that tested the same videos",
    "check_weights": "does a file of weights fit the network of a config",
    "check_data": "what is wrong with a data set: lists, videos, splits",
    "complexity": "multiply-adds, parameters and memory of a config's network",
    "benchmark": "how fast a network is, and the reading of videos, beside the plain way",
    "prepare_data": "lists from folders of videos, smaller videos, frames, lists for other codebases",
    "submit": "hand a training to a SLURM cluster",
    "demo": "make videos, train R2D and R2D+GTA on them, compare",
}

_FREE_SPACE = "Free space, or choose another OUTPUT_DIR"
_OTHER_NAME = "A file or folder of that name is in the way: choose another OUTPUT_DIR, or --output"
_NO_PLACE = "Nothing can be read or written there: choose another path"
_CANNOT_BE_WRITTEN = {
    **dict.fromkeys(DISK_ERRNOS, _FREE_SPACE),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), _OTHER_NAME),
    **dict.fromkeys((errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG), _NO_PLACE),
}


def run_command(name: str, arguments: Sequence[str] | None = None, package: str = "slowfast_gta.commands") -> int:
    """Run the command `name` with `arguments` (the command line's, if None); returns the exit code.

    package: where the module of the command is; a project has its own.
    """
    # Before torch is imported: threads that wait then sleep instead of spinning. On a machine with anything else to do
    # (our own readers of videos, to begin with), spinning makes a training step up to ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What torch's C++ warns of, with its stack, where another process is gone: distributed/launch.py says it.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Of processes that were killed; ours are told of by a sentence.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    _interrupt_at_warnings()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no text
    try:
        return importlib.import_module(f"{package}.{name}").main(arguments)
    except Interrupted as stop:
        print(f"{stop} The same command goes on from there.", file=sys.stderr)
        return stop.exit_code
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
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
    if name in COMMANDS:
        return run_command(name, sys.argv[2:])
    usage = "usage: slowfast-gta COMMAND ...   (COMMAND --help tells more)\n\n"
    usage += "\n".join(f"  {command:<18}{what}" for command, what in COMMANDS.items())
    if name in ("-h", "--help"):
        print(usage)
        return 0
    print(f"error: there is no command '{name}'.\n{usage}", file=sys.stderr)
    return 2
