"""python projects/ma_lmm/prove.py needle|memory: see prove.py needle --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ma_lmm.commands import run_project_command

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("needle", "memory"):
        print("usage: prove.py needle|memory ...   (prove.py needle --help for details)", file=sys.stderr)
        sys.exit(2)
    sys.exit(run_project_command(f"prove_{sys.argv[1]}", sys.argv[2:]))
