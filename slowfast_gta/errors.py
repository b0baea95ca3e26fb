"""What a user can do wrong, as sentences.

Every error class here ends a command with its message alone, no traceback: the message says what was
wrong, where, what is allowed and what to do. Anything else that is raised is a bug of ours and shows
its traceback.
"""

import errno
from collections.abc import Iterable, Sequence


def counted(number: float | Sequence[int], noun: str, form: str = "") -> str:
    """1 video, 2 videos; 1 class, 2 classes. [3, 4] classes. `form`: the number's format, "," for 1,000 videos."""
    return f"{number:{form}} {noun}" + ("" if number == 1 else "es" if noun.endswith(("s", "x", "ch")) else "s")


class UserError(Exception):
    """A fault in what the user gave us. `exit_code` is what the command ends with."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """A config or a command line that cannot be run as written. `keys` are the config keys it is about, if it is."""

    exit_code = 2

    def __init__(self, message: str, keys: Iterable[str] = ()):
        super().__init__(message)
        self.keys = tuple(keys)


class DataError(UserError):
    """A data set, list, video or frame folder that is missing, broken or not what it should be."""


class ReadTimeoutError(DataError):
    """A video that takes longer to read than DATA_LOADER.SAMPLE_TIMEOUT_SEC allows."""


class WeightsError(UserError):
    """A checkpoint that cannot be read, is not safe to read, or does not fit the network."""


class RunError(UserError):
    """A run that cannot go on: no disk space, no permission, no GPU, a non-finite loss."""


class Interrupted(UserError):  # noqa: N818 - it is no error
    """The user, or the cluster, asked the run to stop, and it did so in order."""

    exit_code = 130


# What a disk says that is full, not ours to write, or has another thing of that name: no traceback, since no bug.
DISK_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
)
