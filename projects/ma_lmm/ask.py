"""python projects/ma_lmm/ask.py VIDEO "question" --model FOLDER: see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ma_lmm.commands import run_project_command

if __name__ == "__main__":
    sys.exit(run_project_command("ask"))
