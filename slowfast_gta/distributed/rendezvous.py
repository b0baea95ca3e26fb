"""How processes find one another and see that they fit together.

Process 0 listens; each of the others keeps one connection to it. First all send who they are and what they run (hello);
process 0 compares, has all of them look for a file that it wrote, and lets them go, or sends all what is wrong.
"""

import datetime
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch.distributed as dist

from slowfast_gta.distributed.control_channel import BEAT_SEC, Connection, ControlChannel
from slowfast_gta.distributed.launch_context import LaunchConfig, LaunchContext, free_port
from slowfast_gta.errors import RunError

_REPORT_SEC = 5.0  # between two lines of a process that waits
_LOOK_SEC = 10.0  # a file that another machine wrote may be seen late on NFS
_HELLO = {"rank", "world_size", "launch", "host", "pid", "must_match", "gpu"}


class RendezvousError(RunError):
    """The processes did not come together, or do not fit together; the others know."""


@dataclass(frozen=True)
class GroupStore:
    """Process 0's torch store, through which the backends of a process group exchange their addresses."""

    port: int
    address: str  # this process's, as the other machines reach it
    server: dist.TCPStore | None = None  # on process 0 alone


def rendezvous(context: LaunchContext, config: LaunchConfig, gpu: str = "") -> tuple[ControlChannel, GroupStore]:
    """Come together with all other processes. Raises RendezvousError, on all of them.

    gpu: the UUID of this process's own, where no two may have the same one.
    """
    if context.agent_port and not context.port:
        context = _ask_torchrun(context, config)
    hello = {"rank": context.rank, "world_size": context.world_size, "launch": config.number, "gpu": gpu}
    hello |= {"host": socket.gethostname(), "pid": os.getpid(), "must_match": config.must_match}
    return (_attend if context.rank else _host)(context, config, hello)


def _ask_torchrun(context: LaunchContext, config: LaunchConfig) -> LaunchContext:
    """`context` with the address where process 0 will listen: it sets it in the agents' own store. Raises RunError."""
    limit_sec = config.timeout_sec
    try:
        store = dist.TCPStore(context.host, context.agent_port, timeout=datetime.timedelta(seconds=limit_sec))
        key = f"slowfast_gta/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{config.number}"
        if context.rank == 0:
            store.set(key, f"{_own_address(context.host)} {free_port()}")
        host, port = store.get(key).decode().split()
    except RuntimeError as fault:
        raise RunError(
            f"After {limit_sec:.0f} s (DIST_TIMEOUT_SEC) {context.name} has not received the address of process "
            f"0 from torchrun, at {context.host}:{context.agent_port}: {str(fault).strip().splitlines()[0][:200]}"
        ) from None
    return replace(context, host=host, port=int(port))


def _own_address(host: str) -> str:
    """The address by which `host`, and others where it is, reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing: it chooses the route
        address = probe.getsockname()[0]
    return host if address.startswith("127.") else address


def _waiting(context: LaunchContext, limit_sec: float, for_whom: Callable[[], str]) -> Iterator[None]:
    """Repeats for `limit_sec`, and prints every few seconds for whom this process waits."""
    begin = printed = now = time.monotonic()
    while now - begin < limit_sec:
        if now - printed > _REPORT_SEC:
            printed = now
            message = f"{context.name} waits for {for_whom()}; {now - begin:.0f} s of {limit_sec:.0f}."
            print(message, file=sys.stderr, flush=True)
        yield
        now = time.monotonic()


# ------------------------------------------------------------------------------------------- process 0


def _host(context: LaunchContext, config: LaunchConfig, hello: dict) -> tuple[ControlChannel, GroupStore]:
    """Process 0's part of `rendezvous`."""
    arrived = {0: hello}
    others: dict[int, Connection] = {}
    with _listen(context) as listener:
        fault = _accept_all(context, listener, arrived, others, config.timeout_sec)
    fault = fault or _difference(arrived) or _shared_gpu(arrived)
    if not fault:
        fault = _look_for_file(config.folder, arrived, others, config.timeout_sec)
    if fault:
        ControlChannel.send_all(others, fault=fault)
        raise RendezvousError(fault)
    contexts = [replace(context, rank=rank) for rank in range(context.world_size)]
    names = [
        f"{process.name} ({arrived[process.rank]['host']}, pid {arrived[process.rank]['pid']})" for process in contexts
    ]
    server = dist.TCPStore("127.0.0.1", 0, context.world_size, is_master=True, wait_for_workers=False)
    store = GroupStore(server.port, _public_address(others), server)
    ControlChannel.send_all(others, go={"port": store.port, "address": store.address}, names=names)
    return ControlChannel(context, others, names, config.timeout_sec), store


