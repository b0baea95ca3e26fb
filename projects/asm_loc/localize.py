"""python projects/asm_loc/localize.py VIDEO...: see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from slowfast_gta.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("localize", package="asm_loc.commands"))
