"""This project's commands, ended by the core as its own are: a sentence and an exit code, no traceback."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from slowfast_gta.commands import run_command

# Before transformers is imported: nothing is ever fetched.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")


def run_project_command(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command `name` of this folder; returns the exit code."""
    if find_spec("transformers") is None:
        print("error: transformers is not installed: pip install 'slowfast_gta[ma-lmm]'.", file=sys.stderr)
        return 2
    return run_command(name, arguments, package="ma_lmm.commands")