def _listen(context: LaunchContext) -> socket.socket:
    try:
        return socket.create_server(("", context.port), backlog=1024)
    except OSError as fault:
        raise RendezvousError(
            f"Port {context.port} of {socket.gethostname()}, the rendezvous port of the {context.world_size} "
            f"processes, cannot be opened: {fault.strerror}. If another program uses it, or another process "
            "with --shard_id 0 runs here, end that one, or choose another port (--init_method, MASTER_PORT)."
        ) from None


def _accept_all(
    context: LaunchContext,
    listener: socket.socket,
    arrived: dict[int, dict],
    others: dict[int, Connection],
    limit_sec: float,
) -> str | None:
    """Wait until all have come; what is wrong, if anything."""
    listener.settimeout(BEAT_SEC / 2)
    for _ in _waiting(context, limit_sec, lambda: f"{_absent(arrived)} at {context.address}"):
        with suppress(TimeoutError):
            connection = Connection(listener.accept()[0])
            hello = _hello(connection)
            if hello is None:
                continue
            if hello["launch"] != arrived[0]["launch"]:
                connection.socket.close()  # of an earlier or a later rendezvous; it tries again
            elif (fault := _reject_reason(hello, arrived)) is not None:
                ControlChannel.send_all({**others, -1: connection}, fault=fault)
                return fault
            else:
                arrived[hello["rank"]], others[hello["rank"]] = hello, connection
        ControlChannel.send_all(others, beat=True)
        if len(arrived) == context.world_size:
            return None
    return (
        f"After {limit_sec:.0f} s (DIST_TIMEOUT_SEC) only {len(arrived)} of {context.world_size} processes have "
        f"connected to {context.address} on {arrived[0]['host']}; missing: {_absent(arrived)}. Start them all, "
        f"with one address and a number each, and check that they can reach it.{_not_mine(context)}"
    )


def _hello(connection: Connection) -> dict | None:
    """Who comes; None where it is no process of ours."""
    try:
        hello = connection.receive(2.0)
    except OSError:
        return None
    return hello if hello is not None and set(hello) >= _HELLO else None


def _absent(arrived: dict[int, dict]) -> str:
    ranks = sorted(set(range(arrived[0]["world_size"])) - set(arrived))
    noun = "process" if len(ranks) == 1 else "processes"
    return f"{noun} {', '.join(map(str, ranks[:8]))}" + ", ..." * (len(ranks) > 8)


def _reject_reason(hello: dict, arrived: dict[int, dict]) -> str | None:
    """Why the process that sent `hello` cannot be one of those that `arrived`."""
    rank, world_size = hello["rank"], arrived[0]["world_size"]
    if hello["world_size"] != world_size:
        return (
            f"On {hello['host']} {hello['world_size']} processes are to train together, on {arrived[0]['host']} "
            f"{world_size}. Give all of them the same --num_shards and NUM_GPUS."
        )
    if rank not in arrived:
        return None
    other = arrived[rank]
    return (
        f"Two processes are number {rank} of {world_size}: pid {other['pid']} on {other['host']} and pid "
        f"{hello['pid']} on {hello['host']}. Give each machine its own --shard_id, 0 to {world_size - 1}."
    )


def _difference(arrived: dict[int, dict]) -> str | None:
    """What is not equal in what the processes run."""
    mine = arrived[0]["must_match"]
    for rank, hello in sorted(arrived.items()):
        for what, value in mine.items():
            theirs = hello["must_match"].get(what)
            if theirs == value:
                continue
            if isinstance(value, dict) and isinstance(theirs, dict):
                keys = sorted(key for key in {*value, *theirs} if value.get(key) != theirs.get(key))
                detail = "; ".join(f"{key} is {theirs.get(key)} there, {value.get(key)} here" for key in keys[:3])
                detail += f"; and {len(keys) - 3} more" * (len(keys) > 3)
            else:
                detail = f"{theirs} there, {value} here"
            return (
                f"The {what} of process {rank} on {hello['host']} differs from that of process 0 on "
                f"{arrived[0]['host']}: {detail}. All processes must run the same."
            )
    return None


def _shared_gpu(arrived: dict[int, dict]) -> str | None:
    """Which two processes have one GPU: NCCL would end them with words about networks."""
    first: dict[str, int] = {}
    for rank, hello in sorted(arrived.items()):
        gpu = hello["gpu"]
        if gpu and gpu in first:
            return (
                f"Processes {first[gpu]} and {rank} on {hello['host']} have the same GPU ({gpu}), but NCCL "
                "supports one process for each. Start one process for each GPU (NUM_GPUS; CUDA_VISIBLE_DEVICES "
                "shows each its own), "
                "or let them share it with DIST_BACKEND gloo, which is slow."
            )
        first[gpu] = rank
    return None


