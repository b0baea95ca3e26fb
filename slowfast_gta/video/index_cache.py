"""What is known of the packets of long videos, kept on disk: to read a clip, only its own packets are read then.

A file of the cache is named after the path, size and date of its video, so that one of a changed video is never found.
It holds plain numbers behind a checksum; whatever is wrong with it, it is as if it were not there. It is written whole
or not at all, and a disk that cannot be written to is no fault. The oldest ones go when there are too many.

    $XDG_CACHE_HOME/slowfast_gta/packets/<digest>.idx          or ~/.cache/...
"""

import hashlib
import os
import struct
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from slowfast_gta.video.packet_index import IS_KEY, IS_SHOWN, PacketIndex, PacketTable

_FORMAT = b"slowfast_gta packets 1\n"
_HEADER = struct.Struct("<32sQI")  # digest of the video, number of packets, checksum of what follows
_COLUMNS = ("<i8", "<i8", "<i8", "<i8", "<u1")  # those of PacketTable

_MIN_PACKETS = 2000  # videos of fewer are demultiplexed as fast as their index is found
_MIN_FILE_BYTES = 2**21  # smaller files are not looked for: they are read in no time
_MAX_PACKETS = 2**24  # more than six days of film
MAX_CACHE_BYTES = 2**30  # of all files together
_MAX_IN_MEMORY = 4  # indices of this process

_in_memory: OrderedDict[bytes, PacketIndex] = OrderedDict()


class Key(NamedTuple):
    """What a video is found by."""

    digest: bytes
    file: Path


def key_of(path: str) -> Key | None:
    """The key of the video at `path` as it is now; None where there can be no cache of it."""
    try:
        status = os.stat(path)  # noqa: PTH116 - paths that are no text are possible too
        folder = _folder()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: nobody knows where home is
        return None
    if status.st_size < _MIN_FILE_BYTES:
        return None
    # Another FFmpeg may cut a file into other packets.
    facts = (os.path.realpath(path), status.st_size, status.st_mtime_ns, av.library_versions["libavformat"])
    digest = hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).digest()
    return Key(digest, folder / f"{digest.hex()[:40]}.idx")


def load(key: Key, has_times: bool, reorders: bool) -> PacketIndex | None:
    """The index of a video, or None where there is none that can be trusted."""
    if key.digest in _in_memory:
        _in_memory.move_to_end(key.digest)
        return _in_memory[key.digest]
    try:
        table = _table(key)
    except (OSError, ValueError, struct.error):
        return None
    index = PacketIndex(table, has_times, reorders)
    if not index.num_frames:
        return None
    _remember(key, index)
    return index


def save(key: Key, index: PacketIndex) -> bool:
    """Writes the index of a long video; whether it is on disk now."""
    table = index.table
    if not _MIN_PACKETS <= len(table) <= _MAX_PACKETS:
        return False
    _remember(key, index)
    columns = (table.pts, table.dts, table.pos, table.size, table.flags)
    content = b"".join(column.astype(kind).tobytes() for column, kind in zip(columns, _COLUMNS, strict=True))
    header = _FORMAT + _HEADER.pack(key.digest, len(table), zlib.crc32(content))
    temporary = None
    try:
        key.file.parent.mkdir(parents=True, exist_ok=True)
        _make_room(key.file.parent, len(content))
        with tempfile.NamedTemporaryFile(dir=key.file.parent, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            file.write(header)
            file.write(content)
        temporary.replace(key.file)
    except OSError:
        if temporary:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return False
    return True


def forget(key: Key | None) -> None:
    """Takes a video out, whose index has shown to be wrong."""
    if key:
        _in_memory.pop(key.digest, None)
        with suppress(OSError):
            key.file.unlink(missing_ok=True)


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    root = Path(home) if home and os.path.isabs(home) else Path.home() / ".cache"  # noqa: PTH117
    return root / "slowfast_gta" / "packets"


def _table(key: Key) -> PacketTable:
    """Raises OSError or ValueError where the file is not there, or not as it was written."""
    row_bytes = sum(int(kind[-1]) for kind in _COLUMNS)
    # A pipe of that name must not be waited for.
    descriptor = os.open(key.file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if file.read(len(_FORMAT)) != _FORMAT:
            raise ValueError
        digest, num_packets, checksum = _HEADER.unpack(file.read(_HEADER.size))
        expected = len(_FORMAT) + _HEADER.size + num_packets * row_bytes
        if digest != key.digest or not 0 < num_packets <= _MAX_PACKETS or os.fstat(file.fileno()).st_size != expected:
            raise ValueError
        content = file.read(num_packets * row_bytes)
    if len(content) != num_packets * row_bytes or zlib.crc32(content) != checksum:
        raise ValueError
    return PacketTable(*_columns(content, num_packets))


def _columns(content: bytes, num_packets: int) -> Iterator[np.ndarray]:
    offset = 0
    for kind in _COLUMNS:
        column = np.frombuffer(content, kind, num_packets, offset)
        offset += column.nbytes
        yield column & (IS_KEY | IS_SHOWN) if kind == "<u1" else column


def _remember(key: Key, index: PacketIndex) -> None:
    _in_memory[key.digest] = index
    while len(_in_memory) > _MAX_IN_MEMORY:
        _in_memory.popitem(last=False)


def _make_room(folder: Path, num_bytes: int) -> None:
    """Takes out the oldest files until `num_bytes` more are within the limit."""
    with os.scandir(folder) as entries:
        files = [(entry.stat(follow_symlinks=False), entry.path) for entry in entries if entry.is_file()]
    total = num_bytes + sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
        if total <= MAX_CACHE_BYTES:
            return
        with suppress(OSError):
            Path(path).unlink()
        total -= status.st_size
