"""Ctrl-C, SIGTERM, and SIGUSR1, a cluster's warning: finish the step, save, and stop with a sentence."""

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Inside `with`, the first of SIGNALS only sets `received`; a second one ends the process at once."""

    def __init__(self):
        self.received = False
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True
