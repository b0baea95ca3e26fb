"""How processes find one another and see that they fit together.

Process 0 listens; each of the others keeps one connection to it. First all say who they are and what they run (hello);
process 0 compares, has all of them look for a file that it wrote, and lets them go, or tells all what is wrong. From
then on they watch each other: heartbeat.py.
"""

import os
import secrets
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from slowfast_gta.distributed.heartbeat import BEAT_SEC, Connection, ControlChannel
from slowfast_gta.distributed.launch_context import LaunchContext
from slowfast_gta.errors import RunError

_SAY_SEC = 5.0  # between two lines of a process that waits
_LOOK_SEC = 10.0  # a file that another machine wrote may be seen late on NFS


class RendezvousError(RunError):
    """The processes did not come together, or do not fit together; the others know."""


def rendezvous(
    place: LaunchContext, must_match: dict, payload: dict, folder: Path, limit_sec: float, launch: int, gpu: str = ""
) -> tuple[ControlChannel, dict]:
    """Come together with all other processes; returns process 0's `payload` too, with its "address" added.

    Raises RendezvousError, on all of them.

    about: what must be equal on all, by name; values are text or mappings of text. folder: what all must share.
    launch: the number of this meeting among those of the same commands. gpu: the UUID of this process's own, where no
    two may have the same one.
    """
    hello = {
        "rank": place.rank,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "must_match": must_match,
        "launch": launch,
    }
    hello |= {"world_size": place.world_size, "gpu": gpu}
    if place.rank == 0:
        return _host(place, hello, payload, folder, limit_sec)
    return _attend(place, hello, folder, limit_sec)


class Patience:
    """Waits at most `limit_sec`, and says every few seconds for whom."""

    def __init__(self, place: LaunchContext, limit_sec: float):
        self._who, self.limit_sec = f"process {place.rank} of {place.world_size}", limit_sec
        self._begin = self._said = time.monotonic()

    @property
    def passed_sec(self) -> float:
        return time.monotonic() - self._begin

    def wait(self, for_whom: str, pause_sec: float = 0.0) -> bool:
        """False when the time is over."""
        if time.monotonic() - self._said > _SAY_SEC:
            self._said = time.monotonic()
            message = f"{self._who} waits for {for_whom}; {self.passed_sec:.0f} s of {self.limit_sec:.0f}."
            print(message, file=sys.stderr, flush=True)
        time.sleep(pause_sec)
        return self.passed_sec < self.limit_sec


# ------------------------------------------------------------------------------------------- process 0


def _host(
    place: LaunchContext, hello: dict, payload: dict, folder: Path, limit_sec: float
) -> tuple[ControlChannel, dict]:
    """Process 0's part of `meet`."""
    arrived = {0: hello}
    others: dict[int, Any] = {}
    with _listen(place) as listener:
        fault = _gather(place, listener, arrived, others, limit_sec)
    fault = fault or _difference(arrived) or _shared_gpu(arrived)
    if not fault:
        fault = _look_for_file(folder, arrived, others, limit_sec)
    if fault:
        ControlChannel.send_all(others, fault=fault)
        raise RendezvousError(fault)
    names = [_name(arrived[rank], place.world_size) for rank in range(place.world_size)]
    payload = payload | {"address": _public_address(others)}
    ControlChannel.send_all(others, go=payload, names=names)
    return ControlChannel(place, others, names, limit_sec), payload


def _listen(place: LaunchContext) -> socket.socket:
    try:
        return socket.create_server(("", place.port), backlog=1024)
    except OSError as fault:
        raise RendezvousError(
            f"Port {place.port} of {socket.gethostname()}, where the {place.world_size} processes are to meet, cannot "
            f"be opened: {fault.strerror}. If another program has it, or another process with --shard_id 0 runs here, "
            "end that one, or choose another port (--init_method, MASTER_PORT)."
        ) from None


def _gather(place: LaunchContext, listener: socket.socket, arrived: dict, others: dict, limit_sec: float) -> str | None:
    """Wait until all have come; what is wrong, if anything."""
    patience = Patience(place, limit_sec)
    listener.settimeout(BEAT_SEC / 2)
    while len(arrived) < place.world_size:
        absent = _ranks(set(range(place.world_size)) - set(arrived))
        if not patience.wait(f"{absent} at {place.host}:{place.port}"):
            return (
                f"After {limit_sec:.0f} s (DIST_TIMEOUT_SEC) only {len(arrived)} of {place.world_size} processes have "
                f"come to {place.host}:{place.port} on {arrived[0]['host']}; not here: {absent}. Start them all, with "
                f"one address and a number each, and see that they can reach it.{_not_mine(place)}"
            )
        with suppress(TimeoutError):
            connection = Connection(listener.accept()[0])
            try:
                hello = connection.receive(2.0)
            except OSError:
                continue
            if not isinstance(hello, dict) or not {"rank", "launch", "host", "pid", "must_match"} <= set(hello):
                continue  # no process of ours
            if hello["launch"] != arrived[0]["launch"]:
                connection.socket.close()  # of an earlier or a later meeting; it tries again
            elif (fault := _reject_reason(hello, arrived)) is not None:
                ControlChannel.send_all({**others, -1: connection}, fault=fault)
                return fault
            else:
                arrived[hello["rank"]], others[hello["rank"]] = hello, connection
        ControlChannel.send_all(others, beat=True)
    return None


