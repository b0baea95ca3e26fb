"""Ctrl-C and SIGTERM: finish the step, save, and stop with a sentence."""

import signal
from types import FrameType


class StopRequest:
    """Inside `with`, the first SIGINT or SIGTERM only sets `received`; a second one ends the process at once."""

    def __init__(self):
        self.received = False
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True
