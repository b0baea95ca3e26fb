"""python projects/asm_loc/worlds.py: see --help."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
sys.path.insert(0, str(HERE))

from slowfast_gta.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("worlds", package="asm_loc.commands"))
