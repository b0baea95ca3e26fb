"""What processes tell each other in training, checked inside three of them on one machine, and how they end."""

import errno
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.distributed import Place, Terms
from slowfast_gta.distributed.norms import SyncBatchNorm3d
from slowfast_gta.engine.training.learner import Learner
from slowfast_gta.errors import ConfigError, Interrupted, RunError

NUM = 3


def everywhere(job, folder: Path, *args, num: int = 2) -> None:
    """job(*args) in new processes of this machine."""
    distributed.launch(job, args, Place(), num, Terms(folder=folder, timeout_sec=40, about={"code": "test"}))


# -------------------------------------------------------------------------------------- what is the same on one


def network() -> nn.Sequential:
    """Convolution, BatchNorm, classifier; the same weights every time."""
    torch.manual_seed(0)
    layers = nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 5)
    return nn.Sequential(*layers).double()


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of 8 clips, which three processes share as 2, 3 and 3."""
    torch.manual_seed(1)
    return torch.randn(8, 3, 2, 4, 4, dtype=torch.float64) * 3 + 10, torch.arange(8) % 5


def learner(sync: bool, num_parts: int = 1) -> Learner:
    one = network()
    if sync:
        distributed.synchronize_norms(one)
    else:
        one[1].eval()
    model = distributed.data_parallel(one)
    optimizer = torch.optim.SGD([{"params": list(one.parameters()), "lr_factor": 1.0}], lr=0.1)
    frozen = [] if sync else [one[1]]
    return Learner(one, model, optimizer, None, 0.0, (None, None), None, frozen, num_parts=num_parts)


def trained(sync: bool, num_parts: int = 1, share: slice = slice(None)) -> dict[str, torch.Tensor]:
    """The state after three steps on `share` of the batch."""
    one, (frames, labels) = learner(sync, num_parts), clips()
    one.train_mode()
    for _ in range(3):
        one.step(frames[share], labels[share], 0.1)
    return one.network.state_dict()


def check_training(wanted: dict[str, dict[str, torch.Tensor]]) -> None:
    rank = distributed.get_rank()
    share = slice(rank * 8 // NUM, (rank + 1) * 8 // NUM)
    found = {"sync": trained(True, share=share), "frozen": trained(False, share=share)}
    found["parts"] = trained(False, num_parts=2, share=share)
    for name, state in found.items():
        for key, value in state.items():  # torch divides by the number of processes in float32
            torch.testing.assert_close(value, wanted[name][key], atol=1e-7, rtol=1e-6, msg=f"{name} {key}")


def check_talk() -> None:
    rank = distributed.get_rank()
    assert distributed.get_world_size() == NUM and distributed.is_main() == (rank == 0)
    assert distributed.gather({"rank": rank}) == [{"rank": 0}, {"rank": 1}, {"rank": 2}]
    assert distributed.any_process(rank == 1) and not distributed.any_process(False)
    assert distributed.mean(torch.tensor([float(rank)])).item() == 1.0
    assert distributed.total(torch.ones(2, 3).t()).tolist() == [[3.0] * 2] * 3
    assert distributed.weight_of_clip(rank + 1) == NUM / 6
    assert distributed.least(rank + 3) == 3
    distributed.barrier()


def check_statistics() -> None:
    rank, (frames, _) = distributed.get_rank(), clips()
    norm = nn.BatchNorm3d(3).double()
    norm.running_mean.fill_(10.0 + rank)
    distributed.share_buffers(norm)
    assert norm.running_mean.tolist() == [10.0] * 3
    part = frames[rank * 2 : rank * 2 + 2]
    norm.running_mean.copy_(part.mean((0, 2, 3, 4)))
    norm.running_var.copy_(part.var((0, 2, 3, 4), correction=0))
    distributed.pool_statistics(norm)
    torch.testing.assert_close(norm.running_mean, frames[:6].mean((0, 2, 3, 4)))
    torch.testing.assert_close(norm.running_var, frames[:6].var((0, 2, 3, 4), correction=0))


def check_no_needless_synchronisation() -> None:
    """Of two parts, the first one's gradients stay here."""
    one, (frames, labels) = learner(sync=False, num_parts=2), clips()
    sent = []
    one.model.register_comm_hook(sent, count_buckets)
    one.step(frames[:4], labels[:4], 0.1)
    assert len(sent) == 1, sent


