"""One run at a time in an OUTPUT_DIR, and no lock is left behind by a run that was killed."""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import subprocess
import sys
from functools import partial

import pytest

from slowfast_gta.engine.lock import lock_output
from slowfast_gta.errors import RunError

HOLDER = """
import sys, time
from pathlib import Path
from slowfast_gta.engine.lock import lock_output

with lock_output(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


@contextlib.contextmanager
def another_run(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_by_the_name_of_the_first(tmp_path):
    with another_run(tmp_path) as first:
        name = f"process {first.pid} on {socket.gethostname()}"
        refused = pytest.raises(RunError, match=f"Another run is using {tmp_path}: {name}")
        with refused, lock_output(tmp_path, patience_sec=0):
            pytest.fail("two runs in one folder")
        first.kill()
        first.wait()
        assert (tmp_path / "run.lock").read_text() == name
        with lock_output(tmp_path, patience_sec=0):
            assert str(os.getpid()) in (tmp_path / "run.lock").read_text()


def test_the_same_folder_again_and_again(tmp_path):
    for _ in range(2):
        with lock_output(tmp_path, patience_sec=0):
            pass


def test_what_is_left_of_a_run_is_given_time_to_end(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("slowfast_gta.engine.lock.logger.propagate", True)
    caplog.set_level("INFO")
    with another_run(tmp_path) as first:
        info = logging.getLogger("slowfast_gta").info
        monkeypatch.setattr("slowfast_gta.engine.lock.logger.info", lambda *a: (info(*a), first.kill(), first.wait()))
        with lock_output(tmp_path, patience_sec=60):
            assert f"Waiting for process {first.pid} on" in caplog.text


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, caplog, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("slowfast_gta.engine.lock.logger.propagate", True)
    monkeypatch.setattr(fcntl, "flock", none)
    with lock_output(tmp_path, patience_sec=0):
        assert str(tmp_path) in caplog.text and caplog.records[0].levelname == "WARNING"


def test_a_training_in_a_folder_that_is_used(run_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("slowfast_gta.engine.output.lock_output", partial(lock_output, patience_sec=0))
    (tmp_path / "run").mkdir()
    with another_run(tmp_path / "run") as first:
        code, _, err = run_tiny()
    assert code == 1 and f"Another run is using {tmp_path / 'run'}: process {first.pid}" in err
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["run.lock"], "nothing was touched"
