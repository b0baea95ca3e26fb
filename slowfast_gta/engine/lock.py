"""One run at a time in an OUTPUT_DIR: two would overwrite each other's checkpoints.

The lock is the kernel's, on OUTPUT_DIR/run.lock: it ends with the process that holds it, however that ends, so none is
ever left behind. What stands in the file only says whose it is.
"""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from slowfast_gta.errors import RunError

logger = logging.getLogger("slowfast_gta")

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # some network file systems have none


@contextlib.contextmanager
def lock_output(
    output_dir: Path, patience_sec: float = 10.0, keep: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Hold OUTPUT_DIR's lock. What is left of a run that was killed is given `patience_sec` to end.

    keep: asked at the end, whether the file stays as it is now; else it is made what it was before.
    Raises RunError that names the process that still holds it.
    """
    path = output_dir / "run.lock"
    with contextlib.ExitStack() as stack:
        while True:
            was_there = path.exists()
            file = stack.enter_context(path.open("a+"))
            try:
                _wait(file, patience_sec)
            except OSError as fault:
                if fault.errno not in _NO_LOCKS:
                    raise
                logger.warning("%s knows no locks: nothing would notice a second run in it.", output_dir)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    break  # else a run that was refused has removed it while this one waited
        file.seek(0)
        before, times = file.read(), path.stat()
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            if not keep():
                _put_back(file, path, before if was_there else None, (times.st_atime_ns, times.st_mtime_ns))


def _put_back(file: IO[str], path: Path, before: str | None, times_ns: tuple[int, int]) -> None:
    """What stood in the file, with its times; None: there was none."""
    if before is None:
        path.unlink(missing_ok=True)
        return
    file.truncate(0)
    file.write(before)
    file.flush()
    os.utime(path, ns=times_ns)


def _wait(file: IO[Any], patience_sec: float) -> None:
    limit = time.monotonic() + patience_sec
    said = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
        folder = Path(file.name).parent
        if time.monotonic() > limit:
            raise RunError(
                f"Another run is using {folder}: {holder}. Choose another OUTPUT_DIR, or end that run first."
            )
        if not said:
            logger.info("Waiting for %s, which is using %s, to end.", holder, folder)
            said = True
        time.sleep(0.2)
