"""Which record each worker is reading and since when, so that one that never comes back is noticed from outside.

The reader keeps to its time limit itself, as long as it gets to look at the clock. A worker that waits in the kernel,
for a file server that went away, does not: a thread of the main process looks here, ends it and gives the record up.

A batch may be lost on its way from a worker (a full /dev/shm). Nobody is stuck then: the main process waits, and no
worker reads anything. The same thread ends a worker, so that the main process, which notices that, waits no more.

W workers.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.utils.data import get_worker_info

from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import ReadTimeoutError

_MORE_THAN_THE_LIMIT = 1.5  # times the limit: the reader, which says more, is to come first
_LOOK_SEC = 0.5  # between two looks
_IDLE_SEC = 30.0  # of all workers, while the main process waits, until a batch is taken for lost


class StuckWorkerWatchdog:
    """Goes to every worker with the records; what they note is in memory that all share."""

    def __init__(self, num_workers: int = 0, limit_sec: float = 0.0):
        """`limit_sec` 0: there is no limit."""
        self.limit_sec = limit_sec
        self.given_up: dict[int, str] = {}  # index of a record: why it is not read any more
        self.lost_after_sec = 0.0  # how long all workers were idle when a batch was taken for lost; 0: none was
        self._waiting_since = float("inf")
        self._num_workers = num_workers
        # (W, 3): pid; index of the record + 1, or 0 for none; since when, on the clock that all processes share.
        self._notes = torch.zeros(max(1, num_workers), 3, dtype=torch.float64).share_memory_()

    @contextmanager
    def reading(self, index: int) -> Iterator[None]:
        """Notes that this worker reads record `index` meanwhile. Raises ReadTimeoutError where it was given up."""
        if index in self.given_up:
            raise ReadTimeoutError(self.given_up[index])
        worker = get_worker_info()
        note = self._notes[worker.id if worker else 0].numpy()
        note[0], note[2] = os.getpid(), time.monotonic()
        note[1] = index + 1  # last: who looks in between must not find the time of the record before
        try:
            yield
        finally:
            note[1], note[2] = 0, time.monotonic()

    def begin(self) -> None:
        """New workers will start."""
        self._notes.zero_()

    def started(self, number: int) -> None:
        """Notes, in a worker, that it is there and reads nothing yet."""
        self._notes[number] = torch.tensor([os.getpid(), 0.0, time.monotonic()], dtype=torch.float64)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Meanwhile the main process waits for a batch."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = float("inf")

    @contextmanager
    def ending_stuck_workers(self, records: Sequence[VideoRecord]) -> Iterator[None]:
        """Meanwhile, a worker that is well beyond the limit is killed, and the one of `records` it reads given up; and
        one is killed where a batch is lost.

        What is given up counts for workers that are started from then on.
        """
        over = threading.Event()
        looking = threading.Thread(target=self._look_until, args=(over, records), daemon=True)
        if self._num_workers:
            looking.start()
        try:
            yield
        finally:
            over.set()
            if looking.is_alive() and looking is not threading.current_thread():
                looking.join()  # one that is inside torch when the process ends would abort it

    def _look_until(self, over: threading.Event, records: Sequence[VideoRecord]) -> None:
        limit_sec = _MORE_THAN_THE_LIMIT * self.limit_sec if self.limit_sec else float("inf")
        while not over.wait(_LOOK_SEC):
            self._look_for_lost_batch()
            latest = time.monotonic() - limit_sec
            stuck = {int(pid): int(noted) - 1 for pid, noted, since in self._notes.tolist() if noted and since < latest}
            for child in multiprocessing.active_children() if stuck else ():
                if child.pid in stuck:
                    self._give_up(stuck[child.pid], records[stuck[child.pid]].path)
                    child.kill()

    def _look_for_lost_batch(self) -> None:
        notes = self._notes.tolist()
        since = max([self._waiting_since, *(note[2] for note in notes)])
        busy = any(noted or not pid for pid, noted, _ in notes)  # a worker without a pid has yet to start
        if busy or time.monotonic() - since < _IDLE_SEC:
            return
        for child in multiprocessing.active_children():
            if child.pid == int(notes[0][0]):
                self.lost_after_sec = _IDLE_SEC
                child.kill()

    def _give_up(self, index: int, path: str) -> None:
        self.given_up[index] = (
            f"{path}: reading it did not finish within {_MORE_THAN_THE_LIMIT * self.limit_sec:g} s, and the "
            f"stuck worker was killed (DATA_LOADER.SAMPLE_TIMEOUT_SEC is {self.limit_sec:g})."
        )
