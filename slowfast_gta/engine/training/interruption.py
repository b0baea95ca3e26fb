"""Ctrl-C, SIGTERM, and SIGUSR1 or SIGUSR2, a cluster's warnings: finish the step, save, and stop with a sentence."""

import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """Inside `with`, SIGNALS only set `received`; a second Ctrl-C ends the process at once.

    Not a second one of the others: a cluster may send several on its way to the end of its patience.
    """

    def __init__(self) -> None:
        self.received = False
        self._interrupted = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self.received = True
        self._interrupted |= number == signal.SIGINT
