"""Summarise any video and its transcript: see --help and README.md."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from a2summ.command_line import run  # noqa: E402 - the package beside this script, without installing it

if __name__ == "__main__":
    sys.exit(run("a2summ.summarize"))
