"""What processes exchange in training and testing. On one process every function here does nothing, at no cost."""

import contextlib
import inspect
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def get_rank() -> int:
    """This process's number among all, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def get_world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that prints and writes."""
    return get_rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if get_world_size() > 1:
        dist.barrier()


def gather(value: object) -> list:
    """`value` of every process, in the order of ranks. Values are pickled between our own processes only."""
    if get_world_size() == 1:
        return [value]
    values = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def gather_on_main(value: object) -> list:
    """`value` of every process, on the main one alone; nothing on the others. For what is large."""
    if get_world_size() == 1:
        return [value]
    values = [None] * get_world_size() if is_main() else None
    dist.gather_object(value, values)
    return values or []


def exchange(*numbers: int) -> list[list[int]]:
    """The `numbers` of every process, in the order of ranks: one short message between the hosts.

    It waits for no GPU, though NCCL may be what gradients go by.
    """
    if get_world_size() == 1:
        return [list(numbers)]
    own = torch.tensor(numbers, dtype=torch.int64)
    everywhere = [torch.empty_like(own) for _ in range(get_world_size())]
    dist.all_gather(everywhere, own)
    return [item.tolist() for item in everywhere]


def any_process(flag: bool) -> bool:
    """Whether `flag` is true on any process; the same on all."""
    return any(item for (item,) in exchange(int(flag)))


def all_reduce_sum(value: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, without gradient; on the device of `value`."""
    if get_world_size() == 1:
        return value
    # A copy, in plain memory order: gloo takes no other.
    summed = value.detach().clone(memory_format=torch.contiguous_format)
    if value.is_cuda and "nccl" not in dist.get_backend_config():
        summed = summed.cpu()
    dist.all_reduce(summed)
    return summed.to(value.device)


def all_reduce_mean(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all processes."""
    return all_reduce_sum(value) / get_world_size() if get_world_size() > 1 else value


def weight_of_sample(shares: Sequence[int]) -> float:
    """What the loss of a sample counts, where a step is the mean over all samples, and processes have `shares` of them.

    1 / their number on one process. Over several, whose gradients are averaged, each sample counts the same however
    unequally they share the samples.
    """
    return get_world_size() / sum(shares)


def share_buffers(model: nn.Module) -> None:
    """Give every process the main one's BatchNorm statistics, so that all of them evaluate the same network."""
    if get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def pool_statistics(model: nn.Module) -> None:
    """Give every process the BatchNorm statistics of all processes' clips together: their means, and the variance
    inside the processes plus that of the means between them. Frozen ones, in eval mode, keep theirs to the bit."""
    if get_world_size() == 1:
        return
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.track_running_stats and norm.training:
            assert norm.running_mean is not None and norm.running_var is not None
            square = all_reduce_mean(norm.running_var + norm.running_mean**2)
            norm.running_mean.copy_(all_reduce_mean(norm.running_mean))
            norm.running_var.copy_(square - norm.running_mean**2)


def data_parallel(model: nn.Module) -> nn.Module:
    """The model whose gradients are averaged over all processes."""
    if get_world_size() == 1:
        return model
    on_gpu = next(model.parameters()).is_cuda
    # Of weights that are one pixel large, torch takes two names of one memory layout for two.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    parallel = nn.parallel.DistributedDataParallel
    # Statistics are not sent at every step: share_buffers does so before an evaluation. The word changed in torch 2.13.
    words: set[str] = {"forward_sync_buffers", "broadcast_buffers"} & set(inspect.signature(parallel).parameters)
    unsent: dict[str, Any] = {max(words): False}
    devices = [torch.cuda.current_device()] if on_gpu else None
    # On a GPU gradients live where they are sent from: a copy less of each.
    return parallel(model, device_ids=devices, gradient_as_bucket_view=on_gpu, **unsent)


def unsynchronized(model: nn.Module) -> AbstractContextManager:
    """Inside `with`, gradients add up in this process; the next backward pass outside averages them over all."""
    return model.no_sync() if isinstance(model, nn.parallel.DistributedDataParallel) else contextlib.nullcontext()
