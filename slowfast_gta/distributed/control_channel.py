"""The connections between processes, by which each learns at once when another one fails or is gone.

Each process but 0 keeps one connection to process 0, of lines of JSON. A thread of each sends a beat every second and
watches the other end: a fault that is reported, a connection that closes, a silence of `limit_sec` ends every process
with the same sentence.

Sockets, and not keys of torch's TCPStore: the kernel closes the connection of a killed process, and the others see it
at once, while a stopped or swapped-out one keeps its own, and has `limit_sec` to answer. A store reports no client's
end, so that both would be the same silence: docs/distributed.md.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from slowfast_gta.distributed.launch_context import LaunchContext

BEAT_SEC = 1.0


class Connection:
    """Lines of JSON over a socket."""

    def __init__(self, endpoint: socket.socket):
        self.socket, self._rest, self._lock = endpoint, b"", threading.Lock()
        self.silent_sec = 0.0

    def send(self, **message: object) -> None:
        """Raises OSError where the other end is gone."""
        with self._lock:
            self.socket.settimeout(5)
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout_sec: float) -> dict | None:
        """The next message, None if none came in time. Raises ConnectionError at the end of the connection."""
        if b"\n" not in self._rest:
            self.socket.settimeout(timeout_sec)
            try:
                received = self.socket.recv(1 << 16)
            except (TimeoutError, BlockingIOError):
                return None
            if not received:
                raise ConnectionResetError
            self._rest += received
            if b"\n" not in self._rest:
                return None
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            raise ConnectionResetError from None  # no process of ours sends that
        if not isinstance(message, dict):
            raise ConnectionResetError
        return message


class ControlChannel:
    """The connections of a process to the others: of process 0 to all, of each other one to process 0."""

    def __init__(self, context: LaunchContext, others: dict[int, Connection], names: list[str], limit_sec: float):
        """names: of all processes, for people: "process 1 of 2 (node2, pid 77)"."""
        self.context, self.others, self.names, self.limit_sec = context, others, names, limit_sec
        self.fault: dict | None = None  # {"rank", "reason", "exit_code"}: the first one that is known
        self._settling = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, on_fault: Callable[[dict], None]) -> None:
        """From now on `on_fault` is called, in another thread, when any other process fails or is gone."""
        self._thread = threading.Thread(target=self._watch, args=(on_fault,), daemon=True)
        self._thread.start()

    def report(self, reason: str, exit_code: int) -> bool:
        """Send all others the reason why this process ends; False where another one failed before."""
        return self._settle({"rank": self.context.rank, "reason": reason, "exit_code": exit_code})

    def _settle(self, fault: dict) -> bool:
        """Whether `fault` is the first one; then all others are sent it."""
        with self._settling:
            if self.fault is not None:
                return False
            self.fault = fault
        self.send_all(self.others, fault=fault)
        for connection in self.others.values():
            with suppress(OSError):  # a connection closed with unread messages on this side may lose its last ones
                connection.socket.shutdown(socket.SHUT_WR)
        return True

    def close(self) -> None:
        """This process is done, as it should be."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self.send_all(self.others, done=True)
        for connection in self.others.values():
            connection.socket.close()

    def _watch(self, on_fault: Callable[[dict], None]) -> None:
        before = time.monotonic()
        while self.others and not self._closing.wait(BEAT_SEC / 2):
            now = time.monotonic()
            # Not the time that this process itself was stopped: it could not listen.
            passed, before = min(now - before, 2 * BEAT_SEC), now
            for rank, connection in list(self.others.items()):
                fault = self._fault_at(rank, connection, passed)
                if fault is not None:
                    if self._settle(fault):  # the silent one too: it may be awake again one day
                        on_fault(fault)
                    return
            self.send_all(self.others, beat=True)

    def _fault_at(self, rank: int, connection: Connection, passed_sec: float) -> dict | None:
        """What is wrong at the other end, if anything; a process that is done leaves `others`."""
        connection.silent_sec += passed_sec
        try:
            while (message := connection.receive(0)) is not None:
                connection.silent_sec = 0.0
                if "fault" in message:
                    return message["fault"]
                if "done" in message:
                    del self.others[rank]
                    return None
        except OSError:
            # Its last message may be lost in a reset connection; who else has it sends it to all.
            reason = (
                "it exited without reporting an error; probably killed (out of memory? by NCCL after DIST_WAIT_SEC?), "
                "or its machine failed"
            )
        else:
            if connection.silent_sec <= self.limit_sec:
                return None
            reason = (
                f"it has not answered for {self.limit_sec:.0f} s (DIST_TIMEOUT_SEC): it is stopped, its machine "
                "is overloaded, or the network connection is lost"
            )
        return {"rank": rank, "reason": reason, "exit_code": 1}

    @staticmethod
    def send_all(connections: dict[int, Connection], **message: object) -> None:
        for connection in connections.values():
            with suppress(OSError):  # that it is gone is noticed where it is read
                connection.send(**message)
