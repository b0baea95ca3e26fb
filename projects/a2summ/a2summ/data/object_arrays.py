"""Reading a dictionary of arrays out of a pickled .npy file of strangers, without running anything of it.

The authors keep features as `np.save(path, {id: array})`: a pickle, and a pickle may call any function. Here every
name that it asks for is answered with a recorder of ours; nothing of NumPy's is called until all has been read, and
then only `np.frombuffer` on bytes that came from the file.
"""

import math
import pickle
import re
import tokenize
from collections import OrderedDict
from pathlib import Path

import numpy as np

from slowfast_gta.errors import DataError

MAX_BYTES = 64 * 2**30
_DTYPE = re.compile(r"[biufSU][0-9]{1,4}|O8?")


class _Refused(pickle.UnpicklingError):
    pass


class _DType:
    """A recorded dtype: its code and its byte order."""

    def __init__(self, code: str, *_):
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise _Refused(f"a dtype of {str(code)[:40]!r}")
        self.code, self.order = code, "|"

    def __setstate__(self, state):
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def made(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _Array:
    """A recorded array: shape, dtype, order and bytes, or, for an array of objects, its list."""

    def __setstate__(self, state):
        _, self.shape, self.dtype, self.fortran, self.data = state

    def made(self) -> object:
        if not isinstance(self.dtype, _DType) or not isinstance(self.shape, tuple):
            raise _Refused("an array without a shape or a dtype")
        if self.dtype.code.startswith("O"):
            if self.shape != () or not isinstance(self.data, list) or len(self.data) != 1:
                raise _Refused("an array of objects inside the dictionary")
            return _made(self.data[0])
        return _from_bytes(self.data, self.dtype, self.shape, "F" if self.fortran else "C")


def _from_bytes(data, dtype: _DType, shape: tuple, order: str) -> np.ndarray:
    if isinstance(data, str):  # protocol 2 and below keep bytes as text
        data = data.encode("latin-1")
    kind = dtype.made()
    if not isinstance(data, bytes | bytearray) or math.prod(shape) * kind.itemsize != len(data):
        raise _Refused(f"an array of shape {shape} and {kind} with other than as many bytes")
    return np.frombuffer(bytes(data), kind).reshape(shape, order=order)


def _reconstruct(kind, *_) -> _Array:
    if kind is not _NDARRAY:
        raise _Refused("an array of a class of its own")
    return _Array()


def _frombuffer(data, dtype, shape, order) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype, data) -> _Array:
    return _frombuffer(data, dtype, (), "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"bytes in {encoding!r}")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    """What protocol 2 calls for an empty string; with an argument it would be a TypeError."""
    return b""


# What the reading of broken or hostile bytes, header and pickle, may end in.
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError, SyntaxError),
    *(OverflowError, MemoryError, RecursionError, tokenize.TokenError),
)
_NDARRAY = object()
_NAMES = {
    **{
        f"numpy.{core}.{name}": value
        for core in ("core", "_core")
        for name, value in {
            "multiarray._reconstruct": _reconstruct,
            "multiarray.scalar": _scalar,
            "numeric._frombuffer": _frombuffer,
        }.items()
    },
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _DType,
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        try:
            return _NAMES[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def _made(value):
    """Recorders -> arrays, in dictionaries, and nothing else but text and numbers."""
    if isinstance(value, _Array):
        return value.made()
    if isinstance(value, dict):
        return {key: _made(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    raise _Refused(f"an object of type {type(value).__name__}")


def load_arrays(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """{id: array} of a file that was written with np.save(path, {id: array}). Raises DataError; runs nothing of it."""
    path = Path(path)
    try:
        if path.stat().st_size > max_bytes:
            raise DataError(f"{path}: {path.stat().st_size / 2**30:.1f} GiB; at most {max_bytes / 2**30:.1f} are read.")
        with path.open("rb") as file:
            _check_header(file, path)
            content = _made(_Unpickler(file, encoding="latin1").load())
    except OSError as fault:
        raise DataError(f"{path}: {fault.strerror or fault}.") from None
    except _Refused as fault:
        raise DataError(
            f"{path}: holds {fault}, which is not read for safety. Wanted: a dictionary of plain arrays, as "
            f"np.save(path, {{id: array}}) writes it."
        ) from None
    except _BROKEN as fault:
        raise DataError(f"{path}: broken or no .npy file of a dictionary ({type(fault).__name__}: {fault}).") from None
    if not isinstance(content, dict) or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise DataError(f"{path}: wanted a dictionary {{id: array}}, found {type(content).__name__}.")
    return {str(key): value for key, value in content.items()}


def _check_header(file, path: Path) -> None:
    version = np.lib.format.read_magic(file)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if reader is None:
        raise DataError(f"{path}: version {version} of the .npy format; 1.0 and 2.0 are read.")
    shape, _, dtype = reader(file)
    if dtype != np.dtype(object) or shape != ():
        raise DataError(f"{path}: an array {shape} of {dtype}; wanted a dictionary {{id: array}}.")
