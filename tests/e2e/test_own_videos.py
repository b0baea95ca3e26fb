"""docs/your-own-videos.md, word for word, on made-up videos. `make own-videos` has three seeds."""

import os
import subprocess
import sys

import pytest
from miniatures import ROOT
from own_videos import MOST_GB, Outcome, commands_of_the_page


def test_the_page_goes_from_videos_to_answers():
    lines = commands_of_the_page()
    assert all(line.startswith("python tools/") for line in lines)
    assert [line.rpartition("--seed ")[2] for line in lines if " made-up " in line] == ["1", "1001"]
    assert "--num 100" in lines[-2] and "answers.csv" in lines[-1]


@pytest.mark.parametrize(
    ("num_correct", "peak_gb", "holds"), [(33, 1.0, True), (32, 1.0, False), (25, 1.0, False), (90, MOST_GB, False)]
)
def test_what_holds_is_more_than_guessing_in_less_than_4_gb(num_correct, peak_gb, holds):
    outcome = Outcome(100, num_correct, 4, {}, 0.0, peak_gb)
    assert abs(outcome.bound - 0.3212) < 1e-3 and outcome.holds == holds


@pytest.mark.slow
def test_the_page_word_for_word():
    line = [sys.executable, str(ROOT / "tests" / "e2e" / "own_videos.py"), "--seeds", "1"]
    result = subprocess.run(line, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("seed 1: ")
