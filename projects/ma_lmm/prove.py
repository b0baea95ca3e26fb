"""python projects/ma_lmm/prove.py needle, or memory: see prove.py needle --help."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parents[1])  # not this folder's ask.py and run.py
sys.path.insert(1, str(HERE))
os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

from ma_lmm.commands import run_project_command

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("needle", "memory"):
        print("usage: prove.py needle|memory ...   (prove.py needle --help tells more)", file=sys.stderr)
        sys.exit(2)
    sys.exit(run_project_command(f"prove_{sys.argv[1]}", sys.argv[2:]))
