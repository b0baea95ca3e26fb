"""python tools/compare.py: see --help. The same as `slowfast-gta compare`, on this folder's code."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from slowfast_gta.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("compare"))
