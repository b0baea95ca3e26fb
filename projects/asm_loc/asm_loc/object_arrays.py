"""NumPy's object arrays without the danger: they are pickles, and a pickle can run anything.

Read with an unpickler that knows numpy's arrays and nothing else, and a bound on the size of the file. Even numpy's own
constructors are not handed out: given a damaged state they write where they should not, so stand-ins here check every
state first. Used for W-TALC's and CO2-Net's packs.
"""

import math
import pickle
import re
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from slowfast_gta.errors import DataError

MAX_BYTES = 16 * 2**30
MAX_DEPTH = 16  # of lists in lists
_PLAIN_TYPE = re.compile(r"[?]|[biufSU]\d{1,4}|[bhilqBHILQefd]")


def _refuse(why: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(why)


class _Dtype:
    """Stands in for numpy.dtype: a plain type, or objects."""

    def __init__(self, code: str | bytes, align: object = False, copy: object = False) -> None:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        self.order = "="
        if isinstance(code, str) and code in ("O", "O8", "O4"):
            self.code = "O"
        elif isinstance(code, str) and _PLAIN_TYPE.fullmatch(code):
            self.code = code
        else:
            raise _refuse(f"it holds an array of type {code!r}")

    def __setstate__(self, state: tuple) -> None:
        _, order, subarray, names, fields = state[:5]
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if subarray is not None or names is not None or fields is not None or order not in ("<", ">", "|", "="):
            raise _refuse("it holds an array of records")
        self.order = order

    def value(self) -> np.dtype:
        dtype = np.dtype(self.code)
        return dtype if self.order in "|=" else dtype.newbyteorder(self.order)


class _Array:
    """Stands in for numpy.ndarray; `value` is the array once its state has come."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _build(shape, dtype, bool(fortran), data)


def _build(shape: object, dtype: object, fortran: bool, data: object) -> np.ndarray:
    """An array of `data`: bytes for plain types, a list for objects; its size must be what the shape says."""
    if not (isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape) and len(shape) <= 8):
        raise _refuse("an array in it has no proper shape")
    if not isinstance(dtype, _Dtype):
        raise _refuse("an array in it has no proper type")
    num, order = math.prod(shape), "F" if fortran else "C"
    if dtype.code == "O":
        if not isinstance(data, list) or len(data) != num:
            raise _refuse("an array in it has another size than its shape says")
        flat = np.empty(num, object)
        for index, item in enumerate(data):
            flat[index] = item
        return flat.reshape(shape, order=order)
    data = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote bytes as strings
    plain = dtype.value()
    if not isinstance(data, bytes | bytearray) or len(data) != num * plain.itemsize:
        raise _refuse("an array in it has another size than its shape says")
    flat = np.frombuffer(bytes(data), plain) if num else np.empty(0, plain)
    return flat.reshape(shape, order=order).copy()


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    """numpy.core.multiarray._reconstruct: an empty array, whose state is to come."""
    if kind is not _Array:
        raise _refuse("it holds an array of another type")
    return _Array()


def _scalar(dtype: object, data: object = None) -> object:
    """numpy.core.multiarray.scalar: one number or string."""
    if not isinstance(dtype, _Dtype) or dtype.code == "O":
        raise _refuse("it holds a scalar of objects")
    return _build((), dtype, False, data)[()]


def _from_buffer(data: object, dtype: object, shape: object, order: object) -> _Array:
    """numpy.core.numeric._frombuffer, as pickle protocol 5 writes it."""
    array = _Array()
    array.value = _build(shape, dtype, order == "F", data)
    return array


def _latin1(text: object, encoding: object = "latin1") -> bytes:
    """_codecs.encode, which protocol 2 writes bytes with; no other encoding."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _refuse(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], object] = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype}
_ALLOWED["_codecs", "encode"] = _latin1
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _ArraysOnly(pickle._Unpickler):  # the one in Python: the one in C reserves memory that a damaged file asks for
    """Hands out the stand-ins above and refuses every other name."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise _refuse(f"it names {module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: object) -> object:
        raise _refuse("it refers to objects outside the file")

    def get_extension(self, code: int) -> None:
        raise _refuse("it uses an extension code")

    def load_build(self) -> None:
        """A state is for the stand-ins alone: anything else would have attributes set."""
        if not isinstance(self.stack[-2], _Array | _Dtype):
            raise _refuse("it sets the state of something else than an array")
        super().load_build()

    dispatch = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


def _finished(item: object, done: dict[int, object], depth: int = 0) -> object:
    """The stand-ins in `item`, and in lists in it, replaced by what they stand for."""
    if depth > MAX_DEPTH:
        raise _refuse(f"it holds lists nested more than {MAX_DEPTH} deep")
    if isinstance(item, _Array):
        item = item.value
        if item is None:
            raise _refuse("an array in it has no content")
    if isinstance(item, list | tuple):
        if id(item) not in done:
            done[id(item)] = [_finished(part, done, depth + 1) for part in item]
        return done[id(item)]
    if isinstance(item, np.ndarray) and item.dtype == object and id(item) not in done:
        done[id(item)] = item
        for index in np.ndindex(item.shape):
            item[index] = _finished(item[index], done, depth + 1)
    if not isinstance(item, np.ndarray | np.generic | str | bytes | int | float | None):
        raise _refuse(f"it holds a {type(item).__name__}")
    return item


def load_npy(path: Path, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """An .npy file, of plain numbers or strings, or of objects that are arrays, strings, numbers or lists of these.

    Raises DataError for what is missing, too large, damaged, or names anything but numpy's arrays.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(f"{path} has {size} bytes, more than the {max_bytes} that are read of one file.")
        with path.open("rb") as file:
            return _load(path, file)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None


def _load(path: Path, file: BufferedReader) -> np.ndarray:
    try:
        version = npy_format.read_magic(file)
        read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}[version]
        shape, _, dtype = read_header(file)
        if not dtype.hasobject:
            file.seek(0)
            return np.load(file, allow_pickle=False)
        loaded = _ArraysOnly(file, encoding="latin1").load() if dtype == np.dtype(object) else None
        array = _finished(loaded, {})
    except pickle.UnpicklingError as error:
        raise DataError(f"{path} is not a plain array file: {error}. It is refused, since it could run code.") from None
    except Exception as error:  # a damaged pickle can raise anything; nothing in it was run
        raise DataError(f"{path} is damaged ({type(error).__name__}): copy or download it again.") from None
    if not isinstance(array, np.ndarray) or array.shape != tuple(shape):
        raise DataError(f"{path} does not hold the array that its header announces.")
    return array