def _reject_reason(hello: dict, arrived: dict) -> str | None:
    """Why the process that says `hello` cannot be one of those that `arrived`."""
    rank, world_size = hello["rank"], arrived[0]["world_size"]
    if hello["world_size"] != world_size:
        return (
            f"{hello['host']} says that {hello['world_size']} processes train together, {arrived[0]['host']} says "
            f"{world_size}. Give all the same --num_shards and NUM_GPUS."
        )
    if rank not in arrived:
        return None
    other = arrived[rank]
    return (
        f"Two processes are number {rank} of {world_size}: pid {other['pid']} on {other['host']} and pid "
        f"{hello['pid']} on {hello['host']}. Give each machine its own --shard_id, 0 to {world_size - 1}."
    )


def _difference(arrived: dict) -> str | None:
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
                f"The {what} of process {rank} on {hello['host']} is another than that of process 0 on "
                f"{arrived[0]['host']}: {detail}. All processes must run the same."
            )
    return None


def _shared_gpu(arrived: dict) -> str | None:
    """Which two processes have one GPU: NCCL would end them with words about networks."""
    first: dict[str, int] = {}
    for rank, hello in sorted(arrived.items()):
        gpu = hello.get("gpu", "")
        if gpu and gpu in first:
            return (
                f"Processes {first[gpu]} and {rank} on {hello['host']} have the same GPU ({gpu}), and NCCL takes one "
                "process for each. Start one process for each GPU (NUM_GPUS; CUDA_VISIBLE_DEVICES shows each its own), "
                "or let them share it with DIST_BACKEND gloo, which is slow."
            )
        first[gpu] = rank
    return None


def _look_for_file(folder: Path, arrived: dict, others: dict[int, Connection], limit_sec: float) -> str | None:
    """Which process does not see a file that this one writes into `folder`, if any."""
    token = folder / f".meeting_{secrets.token_hex(8)}"
    token.touch()
    try:
        ControlChannel.send_all(others, look_for=token.name)
        for rank, connection in others.items():
            answer = _answer(connection, "seen", limit_sec)
            if answer is None:
                return f"Process {rank} on {arrived[rank]['host']} exited or stopped responding during rendezvous."
            if not answer["seen"]:
                return (
                    f"OUTPUT_DIR {folder} on {arrived[rank]['host']} is not the folder of that name on "
                    f"{arrived[0]['host']}: a file written there is not seen. Choose one that all machines share (NFS, "
                    "Lustre ...)."
                )
    finally:
        token.unlink(missing_ok=True)
    return None


def _public_address(others: dict[int, Connection]) -> str:
    """This machine's address, as other machines use it; where there are none, the loopback one."""
    addresses = [connection.socket.getsockname()[0] for connection in others.values()]
    return next((address for address in addresses if not address.startswith("127.")), addresses[0])


def _not_mine(place: LaunchContext) -> str:
    """A hint, where the meeting's address is another machine's."""
    try:
        with socket.socket() as probe:
            probe.bind((socket.gethostbyname(place.host), 0))
    except socket.gaierror:
        return f" {place.host} is a name that this machine does not know."
    except OSError:
        return f" {place.host} is not an address of this machine, and process 0 must be where it is."
    return ""


# -------------------------------------------------------------------------------------- the other processes


def _attend(place: LaunchContext, hello: dict, folder: Path, limit_sec: float) -> tuple[ControlChannel, dict]:
    """Every other process's part of `meet`."""
    connection, message = _connect(place, hello, limit_sec)
    while True:
        if message is None or not message.keys() & {"fault", "look_for", "go", "beat"}:
            raise RendezvousError(
                f"Process 0 at {place.host}:{place.port} exited or stopped responding during rendezvous."
            )
        if "fault" in message:
            raise RendezvousError(message["fault"])
        if "go" in message:
            return ControlChannel(place, {0: connection}, message["names"], limit_sec), message["go"]
        if "look_for" in message:
            with suppress(OSError):  # then process 0 is gone; the next answer says so
                connection.send(seen=_is_seen(folder / message["look_for"]))
        message = _answer(connection, None, limit_sec)


def _connect(place: LaunchContext, hello: dict, limit_sec: float) -> tuple[Connection, dict]:
    """A connection to process 0 and its first message, as soon as it listens."""
    patience, problem = Patience(place, limit_sec), "it does not answer"
    while patience.wait(f"process 0 at {place.host}:{place.port} ({problem})", pause_sec=0.2):
        try:
            connection = Connection(socket.create_connection((place.host, place.port), timeout=2))
            connection.send(**hello)
            message = _answer(connection, None, min(5.0, limit_sec))
            if message is not None:
                return connection, message
            problem = "something else answers there, or another training"
        except TimeoutError:
            problem = "no answer: a firewall, no route, or that machine is down"
        except socket.gaierror:
            problem = "the name is not known here"
        except ConnectionRefusedError:
            problem = "nobody listens there"
        except OSError as fault:
            problem = fault.strerror or str(fault)
    raise RendezvousError(
        f"After {limit_sec:.0f} s (DIST_TIMEOUT_SEC) process {place.rank} of {place.world_size} on {hello['host']} has "
        f"not reached process 0 at {place.host}:{place.port}: {problem}. Start process 0 on that machine, or give all "
        "of them its address (--init_method, MASTER_ADDR and MASTER_PORT)."
    )


def _answer(connection: Connection, word: str | None, limit_sec: float) -> dict | None:
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


def _ranks(ranks: set[int]) -> str:
    shown = ", ".join(map(str, sorted(ranks)[:8])) + ", ..." * (len(ranks) > 8)
    return f"process{'es' if len(ranks) > 1 else ''} {shown}"


def _name(hello: dict, world_size: int) -> str:
    return f"process {hello['rank']} of {world_size} ({hello['host']}, pid {hello['pid']})"
