"""python tests/support/toy_sequences/run.py --cfg toy.yaml"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from slowfast_gta.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("command", package="toy_sequences"))
