"""Summarise any video and its transcript: see --help and README.md."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from a2summ.summarize import main  # noqa: E402 - the package beside this script, without installing it

if __name__ == "__main__":
    sys.exit(main())
