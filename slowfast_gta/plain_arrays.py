"""Files of NumPy arrays as data: plain numbers and text, of no more bytes than the file has for them."""

import math
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from slowfast_gta.errors import DataError

MOST_BYTES = 2**33  # of one file's arrays: far above 30 views of Kinetics, far below what a forged header can ask for
MOST_PER_BYTE, UNASKED_BYTES = 50, 2**28  # of arrays for each byte of the file, where there are more than that
_LAST_LETTER = 0x10FFFF


def load_npz(path: Path, max_bytes: int = MOST_BYTES) -> dict[str, np.ndarray]:
    """{name: array} of an .npz file. Raises DataError where it is missing, truncated, no .npz file, too large
    (`max_bytes`), or holds objects, records or text that is no text; nothing is reserved that is not in the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > max_bytes or size > max(UNASKED_BYTES, MOST_PER_BYTE * path.stat().st_size):
                raise ValueError(f"its arrays would have {size} bytes")
            return {entry.filename.removesuffix(".npy"): _read(archive, entry) for entry in entries}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except Exception as fault:  # zip, its compression and NumPy raise a dozen kinds of a damaged file
        reason = " ".join(str(fault).split())[:160]
        raise DataError(f"{path} cannot be read as an .npz file of plain arrays ({reason}).") from None


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """Raises what zipfile and NumPy raise, and ValueError."""
    with archive.open(entry) as file:
        version = npy_format.read_magic(file)
        read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}[version]
        shape, _, dtype = read_header(file)
        num = math.prod(shape)
        if dtype.kind not in "biufcSU" or min(shape, default=0) < 0 or (num > 1 and not dtype.itemsize):
            raise ValueError(f"{entry.filename} is an array of {dtype} {shape}")
        if num * dtype.itemsize != entry.file_size - file.tell():
            raise ValueError(f"{entry.filename} does not have the bytes of an array of {dtype} {shape}")
    with archive.open(entry) as file:
        array = npy_format.read_array(file, allow_pickle=False)
    check_letters(array)
    return array


def check_letters(array: np.ndarray) -> None:
    """Raises ValueError where an array of text holds letters that Python has not; it says so with a SystemError."""
    if array.dtype.kind == "U" and array.nbytes:
        number = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
        if np.ascontiguousarray(array).reshape(-1).view(number).max() > _LAST_LETTER:
            raise ValueError("it holds text that is no text")
