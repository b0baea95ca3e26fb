"""What a run says: console and log.txt, the progress bar. What it writes in numbers is in writers.py."""

import logging
import logging.handlers
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from slowfast_gta import distributed

logger = logging.getLogger("slowfast_gta")

T = TypeVar("T")

# Where there is no terminal to show a bar:
_LINE_SEC = 60.0  # between two lines about an epoch that continues
_FIRST_LINE_SEC = 20.0  # until the first one, whether a step is complete or not


def setup_logging(log_file: Path | None = None, is_main: bool = True, held: bool = False) -> None:
    """Plain sentences on stderr, the same with times in `log_file`, on the main process only.

    The others write what goes wrong, and nothing else, into log_rank3.txt beside it. is_main: False where this process
    is to be another one, before the rendezvous. held: nothing goes into files before `release_log_file`.
    """
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
    if not (is_main and distributed.is_main() and distributed.find_launch_context(os.environ).is_main):
        logger.addHandler(_of_file(_rank_file(log_file), held) if log_file else logging.NullHandler())
        return
    console = _Console()
    console.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(console)
    if log_file is not None:
        logger.addHandler(_of_file(_LogFile(log_file, delay=held), held))


def release_log_file() -> None:
    """What was held back goes into its file, and all that follows with it."""
    for handler in list(logger.handlers):
        if isinstance(handler, _Held):
            logger.removeHandler(handler)
            logger.addHandler(handler.file)
            handler.setTarget(handler.file)
            handler.flush()


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


def _rank_file(log_file: Path) -> "_LogFile":
    file = _LogFile(log_file.with_name(f"log_rank{distributed.get_rank()}.txt"), delay=True)  # none without a fault
    file.setLevel(logging.WARNING)
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

    def __init__(self, path: Path, delay: bool):
        # Names of files may hold bytes that are no text.
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=delay)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        raise  # logging calls this where it has just caught the error


class Progress:
    """Iterates over batches and knows how fast it goes: a bar on a terminal, a line now and then in a file.

    Both say how much time is left. After each batch `clips_per_sec` and `data_share` (the part of the time spent
    waiting for data) are up to date.
    """

    def __init__(self, batches: Iterable[Any], total: int, title: str, start: int = 0):
        self.batches, self.total, self.title, self.start = batches, total, title, start
        self.clips_per_sec = 0.0
        self.data_share = 0.0
        self.seconds = 0.0
        self._note = ""
        self._waiting = True  # for data, rather than for what is done with them

    def note(self, text: str) -> None:
        """Show `text` (loss, learning rate) beside the bar."""
        self._note = text

    def __iter__(self) -> Iterator[Any]:
        begin, waited, clips = time.perf_counter(), 0.0, 0
        on_terminal = sys.stderr.isatty() and distributed.is_main()
        done, next_line = self.start, _FIRST_LINE_SEC
        with _bar(self.total, self.title, "step", self.start) as bar, self._first_line(on_terminal) as first:
            iterator = iter(self.batches)
            while True:
                asked = time.perf_counter()
                self._waiting = True
                batch = next(iterator, None)
                waited += time.perf_counter() - asked
                if batch is None:
                    break
                self._waiting = False
                yield batch
                first.cancel()
                clips += batch.num_samples
                self.seconds = time.perf_counter() - begin
                self.clips_per_sec = clips / self.seconds
                self.data_share = waited / self.seconds
                done += 1
                if not on_terminal and self.seconds >= next_line and done < self.total:
                    left = _left(self.seconds, done - self.start, self.total - self.start)
                    logger.info("%s: %d/%d, %s, %s", self.title, done, self.total, self._state(), left)
                    next_line = self.seconds + _LINE_SEC
                bar.update()
                bar.set_postfix_str(self._short_state())

    @contextmanager
    def _first_line(self, on_terminal: bool) -> Iterator[threading.Timer]:
        """Meanwhile, a line where the first step takes long; it is cancelled when that is complete."""
        timer = threading.Timer(_FIRST_LINE_SEC, self._log_slow_start)
        timer.daemon = True
        if not on_terminal:
            timer.start()
        try:
            yield timer
        finally:
            timer.cancel()

    def _log_slow_start(self) -> None:
        what = "waiting for its data" if self._waiting else "computing"
        logger.info("%s: step 1 of %d is not complete yet (%s).", self.title, self.total - self.start, what)

    def _state(self) -> str:
        speed = f"{self.clips_per_sec:.1f} clips/s, {100 * self.data_share:.0f} % waiting for data"
        return f"{self._note}, {speed}" if self._note else speed

    def _short_state(self) -> str:
        """For a bar that fits into 80 columns."""
        speed = f"{self.clips_per_sec:.3g} clips/s" if self.clips_per_sec < 1000 else f"{self.clips_per_sec:.0f}/s"
        return f"{self._note}, {speed}" if self._note else speed


def progress_of(items: Iterable[T], title: str, unit: str, total: int) -> Iterator[T]:
    """Each of the `total` items, with a bar on a terminal, or else a line now and then; none for a single one.

    What is printed about an item goes above the bar.
    """
    begin, next_line = time.perf_counter(), _FIRST_LINE_SEC
    shown = total > 1
    on_terminal = sys.stderr.isatty()
    with _bar(total, title, unit, shown=shown) as bar:
        for done, item in enumerate(items, start=1):
            with tqdm.external_write_mode(file=sys.stdout):
                yield item
            bar.update()
            seconds = time.perf_counter() - begin
            if shown and not on_terminal and seconds >= next_line and done < total:
                left = _left(seconds, done, total)
                logger.info("%s: %d/%d %ss, %s", title, done, total, unit, left)
                next_line = seconds + _LINE_SEC


@contextmanager
def _bar(total: int, title: str, unit: str, start: int = 0, shown: bool = True) -> Iterator[tqdm]:
    """A bar with the time left on a terminal, of the main process; else one that shows nothing."""
    disabled = not (shown and sys.stderr.isatty() and distributed.is_main())
    bar = tqdm(
        total=total,
        initial=start,
        desc=title,
        disable=disabled,
        leave=False,
        unit=unit,
        dynamic_ncols=True,
        bar_format="{desc} |{bar:4}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",  # what 80 columns hold
    )
    with bar, logging_redirect_tqdm([logger]):
        yield bar


def _left(seconds: float, done: int, total: int) -> str:
    """The time left, where `done` of `total` took `seconds`."""
    return time_left(seconds / done * (total - done))


def time_left(seconds: float) -> str:
    """In words, as exact as such an estimate is."""
    if seconds >= 5400:
        return f"about {seconds / 3600:.1f} h left"
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"
