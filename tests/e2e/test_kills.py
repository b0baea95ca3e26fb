"""A few of the kills of tests/e2e/faults.py: inside writes, moments that no load can shift. `make faults` has all."""

import sys

import pytest
from miniatures import ROOT, run


@pytest.mark.parametrize(("processes", "kills"), [(1, 2), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_killed_trainings_end_as_undisturbed_ones(processes, kills):
    line = [sys.executable, str(ROOT / "tests" / "e2e" / "faults.py"), "--workers", "0", "--writes", "1"]
    result = run([*line, "--kills", str(kills), "--processes", str(processes)])
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{kills} kills in" in result.stdout and "bit for bit" in result.stdout
