"""Batches across windows and across videos, and reading ahead of the network: order is kept, memory is bounded."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from slowfast_gta.inference.network import EvalNetwork, Wanted

Item = TypeVar("Item")
Source = TypeVar("Source")

_END = object()
_LOOK_SEC = 0.2  # between two checks whether the reader has ended


class _Pending:
    """An item, and the outputs for its clips that have come; without clips it only keeps its place in the order."""

    def __init__(self, item: Any, num_clips: int):
        self.item, self.num_clips = item, num_clips
        self.outputs: list[dict[str, np.ndarray]] = []

    @property
    def is_complete(self) -> bool:
        return len(self.outputs) == self.num_clips

    def concatenate(self) -> dict[str, np.ndarray]:
        return (
            {name: np.stack([output[name] for output in self.outputs]) for name in self.outputs[0]}
            if self.outputs
            else {}
        )


def predict_all(
    items: Iterable[tuple[Item, np.ndarray | None]], network: EvalNetwork, wanted: Wanted
) -> Iterator[tuple[Item, dict[str, np.ndarray]]]:
    """(item, clips (V, T, S, S, 3) or None) -> (item, {name: (V, ...)}), in the same order.

    Clips of whatever items fill a batch; where the next one has another shape, it begins another batch.
    """
    waiting: deque[_Pending] = deque()
    batch: list[tuple[_Pending, np.ndarray]] = []

    def compute() -> None:
        outputs = network(np.stack([clip for _, clip in batch]), wanted)
        for number, (pending, _) in enumerate(batch):
            pending.outputs.append({name: values[number] for name, values in outputs.items()})
        batch.clear()

    for item, clips in items:
        pending = _Pending(item, 0 if clips is None else len(clips))
        waiting.append(pending)
        for clip in () if clips is None else clips:
            if batch and batch[0][1].shape != clip.shape:
                compute()
            batch.append((pending, clip))
            if len(batch) == network.batch_size:
                compute()
        while waiting and waiting[0].is_complete:
            done = waiting.popleft()
            yield done.item, done.concatenate()
    if batch:
        compute()
    for done in waiting:
        yield done.item, done.concatenate()


def read_ahead(read: Callable[[Source], Iterable[Item]], sources: Sequence[Source], num_threads: int) -> Iterator[Item]:
    """All items of read(source), source after source, while the next `num_threads` sources are being read.

    Each thread is at most a few items ahead. What `read` raises is raised here, in its place.
    """
    if num_threads < 1:
        for source in sources:
            yield from read(source)
        return
    rest: Iterator[Any] = iter(sources)
    readers: deque[_Reader] = deque()
    try:
        while True:
            while len(readers) < num_threads and (source := next(rest, _END)) is not _END:
                readers.append(_Reader(read, cast("Source", source)))
            if not readers:
                return
            yield from readers[0]
            readers.popleft()
    finally:
        for reader in readers:
            reader.stop()


class _Reader:
    """A thread that reads one source."""

    def __init__(self, read: Callable[[Source], Iterable[Item]], source: Source, depth: int = 4):
        self._queue: queue.Queue = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(read, source), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while True:
            item, fault = self._queue.get()
            if fault is not None:
                raise fault
            if item is _END:
                return
            yield item

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self, read: Callable[[Source], Iterable[Item]], source: Source) -> None:
        items: Any = None
        try:
            items = iter(read(source))
            for item in items:
                if not self._put(item, None):
                    break
        except BaseException as fault:
            self._put(None, fault)
        else:
            self._put(_END, None)
        finally:
            if hasattr(items, "close"):  # in this thread: it has the container open
                items.close()

    def _put(self, item: object, fault: BaseException | None) -> bool:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put((item, fault), timeout=_LOOK_SEC)
                return True
        return False
