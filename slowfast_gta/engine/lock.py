"""One run at a time in an OUTPUT_DIR: two would overwrite each other's checkpoints.

The lock is the kernel's, on OUTPUT_DIR/run.lock: it ends with the process that holds it, however that ends, so none is
ever left behind. What stands in the file only says whose it is.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from slowfast_gta.errors import RunError
from slowfast_gta.files import file_lock

logger = logging.getLogger("slowfast_gta")


@contextlib.contextmanager
def lock_output(
    output_dir: Path, patience_sec: float = 10.0, keep: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Hold OUTPUT_DIR's lock. What is left of a run that was killed is given `patience_sec` to end.

    keep: asked at the end, whether the file stays as it is now; else it is made what it was before.
    Raises RunError that names the process that still holds it.
    """
    path = output_dir / "run.lock"

    def warn() -> None:
        logger.info("Waiting for %s to end, which is using %s.", _holder(path), output_dir)

    with contextlib.ExitStack() as stack:
        try:
            supported = stack.enter_context(file_lock(path, patience_sec, warn))
        except TimeoutError:
            raise RunError(
                f"Another run is using {output_dir}: {_holder(path)}. Choose another OUTPUT_DIR, or end that run first."
            ) from None
        if not supported:
            logger.warning("File locking is not supported on %s; a second run there will not be detected.", output_dir)
        before = path.read_text() if path.exists() else ""  # nothing: the lock has just made it
        times = path.stat() if before else None
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        try:
            yield
        finally:
            if not keep():
                _put_back(path, before, times)


def _holder(path: Path) -> str:
    """Whose lock it is, as far as the file says so."""
    with contextlib.suppress(OSError):
        return path.read_text() or "another process"
    return "another process"


def _put_back(path: Path, before: str, times: os.stat_result | None) -> None:
    """What stood in the file, with its times; nothing: there was none."""
    if times is None:
        path.unlink(missing_ok=True)
        return
    path.write_text(before)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
