"""python projects/ma_lmm/ask.py VIDEO "question" --model FOLDER: see --help."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parents[1])  # not this folder's ask.py and run.py
sys.path.insert(1, str(HERE))
os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

from ma_lmm.commands import run_project_command

if __name__ == "__main__":
    sys.exit(run_project_command("ask"))
