"""Jobs that crash or hang are reported, and the others are done."""

import os
import signal

import pytest
from isolated_jobs import Unstartable, pid_of_job, square_or_worse

from slowfast_gta.errors import RunError
from slowfast_gta.processes.isolated import Lost, in_isolation


@pytest.mark.parametrize("num_processes", [1, 2])
def test_every_job_gets_a_result_whatever_happens_to_the_others(num_processes):
    jobs = [1, "crash", 2, "exit", 3, "hang", 4, 5]
    pairs = list(in_isolation(square_or_worse, jobs, num_processes, timeout_sec=2.0))
    answers = dict(pairs)
    assert len(pairs) == len(jobs) and set(answers) == set(jobs)
    assert {job: answer for job, answer in answers.items() if isinstance(job, int)} == {n: n * n for n in range(1, 6)}
    assert answers["crash"].exit_code == -signal.SIGSEGV and "SIGSEGV" in str(answers["crash"])
    assert answers["exit"].exit_code == 7 and "exit code 7" in str(answers["exit"])
    assert answers["hang"] == Lost(None, 2.0) and "2 s" in str(answers["hang"])


def test_no_process_is_left_behind():
    pids = [pid for _, pid in in_isolation(pid_of_job, range(4), 2, timeout_sec=60.0)]
    some = in_isolation(pid_of_job, range(100), 2, timeout_sec=60.0)
    pids.append(next(some)[1])
    some.close()
    assert len(set(pids)) > 1
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_processes_that_cannot_start_are_not_counted_as_bad_jobs():
    with pytest.raises(RunError, match="could not start"):
        list(in_isolation(Unstartable(), [1, 2], 1, timeout_sec=60.0))


def test_no_jobs_start_no_process():
    assert list(in_isolation(square_or_worse, [], 4, timeout_sec=1.0)) == []


@pytest.mark.parametrize("fault", [OSError("Resource temporarily unavailable"), EOFError()])
def test_a_process_that_cannot_be_made_is_reported(monkeypatch, fault):
    def start(process):
        raise fault

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", start)
    with pytest.raises(RunError, match=f"could not start: {type(fault).__name__}: {fault}"):
        list(in_isolation(square_or_worse, [1, 2], 2, timeout_sec=60))
