"""Files written whole or not at all: whoever looks sees the old content or the new one, never half of it. Locks."""

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

UNFINISHED = ".tmp"
"""What stands behind the name of a file that is being written; a process that is killed may leave one."""


@contextlib.contextmanager
def whole_file(path: str | Path, mode: str = "wb", synced: bool = False, shared: bool = False) -> Iterator[IO]:
    """A new file, open for writing, that takes the name `path` at the end of the block.

    Where the block raises, the file is removed and what was at `path` stays. Text is UTF-8.
    synced: have content and name on the disk too, so that they survive a loss of power.
    shared: other processes may be writing the same path: each under a name of its own first, and the last one stays.
    Raises OSError where it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}{f'.{os.getpid()}' if shared else ''}{UNFINISHED}")
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            if synced:
                file.flush()
                os.fsync(file.fileno())
        try:
            rename_synced(temporary, path) if synced else temporary.replace(path)
        except FileNotFoundError:
            if not (shared and path.exists()):  # another process wrote the file, and removed this one as a leftover
                raise
    except BaseException:
        with contextlib.suppress(OSError):  # the folder itself may be what is wrong
            temporary.unlink()
        raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: str | Path, content: str | bytes, shared: bool = False) -> None:
    """Write `content` as the file `path`, text as UTF-8, whole or not at all. Raises OSError where it cannot."""
    with whole_file(path, shared=shared) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left of writing `shared` files below `folder` that others have written since."""
    for left in folder.rglob(f"*.*{UNFINISHED}"):
        if left.with_suffix("").with_suffix("").is_file():  # NAME.PROCESS.tmp beside NAME
            left.unlink(missing_ok=True)


def rename_synced(temporary: Path, path: Path) -> None:
    """Give a synced file its name, and have the name on the disk too."""
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # some network file systems have none


@contextlib.contextmanager
def file_lock(path: Path, wait_sec: float = -1, on_wait: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the kernel's lock on the file `path` inside the block; gives whether the file system has locks.

    The lock ends with the process that holds it, however that ends. The file is created where it is missing, and its
    content stays. on_wait: called once where another process holds it, before `wait_sec` begin (-1: without limit).
    Raises TimeoutError after them.
    """
    lock, supported = FileLock(path, fallback_to_soft=False), True
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire(timeout=wait_sec)
    except OSError as fault:
        if fault.errno not in _NO_LOCKS:
            raise
        supported = False
    try:
        yield supported
    finally:
        lock.release()
