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
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from slowfast_gta.errors import RunError

logger = logging.getLogger("slowfast_gta")

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # some network file systems have none


@contextlib.contextmanager
def lock_output(output_dir: Path, patience_sec: float = 10.0) -> Iterator[None]:
    """Hold OUTPUT_DIR's lock. What is left of a run that was killed is given `patience_sec` to end.

    Raises RunError that names the process that still holds it.
    """
    with (output_dir / "run.lock").open("a+") as file:
        try:
            _wait(file, patience_sec)
        except OSError as fault:
            if fault.errno not in _NO_LOCKS:
                raise
            logger.warning("%s knows no locks: nothing would notice a second run in it.", output_dir)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


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
