"""Doing jobs in processes that may die or hang: that job is reported, and the work continues.

A damaged file can crash a decoder or keep it busy for ever, and neither can be caught in the process it happens in.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from slowfast_gta.errors import RunError
from slowfast_gta.processes.workers import end_with_main_process, start_method


@dataclass(frozen=True)
class Lost:
    """Returned instead of a result: the process died over the job, or was killed after `after_sec`."""

    exit_code: int | None  # negative: the number of a signal; None where it was killed for taking too long
    after_sec: float

    def __str__(self) -> str:
        if self.exit_code is None:
            return f"it was not done after {self.after_sec:.0f} s"
        if self.exit_code >= 0:
            return f"the process that read it ended with exit code {self.exit_code}"
        names = {int(number): number.name for number in signal.Signals}
        name = names.get(-self.exit_code, f"signal {-self.exit_code}")
        return f"the process that read it was ended by {name}" + (", usually out of memory" * (name == "SIGKILL"))


def in_isolation(function: Callable, jobs: Iterable, num_processes: int, timeout_sec: float) -> Iterator[tuple]:
    """(job, what `function` returns for it, or Lost) for each of `jobs`, in the order they are done.

    Function, jobs and results travel between processes. An exception of `function` ends its process: Lost. Raises
    RunError when processes cannot be started.
    """
    jobs = iter(jobs)
    workers = [_Worker(function) for _ in range(num_processes)]
    try:
        for worker in workers:
            worker.start_next(jobs)
        while busy := [worker for worker in workers if worker.busy]:
            ready = wait([worker.connection for worker in busy], timeout=1.0)
            for worker in busy:
                job = worker.job
                if worker.connection in ready:
                    results = worker.receive()
                elif worker.seconds > timeout_sec:
                    results = [Lost(None, timeout_sec)]
                    worker.kill()
                else:
                    continue
                for result in results:
                    worker.start_next(jobs)  # before the caller takes its time over the result
                    yield job, result
    finally:
        for worker in workers:
            worker.kill()


class _Worker:
    """A process that does one job at a time, and another one in its place when it is gone."""

    def __init__(self, function: Callable):
        self._function = function
        self._process: Any = None
        self._since: float | None = None  # when it was given its job; None while the process starts
        self.busy, self.job = False, None

    @property
    def seconds(self) -> float:
        """How long it has been at its job."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def start_next(self, jobs: Iterator) -> None:
        """Give it the next of `jobs`; without one it is not busy any more."""
        self.busy = False
        for self.job in jobs:
            self.busy = True
            if self._process is None:
                self._start()
            else:
                self._hand_over()
            return

    def receive(self) -> list:
        """[the result of its job], Lost where it died over it; [] when the process has only just started."""
        try:
            message = self.connection.recv()
            if self._since is not None:
                return [message]
            self._hand_over()
            return []
        except (EOFError, ConnectionError):
            self._process.join()
            lost = Lost(self._process.exitcode, self.seconds)
            if self._since is None:
                raise RunError(f"A process to read videos in could not start: {lost}.") from None
            self.kill()
            return [lost]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self.connection.close()
            self._process = None

    def _hand_over(self) -> None:
        self._since = time.monotonic()
        with suppress(BrokenPipeError):  # it is gone: its end is seen where its result is awaited
            self.connection.send(self.job)

    def _start(self) -> None:
        context = start_method("slowfast_gta.data_check.examine")
        self.connection, theirs = context.Pipe()
        self._since = None
        process = context.Process(target=_work, args=(self._function, theirs), daemon=True)
        try:
            process.start()
        except (OSError, EOFError) as fault:  # no memory, too many processes, or what starts them has died
            raise RunError(f"A process to read videos in could not start: {type(fault).__name__}: {fault}.") from None
        self._process = process
        theirs.close()  # the worker holds the only one, so that its end is seen here


def _work(function: Callable, connection: Connection) -> None:
    """In a worker: do what comes until nobody is there any more. Ctrl-C is the main process's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_main_process, daemon=True).start()
    with suppress(EOFError, ConnectionError):
        connection.send("ready")
        while True:
            connection.send(function(connection.recv()))
