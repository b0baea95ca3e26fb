"""Fixtures that several rooms of the tests share."""

import os
from pathlib import Path

import pytest
import torch
from miniatures import CFG, TINY, keys, make_ssv2

from slowfast_gta.commands import run_command


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> None:
    """Nothing is left in, or taken from, the cache of whoever runs the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def ssv2(tmp_path_factory) -> Path:
    """Something-Something v2 with 12 training and 6 validation videos of 3 classes; tests only read it."""
    return make_ssv2(tmp_path_factory.mktemp("ssv2"))


@pytest.fixture(scope="session")
def trained(ssv2, tmp_path_factory) -> Path:
    """The OUTPUT_DIR of a small network that was trained and tested on `ssv2`; tests only read it."""
    output = tmp_path_factory.mktemp("trained")
    where = ("DATA.PATH_TO_DATA_DIR", ssv2, "OUTPUT_DIR", output)
    assert run_command("run_net", ["--cfg", str(CFG), *keys(*TINY, *where)]) == 0
    return output


@pytest.fixture
def run_tiny(ssv2, tmp_path, capsys):
    """run_tiny(KEY, VALUE, ..., command="run_net", data=ssv2) -> (exit code, stdout, stderr), in this process;
    OUTPUT_DIR is tmp_path / "run" unless given. No answer to a user may hold a traceback."""

    def call(*pairs: object, data: Path = ssv2, cfg: Path = CFG) -> tuple[int, str, str]:
        where = ("DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", tmp_path / "run")
        code = run_command("run_net", ["--cfg", str(cfg), *keys(*TINY, *where, *pairs)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        return code, captured.out, captured.err

    return call


@pytest.fixture(autouse=True)
def _same_number_of_threads():
    """Sums of floats depend on it: a test that changes it leaves it as it was for the tests that compare bits."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _ordinary_scheduling():
    """SVT-AV1's encoder, run as root, makes the thread that opens it a real-time one and leaves it so. Every process
    that a later test starts would inherit that, and starve all others of the machine."""
    yield
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
