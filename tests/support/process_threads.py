"""Several processes played by threads of one, which really exchange what they are told to: no seconds to start them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from slowfast_gta.distributed import collectives


class ProcessGroup:
    """What `collectives` asks of torch.distributed, between threads of which each knows its rank."""

    def __init__(self, size: int):
        self._size = size
        self._here = threading.local()
        self._arrived = threading.Barrier(size, timeout=30)
        self._brought: list[Any] = [None] * size

    def run(self, job: Callable[[int], Any]) -> list[Any]:
        """job(rank) on every rank at once; what each returned. One that fails ends the waiting of the others."""

        def as_rank(rank: int) -> Any:
            self._here.rank = rank
            try:
                return job(rank)
            except BaseException:
                self._arrived.abort()
                raise

        with ThreadPoolExecutor(self._size) as threads:
            running = [threads.submit(as_rank, rank) for rank in range(self._size)]
        faults = [one.exception() for one in running if one.exception() is not None]
        for fault in faults:
            if not isinstance(fault, threading.BrokenBarrierError):
                raise fault
        return [one.result() for one in running]

    def _exchange(self, value: Any) -> list[Any]:
        self._brought[self.get_rank()] = value
        self._arrived.wait()
        everywhere = list(self._brought)
        self._arrived.wait()  # before anybody brings the next value
        return everywhere

    def is_initialized(self) -> bool:
        return hasattr(self._here, "rank")

    def get_rank(self) -> int:
        return self._here.rank

    def get_world_size(self) -> int:
        return self._size

    def barrier(self) -> None:
        self._exchange(None)

    def all_gather_object(self, values: list[Any], value: Any) -> None:
        values[:] = self._exchange(value)

    def gather_object(self, value: Any, values: list[Any] | None) -> None:
        everywhere = self._exchange(value)
        if values is not None:
            values[:] = everywhere

    def all_gather(self, tensors: list[torch.Tensor], own: torch.Tensor) -> None:
        for target, source in zip(tensors, self._exchange(own), strict=True):
            target.copy_(source)

    def all_reduce(self, tensor: torch.Tensor) -> None:
        tensor.copy_(torch.stack(self._exchange(tensor.clone())).sum(0))

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        tensor.copy_(self._exchange(tensor.clone())[source])


def on_processes(monkeypatch: pytest.MonkeyPatch, size: int, job: Callable[[int], Any]) -> list[Any]:
    """job(rank) on `size` processes, played by threads: what each returned, in the order of ranks."""
    group = ProcessGroup(size)
    with monkeypatch.context() as patch:
        patch.setattr(collectives, "dist", group)
        return group.run(job)
