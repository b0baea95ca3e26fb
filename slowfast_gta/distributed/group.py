"""The only importer of torch.distributed. On one process every function here does nothing, at no cost."""

import contextlib
import datetime
import fcntl
import inspect
import os
import socket
import struct
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from slowfast_gta.distributed.heartbeat import ControlChannel
from slowfast_gta.distributed.launch_context import LaunchContext
from slowfast_gta.errors import RunError


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
    return [one.tolist() for one in everywhere]


def any_process(flag: bool) -> bool:
    """Whether `flag` is true on any process; the same answer on all."""
    return any(one for (one,) in exchange(int(flag)))


def all_reduce_sum(value: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, without gradient; on the device of `value`."""
    if get_world_size() == 1:
        return value
    # A copy, in plain memory order: gloo takes no other.
    summed = value.detach().clone(memory_format=torch.contiguous_format)
    if value.is_cuda and not _over_nccl():
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
    inside the processes plus that of the means between them."""
    if get_world_size() == 1:
        return
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.track_running_stats:
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


# -------------------------------------------------------------------------------------------- joining and leaving


def open_store(place: LaunchContext) -> dict:
    """Process 0's store, at any free port, where torch's process group will exchange its addresses; what to tell of it.

    It lives as long as the process group."""
    if place.rank > 0:
        return {}
    store = dist.TCPStore("127.0.0.1", 0, place.world_size, is_master=True, wait_for_workers=False)
    _stores.append(store)
    return {"store_port": store.port}


_stores: list = []


def join_group(place: LaunchContext, meeting: ControlChannel, payload: dict, backend: str, wait_sec: float) -> None:
    """Join the default process group. wait_sec: how long one may keep the others waiting, in any step.

    Raises RunError where the machines cannot reach one another.
    """
    address = next(iter(meeting.others.values())).socket.getsockname()[0]
    # A process on the machine of process 0 may have met it at the loopback address, where no other machine is.
    _choose_interface(payload["address"] if address.startswith("127.") else address)
    try:
        store = _stores.pop() if place.rank == 0 else dist.TCPStore(place.host, payload["store_port"])
        device = torch.device("cuda", torch.cuda.current_device()) if backend == "nccl" else None
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if backend == "nccl" else backend,  # what the hosts tell each other goes by gloo
            store=store,
            rank=place.rank,
            world_size=place.world_size,
            timeout=datetime.timedelta(seconds=wait_sec),
            device_id=device,
        )
        dist.barrier()
    except RuntimeError as fault:
        raise unconnected(place, backend, _reason_of_backend(fault)) from None


def unconnected(place: LaunchContext, backend: str, detail: str) -> RunError:
    """What to say where `join_group` fails, or does not end."""
    interface = os.environ.get("GLOO_SOCKET_IFNAME", "of its own choice")
    return RunError(
        f"The processes met at {place.host}, but {backend} could not connect them ({detail}). All machines must reach "
        f"one another, at any port. Name the network interface between them in GLOO_SOCKET_IFNAME (now {interface}) "
        "or NCCL_SOCKET_IFNAME."
    )


def leave_group() -> None:
    """The end of `join_group`."""
    dist.destroy_process_group()


def find_agent(place: LaunchContext, launch: int, limit_sec: float) -> tuple[str, int]:
    """Where process 0 of a torchrun will listen: it says so in the agents' own store. Raises RunError."""
    try:
        store = dist.TCPStore(place.host, place.agent_port, timeout=datetime.timedelta(seconds=limit_sec))
        key = f"slowfast_gta/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{launch}"
        if place.rank == 0:
            store.set(key, f"{_own_address(place.host)} {free_port()}")
        host, port = store.get(key).decode().split()
    except RuntimeError as fault:
        raise RunError(
            f"After {limit_sec:.0f} s (DIST_TIMEOUT_SEC) process {place.rank} of {place.world_size} has not learned "
            f"from torchrun, at {place.host}:{place.agent_port}, where process 0 is: {_first_line(fault)}"
        ) from None
    return host, int(port)


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _own_address(host: str) -> str:
    """The address by which `host`, and others where it is, reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing: it chooses the route
        address = probe.getsockname()[0]
    return host if address.startswith("127.") else address


def _choose_interface(address: str) -> None:
    """Have gloo use the interface over which the processes met, unless the user named one.

    By itself it takes the one that the host's name resolves to, which many systems say is the loopback one.
    """
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return
    wanted = "127.0.0.1" if address.startswith("127.") else address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an address
                found = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(found[20:24]) == wanted:
                    os.environ["GLOO_SOCKET_IFNAME"] = name
                    return


_SIOCGIFADDR = 0x8915  # Linux: the address of an interface


def _first_line(fault: Exception) -> str:
    return str(fault).strip().splitlines()[0][:200]


def _reason_of_backend(fault: Exception) -> str:
    """The first line, and NCCL's own last error, which comes behind a line that says so."""
    lines = [line.strip() for line in str(fault).strip().splitlines() if line.strip()]
    last = next((" ".join(lines[at + 1 :]) for at, line in enumerate(lines) if line.startswith("Last error:")), "")
    return f"{_first_line(fault)}; {last[:300]}" if last else _first_line(fault)


def _over_nccl() -> bool:
    """Whether tensors of GPUs go by NCCL."""
    return "nccl" in dist.get_backend_config()
