"""The only importer of torch.distributed. On one process every function here does nothing, at no cost."""

import itertools
import os
import re
import signal
import socket
import sys
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn

from slowfast_gta.errors import ConfigError, Interrupted, RunError, UserError

# What gloo and NCCL say where the process at the other end is gone.
_LOST_PEER = re.compile(r"Connection (reset|closed|refused)|Broken pipe|remote process exited|NCCL comm\w+ was aborted")

_launches = itertools.count()


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


def any_process(flag: bool) -> bool:
    """Whether `flag` is true on any process; the same answer on all."""
    if get_world_size() == 1:
        return flag
    votes = torch.tensor([float(flag)], device=_collective_device())
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())


def mean(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all processes."""
    if get_world_size() == 1:
        return value
    value = value.detach().clone().to(_collective_device())
    dist.all_reduce(value)
    return value / get_world_size()


def share_buffers(model: nn.Module) -> None:
    """Give every process the main one's BatchNorm statistics, so that all of them evaluate the same network."""
    if get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def data_parallel(model: nn.Module, sync_batch_norm: bool) -> nn.Module:
    """The model whose gradients are averaged over all processes."""
    if get_world_size() == 1:
        return model
    on_gpu = next(model.parameters()).is_cuda
    if sync_batch_norm:
        if not on_gpu:
            raise ConfigError("BN.NORM_TYPE: sync_batchnorm over several processes needs GPUs; use batchnorm on CPUs.")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return nn.parallel.DistributedDataParallel(model, device_ids=[torch.cuda.current_device()] if on_gpu else None)


def launch(
    job: Callable[..., object],
    args: tuple,
    num_gpus: int,
    num_shards: int,
    shard_id: int,
    backend: str,
    url: str | None,
) -> object:
    """Run job(*args) on every process of this machine: in this one if it is the only one, else in new ones.

    num_shards machines, each with one process for each GPU (one process, without GPUs). `url` is where the processes
    meet (tcp://host:port of machine 0); with one machine it may be None.
    """
    per_machine = max(1, num_gpus)
    world_size = num_shards * per_machine
    if world_size == 1:
        return job(*args)
    if url is None:
        if num_shards > 1:
            raise ConfigError(
                f"NUM_SHARDS is {num_shards}: the machines must know where to meet. Give every one of them "
                "--init_method tcp://HOST:PORT of machine 0, and its own --shard_id."
            )
        url = "tcp://127.0.0.1:0"
    url = _next_url(url)
    if backend == "auto":
        backend = "nccl" if num_gpus else "gloo"
    arguments = (job, args, per_machine, world_size, shard_id, backend, url, num_gpus > 0)
    if per_machine == 1:
        _worker(0, *arguments)
        return None
    context = torch.multiprocessing.start_processes(
        _worker, arguments, nprocs=per_machine, join=False, start_method="spawn"
    )
    # Ctrl-C reaches every process of the group; this one waits for the others to finish their step and save.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while not context.join():
            pass
    except torch.multiprocessing.ProcessExitedException as fault:
        if fault.exit_code == Interrupted.exit_code:
            raise Interrupted("Stopped; what was saved is said above.") from None
        raise RunError(
            f"A training process ended with exit code {fault.exit_code}; its reason is printed above."
        ) from None
    finally:
        signal.signal(signal.SIGINT, previous)
    return None


def _worker(
    local_rank: int,
    job: Callable,
    args: tuple,
    per_machine: int,
    world_size: int,
    shard_id: int,
    backend: str,
    url: str,
    on_gpu: bool,
) -> None:
    rank = shard_id * per_machine + local_rank
    if on_gpu:
        torch.cuda.set_device(local_rank)
    try:
        dist.init_process_group(backend, init_method=url, world_size=world_size, rank=rank)
        job(*args)
    except UserError as fault:
        print(f"process {rank} of {world_size}: {fault}", file=sys.stderr, flush=True)
        os._exit(fault.exit_code)
    except KeyboardInterrupt:
        os._exit(Interrupted.exit_code)
    except RuntimeError as fault:
        if not _LOST_PEER.search(str(fault)):
            raise
        print(f"process {rank} of {world_size}: another process ended; it says why.", file=sys.stderr, flush=True)
        os._exit(RunError.exit_code)
    dist.destroy_process_group()


def _collective_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _next_url(url: str) -> str:
    """`url` with a port of this launch's own: port 0 is any free one, another is counted up from launch to launch.

    At the port of the launch before, its main process may still listen and answer with addresses that are gone.
    """
    host, _, port = url.rpartition(":")
    if not port.isdecimal():
        raise ConfigError(f"--init_method is {url}; it must be tcp://HOST:PORT, as tcp://10.0.0.1:9999.")
    return f"{host}:{int(port) + next(_launches) if int(port) else _free_port()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
