"""What processes tell each other in training, checked inside three of them on one machine, and how they end."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from group_jobs import (
    NUM,
    check_everything,
    clips,
    fail_on_one,
    interrupted_by_all,
    network,
    trained,
    wait_for_a_signal,
)
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.distributed import LaunchConfig, LaunchContext
from slowfast_gta.distributed.member import _own_gpu
from slowfast_gta.distributed.norms import SyncBatchNorm3d
from slowfast_gta.distributed.process_group import _reason_of_backend
from slowfast_gta.errors import ConfigError, Interrupted, RunError


def everywhere(job, folder: Path, *args, num: int = 2) -> None:
    """job(*args) in new processes of this machine."""
    distributed.launch(
        job, args, LaunchContext(), num, LaunchConfig(folder=folder, timeout_sec=40, must_match={"code": "test"})
    )


# -------------------------------------------------------------------------------------- what is the same on one


def test_three_processes_do_what_one_does(tmp_path):
    """Sums, statistics; training with sync BN, with frozen BN, and in parts: as one process on the whole batch."""
    wanted = {"sync": trained(True), "frozen": trained(False)}
    assert not torch.equal(wanted["sync"]["1.running_mean"], wanted["frozen"]["1.running_mean"])
    everywhere(check_everything, tmp_path, wanted | {"parts": wanted["frozen"]}, num=NUM)


def test_parts_of_a_batch_add_up_to_the_whole():
    wanted = trained(False)
    for num_parts in (2, 3, 8, 100):
        for key, value in trained(False, num_parts).items():
            torch.testing.assert_close(value, wanted[key], atol=1e-12, rtol=1e-10)


def test_a_synchronized_norm_is_a_plain_one_on_one_process():
    one, plain = distributed.synchronize_norms(network()), network()
    assert isinstance(one[1], SyncBatchNorm3d) and list(one.state_dict()) == list(plain.state_dict())
    frames, _ = clips()
    torch.testing.assert_close(one(frames), plain(frames), rtol=0, atol=0)


# --------------------------------------------------------------------------------------------- how they end


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        pytest.param("sentence", ConfigError, "There is no such word.", marks=pytest.mark.slow),
        ("bug", RunError, "KeyError: 'a bug of ours'"),
        pytest.param("disk", RunError, "Not a directory: run/log.txt.", marks=pytest.mark.slow),
        pytest.param("memory", RunError, "This machine ran out of memory", marks=pytest.mark.slow),
        ("killed", RunError, "exited without reporting an error"),
    ],
)
def test_one_fault_ends_all_with_its_reason(tmp_path, capfd, how, kind, message):
    with pytest.raises(kind, match="Process"):
        everywhere(fail_on_one, tmp_path, how, how == "bug")
    err = capfd.readouterr().err
    assert message in err and "has not answered" not in err, err  # the fault ended them, not a time-out
    assert ("Traceback" in err) == (how == "bug"), err


def test_an_orderly_stop_is_no_fault(tmp_path, capfd):
    with pytest.raises(Interrupted):
        everywhere(interrupted_by_all, tmp_path)
    assert "ended this run" not in capfd.readouterr().err


def test_a_signal_to_the_parent_reaches_each_process_once(tmp_path):
    pid = os.fork()
    if pid == 0:
        os.setpgrp()
        everywhere(wait_for_a_signal, tmp_path, tmp_path)
        os._exit(0)
    limit = time.monotonic() + 60
    while len(list(tmp_path.glob("ready*"))) < 2:
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.killpg(pid, signal.SIGTERM)  # as SLURM and a terminal do: to the whole group
    assert os.waitpid(pid, 0)[1] == 0
    assert sorted(path.name for path in tmp_path.glob("received*")) == ["received0_1", "received1_1"]


def test_nccl_s_own_last_error_is_kept():
    """The form of its messages; a real one was not to be had here."""
    fault = RuntimeError(
        "NCCL error in: ProcessGroupNCCL.cpp:93, unhandled system error (run with NCCL_DEBUG=INFO for details)\n"
        "ncclSystemError: System call failed.\nLast error:\nsocketStartConnect: Connect to 10.0.0.2<1> failed"
    )
    assert _reason_of_backend(fault).startswith("NCCL error in: ")
    assert _reason_of_backend(fault).endswith("; socketStartConnect: Connect to 10.0.0.2<1> failed")
    assert _reason_of_backend(RuntimeError("Connection refused\nat somewhere")) == "Connection refused"


@pytest.mark.parametrize(
    ("backend", "on_gpu", "wanted"), [("auto", True, "u1"), ("gloo", True, ""), ("auto", False, "")]
)
def test_a_gpu_must_be_a_process_s_own_where_nccl_connects_them(monkeypatch, backend, on_gpu, wanted):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=f"u{number}"))
    assert _own_gpu(LaunchConfig(backend, on_gpu)) == wanted


# ------------------------------------------------------------------------------------------------ on one process


def test_on_one_process_everything_does_nothing():
    assert (distributed.get_rank(), distributed.get_world_size(), distributed.is_main()) == (0, 1, True)
    distributed.barrier()
    assert distributed.gather({"a": 1}) == [{"a": 1}]
    assert distributed.any_process(True) is True and distributed.any_process(False) is False
    value, model = torch.tensor([1.0]), nn.Linear(1, 1)
    assert distributed.all_reduce_mean(value) is value and distributed.all_reduce_sum(value) is value
    assert distributed.data_parallel(model) is model and distributed.weight_of_sample([4]) == 0.25
    assert distributed.exchange(4, 1) == [[4, 1]]
    distributed.pool_statistics(model)
    done = []
    distributed.launch(done.append, (1,), LaunchContext(), 1, LaunchConfig())
    assert done == [1]
