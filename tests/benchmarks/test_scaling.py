"""benchmark scaling: several processes beside one."""

import pytest
from miniatures import CFG, TINY

from slowfast_gta import load_config
from slowfast_gta.benchmarks.scaling import build_scaling
from slowfast_gta.commands import run_command


@pytest.mark.slow
def test_two_processes_are_timed_beside_one():
    found = build_scaling(load_config(CFG, TINY), 2, pairs=2, batch_size=1)
    assert (found["processes"], found["clips_a_process"], found["pairs"]) == (2, 1, 2)
    assert found["speedup"] > 0 and found["alone_clips_per_s"] > 0 and found["together_clips_per_s"] > 0
    assert found["gradient_mb"] == 0.5 and "1 threads" in found["machine"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cfg", str(CFG), "--processes", "1"], "--processes 1 must be 2 or more"),
        ([], "benchmark scaling needs --cfg FILE"),
    ],
)
def test_what_cannot_be_timed_is_refused(capsys, words, message):
    assert run_command("benchmark", ["scaling", *words]) == 2
    assert message in capsys.readouterr().err
