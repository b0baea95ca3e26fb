"""Joining and leaving torch's default process group."""

import contextlib
import datetime
import fcntl
import os
import socket
import struct

import torch
import torch.distributed as dist

from slowfast_gta.distributed.launch_context import LaunchContext
from slowfast_gta.distributed.rendezvous import GroupStore
from slowfast_gta.errors import RunError

_SIOCGIFADDR = 0x8915  # Linux: the address of an interface


def join_group(context: LaunchContext, store: GroupStore, backend: str, wait_sec: float) -> None:
    """Join the default process group. wait_sec: how long a rank may keep the others waiting in a collective.

    Raises RunError where the machines cannot reach one another.
    """
    _choose_interface(store.address)
    try:
        device = torch.device("cuda", torch.cuda.current_device()) if backend == "nccl" else None
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if backend == "nccl" else backend,  # messages between the hosts go by gloo
            store=store.server or dist.TCPStore(context.host, store.port),
            rank=context.rank,
            world_size=context.world_size,
            timeout=datetime.timedelta(seconds=wait_sec),
            device_id=device,
        )
        dist.barrier()
    except RuntimeError as fault:
        raise unconnected(context, backend, _reason_of_backend(fault)) from None


def unconnected(context: LaunchContext, backend: str, detail: str) -> RunError:
    """What to say where `join_group` fails, or does not end."""
    interface = os.environ.get("GLOO_SOCKET_IFNAME", "chosen by gloo")
    return RunError(
        f"The rendezvous at {context.host} succeeded, but {backend} could not connect the processes ({detail}). "
        "All machines must be able to reach one another on any port. Name the network interface between them in "
        "GLOO_SOCKET_IFNAME (now "
        f"{interface}) or NCCL_SOCKET_IFNAME."
    )


def _choose_interface(address: str) -> None:
    """Have gloo use the interface of the rendezvous, unless the user named one.

    By itself it takes the one that the host's name resolves to, which many systems say is the loopback one.
    """
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return
    wanted = "127.0.0.1" if address.startswith("127.") else address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an address
                reply = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(reply[20:24]) == wanted:
                    os.environ["GLOO_SOCKET_IFNAME"] = name
                    return


def _reason_of_backend(fault: Exception) -> str:
    """The first line, and NCCL's own last error, which comes behind a line that says so."""
    lines = [line.strip() for line in str(fault).strip().splitlines() if line.strip()]
    last = next((" ".join(lines[at + 1 :]) for at, line in enumerate(lines) if line.startswith("Last error:")), "")
    return f"{lines[0][:200]}; {last[:300]}" if last else lines[0][:200]
