"""Summarise any video and its transcript: see --help and README.md."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from slowfast_gta.commands import run_command  # noqa: E402 - this checkout's, without installing it

if __name__ == "__main__":
    sys.exit(run_command("summarize", package="a2summ"))
