"""The processes that read videos: how they start, which signals reach them, when they end."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.queues import Queue
from types import FrameType, TracebackType
from typing import Any

import cv2

# A terminal sends the first to every process of a run, a cluster all of them: to end is the main process's business.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_LAST_CLIPS_SEC = 30.0  # what a worker that is asked to end continues for: the main process may need its step's clips
_LAST_BREATH_SEC = 5.0  # between the end of a killed process's connections and its own


def start_method(preload: str = "slowfast_gta.loading.clips") -> Any:
    """How multiprocessing starts them: from a clean server process where there is one, which imports `preload` once."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    return context


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Processes that start inside `with` begin with _SIGNALS held back: the server of the workers for ever."""
    resource_tracker.ensure_running()  # its start, which comes with that of the server, would let signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_later(number: int, frame: FrameType | None) -> None:
    """A worker's handler of SIGTERM."""
    timer = threading.Timer(_LAST_CLIPS_SEC, os._exit, [128 + number])
    timer.daemon = True
    timer.start()


def start_worker(number: int) -> None:
    """The workers are the parallelism; signals are the main process's business alone; they do not outlive it."""
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    cv2.setNumThreads(0)
    setattr(Queue, "_on_queue_feeder_error", staticmethod(_end_at_lost_batch))  # noqa: B010 - it has no public name
    sys.excepthook = _on_fault_of_a_thread
    threading.Thread(target=end_with_main_process, daemon=True).start()


def _on_fault_of_a_thread(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """The thread of multiprocessing that hands batches over prints its faults by this. A connection that broke off
    because the main process was killed is none of the worker's: it ends with it, without a traceback."""
    main = multiprocessing.parent_process()
    if main is not None and issubclass(kind, (ConnectionError, EOFError)):
        main.join(_LAST_BREATH_SEC)
        if not main.is_alive():
            os._exit(1)
    sys.__excepthook__(kind, fault, trace)


def _end_at_lost_batch(fault: Exception, batch: object) -> None:
    """A thread of the queue could not hand `batch` over (/dev/shm is full, mostly). It would print a traceback, and the
    main process would wait for ever: it does notice the end of a worker."""
    print(
        f"A batch could not be transferred to the main process: {' '.join(str(fault).split())[:300]}",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def end_with_main_process() -> None:
    """Ends this worker when the main process is gone, killed perhaps: torch watches the server process instead, and a
    job in isolation may never end."""
    main = multiprocessing.parent_process()
    assert main is not None, "a worker has a main process"
    multiprocessing.connection.wait([main.sentinel])
    os._exit(1)