def count_buckets(sent: list, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """DDP calls this for each bucket of gradients that would be sent."""
    sent.append(bucket.index())
    future = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


def check_everything(wanted: dict) -> None:
    check_talk()
    check_statistics()
    check_training(wanted)
    check_no_needless_synchronisation()


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


def fail_on_one(how: str, in_python: bool) -> None:
    if distributed.get_rank() == 1:
        if how == "sentence":
            raise ConfigError("There is no such word.")
        if how == "bug":
            raise KeyError("a bug of ours")
        if how == "disk":
            raise OSError(errno.ENOTDIR, "Not a directory", "run/log.txt")
        if how == "memory":
            torch.empty(1 << 50)
        os.kill(os.getpid(), signal.SIGKILL)
    while True:  # the others wait for it, in Python or in a collective
        time.sleep(0.1) if in_python else distributed.barrier()


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        pytest.param("sentence", ConfigError, "There is no such word.", marks=pytest.mark.slow),
        ("bug", RunError, "KeyError: 'a bug of ours'"),
        pytest.param("disk", RunError, "Not a directory: run/log.txt.", marks=pytest.mark.slow),
        pytest.param("memory", RunError, "This machine has no memory left", marks=pytest.mark.slow),
        ("killed", RunError, "it ended without a word"),
    ],
)
def test_one_fault_ends_all_with_its_reason(tmp_path, capfd, how, kind, said):
    begin = time.monotonic()
    with pytest.raises(kind, match="Process"):
        everywhere(fail_on_one, tmp_path, how, how == "bug")
    assert time.monotonic() - begin < 35, "before any time-out"
    err = capfd.readouterr().err
    assert said in err, err
    assert ("Traceback" in err) == (how == "bug"), err


def interrupted_by_all() -> None:
    distributed.barrier()
    raise Interrupted("Stopped in epoch 1.")


def test_an_orderly_stop_is_no_fault(tmp_path, capfd):
    with pytest.raises(Interrupted):
        everywhere(interrupted_by_all, tmp_path)
    assert "ended this run" not in capfd.readouterr().err


def wait_for_a_signal(folder: Path) -> None:
    received = []
    signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    (folder / f"ready{distributed.get_rank()}").touch()
    while not received:
        time.sleep(0.01)
    time.sleep(0.2)
    (folder / f"received{distributed.get_rank()}_{len(received)}").touch()


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


# ------------------------------------------------------------------------------------------------ on one process


def test_on_one_process_everything_does_nothing():
    assert (distributed.get_rank(), distributed.get_world_size(), distributed.is_main()) == (0, 1, True)
    distributed.barrier()
    assert distributed.gather({"a": 1}) == [{"a": 1}]
    assert distributed.any_process(True) is True and distributed.any_process(False) is False
    value, model = torch.tensor([1.0]), nn.Linear(1, 1)
    assert distributed.mean(value) is value and distributed.total(value) is value
    assert distributed.data_parallel(model) is model and distributed.weight_of_clip(4) == 0.25
    assert distributed.least(4) == 4
    distributed.pool_statistics(model)
    done = []
    distributed.launch(done.append, (1,), Place(), 1, Terms())
    assert done == [1]


def out_of_memory() -> None:
    torch.empty(1 << 50)


def test_memory_that_is_full_is_a_sentence_on_one_process_too():
    with pytest.raises(
        RunError, match=r"This machine has no memory left for this step .tried to allocate .*SOLVER\.ACCUMULATE_STEPS"
    ):
        distributed.launch(out_of_memory, (), Place(), 1, Terms())
