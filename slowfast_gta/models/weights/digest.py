"""A file that says itself whether it is whole: the SHA-256 of what stands before it, as the comment of a zip archive.

torch's files are zip archives, and torch itself does not look at their checksums. Every program that reads the archive
skips its comment, so PySlowFast and plain `torch.load` read such a file as any other.
"""

import hashlib
import struct
from pathlib import Path
from typing import Any

from slowfast_gta.errors import WeightsError

_WORD = b"sha256:"
_SIZE = len(_WORD) + 2 * hashlib.sha256().digest_size
_END = 22  # bytes of an archive's last record, before the comment
_BLOCK = 1 << 20


def append_digest(file: Any) -> None:
    """Close the archive in `file` (open for reading and writing, without a comment) with its digest."""
    file.seek(-2, 2)
    file.write(struct.pack("<H", _SIZE))  # how long the comment will be: the last two bytes of an archive without one
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0, 2)
    file.write(_WORD + digest.encode())


def check_digest(path: Path) -> None:
    """Raises WeightsError where the file has a digest, and it is not that of its content. Other files have none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _END - _SIZE))
        last = file.read()
        begin = last.rfind(b"PK\5\6")  # the last record of an archive: 22 bytes, then the comment
        if begin < 0 or last[begin + _END - 2 : begin + _END] != struct.pack("<H", _SIZE):
            return
        comment = last[begin + _END :]
        file.seek(0)
        found, left = hashlib.sha256(), size - len(comment)
        while block := file.read(min(_BLOCK, left)):
            found.update(block)
            left -= len(block)
    if comment != _WORD + found.hexdigest().encode():
        raise WeightsError(
            f"{path} cannot be read: its content is not what its SHA-256 says. It is torn or was changed."
        )