def _look_for_file(
    folder: Path, arrived: dict[int, dict], others: dict[int, Connection], limit_sec: float
) -> str | None:
    """Which process does not see a file that this one writes into `folder`, if any."""
    token = folder / f".rendezvous_{secrets.token_hex(8)}"
    token.touch()
    try:
        ControlChannel.send_all(others, look_for=token.name)
        for rank, connection in others.items():
            reply = _receive(connection, "seen", limit_sec)
            if reply is None:
                return f"Process {rank} on {arrived[rank]['host']} exited or stopped responding during rendezvous."
            if not reply["seen"]:
                return (
                    f"OUTPUT_DIR {folder} on {arrived[rank]['host']} is not the folder of that name on "
                    f"{arrived[0]['host']}: a file written there is not visible. Choose one that all machines "
                    "share (NFS, "
                    "Lustre ...)."
                )
    finally:
        token.unlink(missing_ok=True)
    return None


def _public_address(others: dict[int, Connection]) -> str:
    """This machine's address, as other machines use it; where there are none, the loopback one."""
    addresses = [connection.socket.getsockname()[0] for connection in others.values()]
    return next((address for address in addresses if not address.startswith("127.")), addresses[0])


def _not_mine(context: LaunchContext) -> str:
    """A hint, where the address of the rendezvous is another machine's."""
    try:
        with socket.socket() as probe:
            probe.bind((socket.gethostbyname(context.host), 0))
    except socket.gaierror:
        return f" {context.host} is a name that this machine cannot resolve."
    except OSError:
        return f" {context.host} is not an address of this machine, where process 0 must run."
    return ""


# -------------------------------------------------------------------------------------- the other processes


def _attend(context: LaunchContext, config: LaunchConfig, hello: dict) -> tuple[ControlChannel, GroupStore]:
    """Every other process's part of `rendezvous`."""
    connection, message = _connect(context, hello, config.timeout_sec)
    while message is not None and message.keys() & {"fault", "look_for", "go", "beat"}:
        if "fault" in message:
            raise RendezvousError(message["fault"])
        if "go" in message:
            own, go = connection.socket.getsockname()[0], message["go"]
            # On the machine of process 0 it may be the loopback one, where no other machine is.
            store = GroupStore(go["port"], go["address"] if own.startswith("127.") else own)
            return ControlChannel(context, {0: connection}, message["names"], config.timeout_sec), store
        if "look_for" in message:
            with suppress(OSError):  # then process 0 is gone, as the next message shows
                connection.send(seen=_is_seen(config.folder / message["look_for"]))
        message = _receive(connection, None, config.timeout_sec)
    raise RendezvousError(f"Process 0 at {context.address} exited or stopped responding during rendezvous.")


def _connect(context: LaunchContext, hello: dict, limit_sec: float) -> tuple[Connection, dict]:
    """A connection to process 0 and its first message, as soon as it listens."""
    problem = "no answer"
    for _ in _waiting(context, limit_sec, lambda: f"process 0 at {context.address} ({problem})"):  # noqa: B023 - newest
        time.sleep(0.2)
        try:
            connection = Connection(socket.create_connection((context.host, context.port), timeout=2))
            connection.send(**hello)
            message = _receive(connection, None, min(5.0, limit_sec))
            if message is not None:
                return connection, message
            problem = "something else answers there, or another training"
        except TimeoutError:
            problem = "no answer: a firewall, no route, or that machine is down"
        except socket.gaierror:
            problem = "the name cannot be resolved here"
        except ConnectionRefusedError:
            problem = "connection refused"
        except OSError as fault:
            problem = fault.strerror or str(fault)
    raise RendezvousError(
        f"After {limit_sec:.0f} s (DIST_TIMEOUT_SEC) {context.name} on {hello['host']} has not reached process 0 at "
        f"{context.address}: {problem}. Start process 0 on that machine, or give all of them its address "
        "(--init_method, MASTER_ADDR and MASTER_PORT)."
    )


def _receive(connection: Connection, word: str | None, limit_sec: float) -> dict | None:
    """The next message (with `word` in it); None where the other end is gone or silent for limit_sec."""
    begin = time.monotonic()
    while time.monotonic() - begin < limit_sec:
        try:
            message = connection.receive(BEAT_SEC)
        except OSError:
            return None
        if message is not None and (word is None or word in message):
            return message
    return None


def _is_seen(path: Path) -> bool:
    begin = time.monotonic()
    while not path.exists():
        if time.monotonic() - begin > _LOOK_SEC:
            return False
        time.sleep(0.5)
    return True
