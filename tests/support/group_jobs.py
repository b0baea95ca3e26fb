"""What the processes of a group do and check; in a plain module, that new processes find it by name."""

import errno
import os
import signal
import time
from pathlib import Path

import torch
import torch.distributed as dist
from float_clips import batch_of, task_of
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.engine.memory import explain_out_of_memory
from slowfast_gta.engine.training.learner import Learner
from slowfast_gta.errors import ConfigError, Interrupted

NUM = 3


def network() -> nn.Sequential:
    """Convolution, BatchNorm, pooling, BatchNorm, classifier; the same weights every time."""
    torch.manual_seed(0)
    before = nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    return nn.Sequential(*before, nn.BatchNorm1d(4), nn.Linear(4, 5)).double()


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of 8 clips, which three processes share as 2, 3 and 3."""
    torch.manual_seed(1)
    return torch.randn(8, 3, 2, 4, 4, dtype=torch.float64) * 3 + 10, torch.arange(8) % 5


def learner(sync: bool, num_parts: int = 1) -> Learner:
    one = network()
    if sync:
        distributed.synchronize_norms(one)
    norms = [layer for layer in one if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm3d)]
    if not sync:
        for norm in norms:
            norm.eval()
    model = distributed.data_parallel(one)
    optimizer = torch.optim.SGD([{"params": list(one.parameters()), "lr_factor": 1.0}], lr=0.1)
    frozen = [] if sync else norms
    return Learner(task_of((2, 4, 4)), one, model, optimizer, frozen=frozen, num_parts=num_parts)


def trained(sync: bool, num_parts: int = 1, share: slice = slice(None)) -> dict[str, torch.Tensor]:
    """The state after three steps on `share` of the batch."""
    one, (frames, labels) = learner(sync, num_parts), clips()
    one.train_mode()
    for _ in range(3):
        one.step(batch_of(frames[share], labels[share]), 0.1)
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
    assert distributed.gather_on_main(rank) == ([0, 1, 2] if rank == 0 else [])
    assert distributed.any_process(rank == 1) and not distributed.any_process(False)
    assert distributed.all_reduce_mean(torch.tensor([float(rank)])).item() == 1.0
    assert distributed.all_reduce_sum(torch.ones(2, 3).t()).tolist() == [[3.0] * 2] * 3
    assert distributed.exchange(rank, 7) == [[0, 7], [1, 7], [2, 7]]
    assert distributed.weight_of_sample([1, 2, 3]) == NUM / 6
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
    one.step(batch_of(frames[:4], labels[:4]), 0.1)
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


def fail_on_one(how: str, in_python: bool) -> None:
    if distributed.get_rank() == 1:
        if how == "sentence":
            raise ConfigError("There is no such word.")
        if how == "bug":
            raise KeyError("a bug of ours")
        if how == "disk":
            raise OSError(errno.ENOTDIR, "Not a directory", "run/log.txt")
        if how == "memory":
            with explain_out_of_memory():
                torch.empty(1 << 50)
        os.kill(os.getpid(), signal.SIGKILL)
    while True:  # the others wait for it, in Python or in a collective
        time.sleep(0.1) if in_python else distributed.barrier()


def interrupted_by_all() -> None:
    distributed.barrier()
    raise Interrupted("Stopped in epoch 1.")


def wait_for_a_signal(folder: Path) -> None:
    received = []
    signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    (folder / f"ready{distributed.get_rank()}").touch()
    while not received:
        time.sleep(0.01)
    time.sleep(0.2)
    (folder / f"received{distributed.get_rank()}_{len(received)}").touch()
