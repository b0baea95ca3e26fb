"""What a run says and writes: console and log.txt, metrics.jsonl, TensorBoard, the progress bar."""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from slowfast_gta import distributed

logger = logging.getLogger("slowfast_gta")


def setup_logging(log_file: Path | None = None) -> None:
    """Plain sentences on stderr, the same with times in `log_file`; on the main process only."""
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
    if not distributed.is_main():
        logger.addHandler(logging.NullHandler())
        return
    console = _Console()
    console.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(console)
    if log_file is not None:
        file = _LogFile(log_file)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(file)


class _Console(logging.StreamHandler):
    """Writes to what sys.stderr is at that moment: a notebook, or a test, replaces it."""

    @property
    def stream(self):
        return sys.stderr

    @stream.setter
    def stream(self, value) -> None:
        """StreamHandler sets it once; what it sets is what is read above."""


class _LogFile(logging.FileHandler):
    """A full disk ends the run with a sentence; logging itself would print a traceback and go on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        raise  # logging calls this where it has just caught the error


class MetricsWriter:
    """Numbers of a run: one JSON object a line in metrics.jsonl, and TensorBoard. Quiet on all but the main process."""

    def __init__(self, output_dir: Path, tensorboard: bool):
        self._file, self._board = None, None
        if not distributed.is_main():
            return
        self._file = (output_dir / "metrics.jsonl").open("a")
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            threading.excepthook = _without_disk_faults
            self._board = SummaryWriter(str(output_dir / "tensorboard"))

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """`kind`: train, val or test; `step`: training steps so far."""
        if self._file is None:
            return
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Write what is buffered."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _without_disk_faults(fault: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread, and raises its errors in the main thread too: once is enough."""
    if not issubclass(fault.exc_type, OSError):
        threading.__excepthook__(fault)


class Progress:
    """Iterates over batches and knows how fast it goes: a bar on a terminal, a line now and then in a file.

    After each batch `clips_per_sec` and `data_share` (the part of the time spent waiting for data) are up to date.
    """

    def __init__(self, batches: Iterable[dict], total: int, title: str, start: int = 0):
        self.batches, self.total, self.title, self.start = batches, total, title, start
        self.clips_per_sec = 0.0
        self.data_share = 0.0
        self.seconds = 0.0
        self._note = ""

    def note(self, text: str) -> None:
        """Show `text` (loss, learning rate) beside the bar."""
        self._note = text

    def __iter__(self) -> Iterator[dict]:
        begin, waited, clips = time.perf_counter(), 0.0, 0
        on_terminal = sys.stderr.isatty() and distributed.is_main()
        bar = tqdm(
            total=self.total, initial=self.start, desc=self.title, disable=not on_terminal, leave=False, unit="step"
        )
        with bar, logging_redirect_tqdm([logger]):
            iterator = iter(self.batches)
            while True:
                asked = time.perf_counter()
                batch = next(iterator, None)
                waited += time.perf_counter() - asked
                if batch is None:
                    break
                yield batch
                clips += len(batch["label"])
                self.seconds = time.perf_counter() - begin
                self.clips_per_sec = clips / self.seconds
                self.data_share = waited / self.seconds
                bar.update()
                bar.set_postfix_str(
                    f"{self._note} {self.clips_per_sec:.1f} clips/s, {100 * self.data_share:.0f} % waiting for data"
                )
