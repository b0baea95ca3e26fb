"""NumPy's object arrays without the danger: they are pickles, and a pickle can run anything.

Read with an unpickler that knows numpy's arrays and nothing else, and a bound on the size of the file. Used for
W-TALC's and CO2-Net's packs.
"""

import io
import pickle
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from slowfast_gta.errors import DataError

MAX_BYTES = 16 * 2**30
_ALLOWED = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """What pickles of bytes made by Python 3 for protocol 2 call; nothing but this one encoding."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """find_class hands out numpy's array constructors and refuses every other name."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if module in _ARRAY_MODULES and name in ("_reconstruct", "scalar"):
            return _reconstruct if name == "_reconstruct" else _scalar
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def _reconstruct(kind: type, shape: tuple, code: bytes) -> np.ndarray:
    """numpy's own empty array, to be filled by its state; only plain arrays."""
    if kind is not np.ndarray or shape != (0,):  # the size comes with the data, which numpy checks against it
        raise pickle.UnpicklingError("it holds an array of another type")
    return np.ndarray.__new__(np.ndarray, shape, code)


def _scalar(dtype: np.dtype, data: bytes | str) -> object:
    """A numpy scalar of a plain type; Python 2 wrote the bytes as a string."""
    if dtype.hasobject:
        raise pickle.UnpicklingError("it holds a scalar of objects")
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype)[0]


def load_npy(path: Path, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """An .npy file, of plain numbers or strings or of objects that are arrays, strings, numbers or lists of these.

    Raises DataError for what is missing, too large, damaged, or names anything but numpy's arrays.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(f"{path} has {size} bytes, more than the {max_bytes} that are read of one file.")
        with path.open("rb") as file:
            return _load(path, file, size)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None


def _load(path: Path, file: io.BufferedReader, size: int) -> np.ndarray:
    try:
        version = npy_format.read_magic(file)
        read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}[version]
        shape, _, dtype = read_header(file)
        if not dtype.hasobject:
            file.seek(0)
            return np.load(file, allow_pickle=False)
        if dtype != np.dtype(object):
            raise DataError(f"{path} holds records of objects, which are not read.")
        if int(np.prod(shape, dtype=np.float64)) > size:
            raise DataError(f"{path} says that it holds {shape} objects, more than it has bytes.")
        loaded = _ArraysOnly(file, encoding="latin1").load()
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        raise DataError(f"{path} is not a plain array file: {error}. It is refused, since it could run code.") from None
    except Exception as error:  # a damaged pickle can raise anything; nothing in it was run
        raise DataError(f"{path} is damaged ({type(error).__name__}): copy or download it again.") from None
    array = loaded if isinstance(loaded, np.ndarray) else None
    if array is None or array.shape != tuple(shape):
        raise DataError(f"{path} does not hold the array that its header announces.")
    return array
