"""What a run says: console and log.txt, the progress bar. What it writes in numbers is in writers.py."""

import logging
import logging.handlers
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from slowfast_gta import distributed

logger = logging.getLogger("slowfast_gta")

_IN_FILES = "%(asctime)s %(levelname)s %(message)s"
_LINE_SEC = 60.0  # between two lines about an epoch that goes on, where there is no terminal to show a bar


def setup_logging(log_file: Path | None = None, is_main: bool = True, held: bool = False) -> None:
    """Plain sentences on stderr, the same with times in `log_file`, on the main process only.

    The others write what goes wrong, and nothing else, into log_rank3.txt beside it. is_main: False where this process
    is to be another one, and they have not met yet. held: nothing goes into files before `release_log_file`.
    """
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
    if not (is_main and distributed.is_main() and distributed.find_place(os.environ).is_main):
        logger.addHandler(_of_file(_rank_file(log_file), held) if log_file else logging.NullHandler())
        return
    console = _Console()
    console.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(console)
    if log_file is not None:
        file = _LogFile(log_file, delay=held)
        file.setFormatter(logging.Formatter(_IN_FILES))
        logger.addHandler(_of_file(file, held))


def release_log_file() -> None:
    """What was held back goes into its file, and all that follows with it."""
    for handler in list(logger.handlers):
        if isinstance(handler, _Held):
            logger.removeHandler(handler)
            logger.addHandler(handler.file)
            handler.write_out()


def close_log_file() -> None:
    """What is logged from now on is for the console alone."""
    for handler in list(logger.handlers):
        if isinstance(handler, _LogFile | _Held):
            logger.removeHandler(handler)
            handler.close()


def log_to_file(level: int, text: str) -> None:
    """A line that log.txt has and the console has not."""
    record = logger.makeRecord(logger.name, level, "", 0, text, (), None)
    for handler in logger.handlers:
        if isinstance(handler, _LogFile | _Held) and level >= handler.level:
            handler.handle(record)


def _of_file(file: "_LogFile", held: bool) -> logging.Handler:
    return _Held(file) if held else file


class _Held(logging.handlers.MemoryHandler):
    """Keeps what is logged until its file may be written."""

    def __init__(self, file: "_LogFile"):
        super().__init__(capacity=10**9, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        self.file = file
        self.setLevel(file.level)

    def write_out(self) -> None:
        """Into the file with it."""
        self.setTarget(self.file)
        self.flush()


def _rank_file(log_file: Path) -> "_LogFile":
    file = _LogFile(log_file.with_name(f"log_rank{distributed.get_rank()}.txt"), delay=True)  # none without a fault
    file.setLevel(logging.WARNING)
    file.setFormatter(logging.Formatter(_IN_FILES))
    return file


class _Console(logging.StreamHandler):
    """Writes to what sys.stderr is at that moment: a notebook, or a test, replaces it."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        """StreamHandler sets it once; what it sets is what is read above."""


class _LogFile(logging.handlers.WatchedFileHandler):
    """Made again where somebody removed it. A full disk ends the run with a sentence; logging itself would print a
    traceback and go on."""

    def __init__(self, path: Path, delay: bool = False):
        # Names of files may hold bytes that are no text.
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=delay)

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        raise  # logging calls this where it has just caught the error


class Progress:
    """Iterates over batches and knows how fast it goes: a bar on a terminal, a line now and then in a file.

    After each batch `clips_per_sec` and `data_share` (the part of the time spent waiting for data) are up to date.
    """

    def __init__(self, batches: Iterable[Any], total: int, title: str, start: int = 0):
        self.batches, self.total, self.title, self.start = batches, total, title, start
        self.clips_per_sec = 0.0
        self.data_share = 0.0
        self.seconds = 0.0
        self._note = ""

    def note(self, text: str) -> None:
        """Show `text` (loss, learning rate) beside the bar."""
        self._note = text

    def __iter__(self) -> Iterator[Any]:
        begin, waited, clips = time.perf_counter(), 0.0, 0
        on_terminal = sys.stderr.isatty() and distributed.is_main()
        done, next_line = self.start, _LINE_SEC
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
                clips += batch.num_samples
                self.seconds = time.perf_counter() - begin
                self.clips_per_sec = clips / self.seconds
                self.data_share = waited / self.seconds
                done += 1
                if not on_terminal and self.seconds >= next_line:
                    logger.info("%s: %d/%d, %s", self.title, done, self.total, self._state())
                    next_line = self.seconds + _LINE_SEC
                bar.update()
                bar.set_postfix_str(self._state())

    def _state(self) -> str:
        speed = f"{self.clips_per_sec:.1f} clips/s, {100 * self.data_share:.0f} % waiting for data"
        return f"{self._note}, {speed}" if self._note else speed
