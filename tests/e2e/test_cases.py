"""What happened to users of similar tools: the small scripts of ../shared/cases, tried on this code.

Exit code 0: all is well; 1: the fault is there, and a sentence says so; 77: it cannot be tried on this machine.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from miniatures import ROOT

CASES = Path(os.environ.get("CASES", ROOT.parent / "shared" / "cases"))
SCRIPTS = sorted(path for path in CASES.glob("*.py") if path.stem != "common") if CASES.is_dir() else []


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS or [None], ids=lambda path: path.stem if path else "none")
def test_it_does_not_happen_here(script, tmp_path):
    if script is None:
        pytest.skip(f"there are no scripts in {CASES}")
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
