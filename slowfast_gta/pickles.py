"""Pickles as data: plain containers, text, numbers and NumPy arrays are read out of them, and nothing is run.

A pickle is a program that may call anything. Here every name that it asks for is looked up in a short list of
stand-ins, written below; Python's own unpickler, the one in Python, carries out the rest, but for instructions that no
file of arrays needs. NumPy's constructors are not handed out either: given a damaged state they write where they should
not, so the stand-ins check every size before an array is made. What a file declares is never believed: nothing is
reserved that is not in the file, and what is made out of it is a few times its size at most.
"""

import math
import pickle
import re
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from slowfast_gta.errors import DataError
from slowfast_gta.plain_arrays import check_letters

MAX_BYTES = 16 * 2**30  # of a file of object arrays
MAX_DEPTH = 16  # of containers in containers
MOST_PER_BYTE = 4  # bytes that may be made for each byte of the file
_PLAIN_TYPE = re.compile(r"[?]|[biufSU]\d{1,4}|[bhilqBHILQefd]")
_OBJECTS = ("O", "O4", "O8")


class PickleError(Exception):
    """A pickle that was not read, having run nothing; its text is the reason."""


class RefusedPickleError(PickleError):
    """It asks for what is not data: "it ..."."""


class TornPickleError(PickleError):
    """It is no whole pickle; the text is the type of Python's exception."""


def read_pickle(file: BinaryIO, num_bytes: int) -> Any:
    """What the pickle that begins in `file`, `num_bytes` before its end, holds: dict, list, tuple, text, bytes,
    numbers, None, NumPy arrays and scalars. Raises PickleError."""
    try:
        return _finished(_DataUnpickler(file, num_bytes).load(), {})
    except PickleError:
        raise
    except Exception as fault:  # a truncated pickle can raise anything; every one means the same
        raise TornPickleError(type(fault).__name__) from None


def load_object_array(path: Path, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """An .npy file of plain numbers or text, or of objects that are arrays, text, numbers or containers of these.

    Raises DataError for what is missing, too large, damaged, or holds anything else; runs nothing of it.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(f"{path} has {size} bytes, more than the limit of {max_bytes}.")
        with path.open("rb") as file:
            return _read_npy(path, file, size)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except OSError as fault:
        raise DataError(f"{path}: {fault.strerror or fault}.") from None


def _read_npy(path: Path, file: BufferedReader, size: int) -> np.ndarray:
    try:
        version = npy_format.read_magic(file)
        read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}[version]
        shape, _, dtype = read_header(file)
        if not dtype.hasobject:
            file.seek(0)
            array = np.load(file, allow_pickle=False)
            check_letters(array)
            return array
        array = read_pickle(file, size - file.tell()) if dtype == np.dtype(object) else None
    except RefusedPickleError as fault:
        raise DataError(f"{path} is not a plain array file: {fault}. It is refused, since it could run code.") from None
    except Exception as fault:  # of the header; nothing was run
        raise DataError(f"{path} is damaged ({type(fault).__name__}): copy or download it again.") from None
    if not isinstance(array, np.ndarray) or array.shape != tuple(shape):
        raise DataError(f"{path} does not contain the array that its header declares.")
    return array


# --------------------------------------------------------------------------------------------------------- stand-ins


class _Dtype:
    """Stands in for numpy.dtype: a plain type, or objects."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not (code in _OBJECTS or _PLAIN_TYPE.fullmatch(code)):
            raise RefusedPickleError(
                f"it contains an array of type {str(code)[:20]!r}, which is not one of plain values"
            )
        self.code, self.order = "O" if code in _OBJECTS else code, "="

    def __setstate__(self, state: tuple) -> None:
        _, order, *about_records = state[:5]
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if any(part is not None for part in about_records):
            raise RefusedPickleError("it contains an array of records")
        if order not in ("<", ">", "|", "="):
            raise RefusedPickleError(f"it contains an array with the byte order {str(order)[:20]!r}")
        self.order = order

    def value(self) -> np.dtype:
        dtype = np.dtype(self.code)
        return dtype if self.order in "|=" else dtype.newbyteorder(self.order)  # type: ignore[arg-type]


class _Array:
    """Stands in for numpy.ndarray; `value` is the array once its state has come."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _build(shape, dtype, bool(fortran), data)


def _build(shape: Any, dtype: Any, fortran: bool, data: Any) -> np.ndarray:
    """An array of `data`: bytes for plain types, a list for objects; its size must be what the shape says."""
    if not (isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape) and len(shape) <= 8):
        raise RefusedPickleError(f"it contains an array whose shape is {str(shape)[:40]}")
    if not isinstance(dtype, _Dtype):
        raise RefusedPickleError("it contains an array without a type")
    num, order = math.prod(shape), "F" if fortran else "C"
    if dtype.code == "O":
        if not isinstance(data, list) or len(data) != num:
            raise RefusedPickleError(f"it declares an array of {num} objects but contains something else")
        flat = np.empty(num, object)
        for index, item in enumerate(data):
            flat[index] = item
        return flat.reshape(shape, order=order)  # type: ignore[call-overload]
    data = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote bytes as text
    plain = dtype.value()
    if not isinstance(data, bytes | bytearray) or len(data) != num * plain.itemsize:
        raise RefusedPickleError(f"it declares an array of {num} values but contains another number of bytes")
    if num > 1 and not plain.itemsize:  # U0: any number of values in no bytes
        raise RefusedPickleError(f"it declares an array of {num} values of no size")
    flat = np.frombuffer(data, plain) if num and plain.itemsize else np.empty(num, plain)
    check_letters(flat)
    return flat.reshape(shape, order=order).copy(order)  # type: ignore[call-overload]


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    """numpy.core.multiarray._reconstruct: an empty array, whose state is to come."""
    if kind is not _Array:
        raise RefusedPickleError("it contains an array of a class of its own")
    return _Array()


def _scalar(dtype: Any, data: Any = None) -> Any:
    """numpy.core.multiarray.scalar: one number or text."""
    if not isinstance(dtype, _Dtype) or dtype.code == "O":
        raise RefusedPickleError("it contains a scalar of objects")
    return _build((), dtype, False, data)[()]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """numpy.core.numeric._frombuffer, as protocol 5 writes it."""
    array = _Array()
    array.value = _build(shape, dtype, order == "F", data)
    return array


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """_codecs.encode, which protocols up to 2 write bytes with; no other encoding."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedPickleError(f"it asks for the text encoding {str(encoding)[:20]!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocols up to 2 write b"": a call without arguments; with one it is an error."""
    return b""


def _ordered(items: Any = ()) -> dict:
    """collections.OrderedDict, whose items come with the call in old protocols."""
    return dict((_key(key), value) for key, value in items)  # noqa: C402 - each pair is unpacked, and checked


def _key(key: Any) -> Any:
    """Keys are text or whole numbers: the hash of a tower of tuples would recurse deeper than any stack, and thousands
    of very large numbers can be of one hash."""
    if not isinstance(key, str | bytes | int) or (isinstance(key, int) and abs(key) >= 2**64):
        raise RefusedPickleError(f"it has a {type(key).__name__} as a key, where a string is expected")
    return key


_STAND_INS: dict[str, Any] = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": _ordered,
}
for _core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    _STAND_INS |= {f"{_core}.multiarray._reconstruct": _reconstruct, f"{_core}.multiarray.scalar": _scalar}
    _STAND_INS[f"{_core}.numeric._frombuffer"] = _from_buffer


# --------------------------------------------------------------------------------------------------------- unpickler


_NOT_NEEDED = tuple(
    getattr(pickle, name)[0]
    for name in (
        *("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"),
        *("EMPTY_SET", "ADDITEMS", "FROZENSET", "NEXT_BUFFER", "READONLY_BUFFER"),
    )
)


class _Rest:
    """What is left of a file. More than that is not even asked for: a buffer of that size would be reserved."""

    def __init__(self, file: BinaryIO, num_bytes: int) -> None:
        self._file, self._left = file, num_bytes

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise EOFError
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line


# The unpickler in Python: the one in C reserves what a file declares. Its parts have no public name, and no types.
_InPython: Any = vars(pickle)["_Unpickler"]


class _DataUnpickler(_InPython):
    """Hands out the stand-ins and refuses every other name, and what no file of arrays needs."""

    def __init__(self, file: BinaryIO, num_bytes: int) -> None:
        super().__init__(_Rest(file, num_bytes), encoding="latin1")
        self._room = MOST_PER_BYTE * num_bytes + 2**16

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _STAND_INS:
            asked = f"{module}.{name}"[:60]
            raise RefusedPickleError(f"it asks for {asked}, which is not a part of numpy's arrays and could run code")
        return _STAND_INS[f"{module}.{name}"]

    def load_reduce(self) -> None:
        if self.stack[-2] not in _STAND_INS.values():
            raise RefusedPickleError("it calls something that is not a function")
        super().load_reduce()
        self._count(self.stack[-1])

    def load_build(self) -> None:
        """A state is for the stand-ins alone: anything else would have attributes set."""
        if not isinstance(self.stack[-2], _Array | _Dtype):
            raise RefusedPickleError("it sets the inside of something that is not an array")
        super().load_build()
        self._count(self.stack[-1])

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def load_setitem(self) -> None:
        _key(self.stack[-2])
        super().load_setitem()

    def load_setitems(self) -> None:
        for key in self.stack[::2]:
            _key(key)
        super().load_setitems()

    def refuse(self) -> None:
        raise RefusedPickleError("it uses an instruction that files of arrays do not need")

    def _count(self, made: Any) -> None:
        """One text that is named again and again must not fill the memory."""
        made = made.value if isinstance(made, _Array) else made
        self._room -= made.nbytes if isinstance(made, np.ndarray) else len(made) if isinstance(made, bytes) else 0
        if self._room < 0:
            raise RefusedPickleError("its arrays are many times larger than the file")

    dispatch = {
        **_InPython.dispatch,
        **dict.fromkeys(_NOT_NEEDED, refuse),
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def _finished(item: Any, done: dict[int, tuple[Any, Any]], depth: int = 0) -> Any:
    """`item` with the stand-ins in it, and in containers in it, replaced by what they stand for.

    `done`: {id: (what was there, which keeps its id taken; what it became)}, so that nothing is walked through twice.
    """
    if depth > MAX_DEPTH:
        raise RefusedPickleError(f"it contains containers nested more than {MAX_DEPTH} deep")
    if isinstance(item, _Array):
        item = item.value
        if item is None:
            raise RefusedPickleError("it contains an array without content")
    if item is None or isinstance(item, str | bytes | int | float | np.generic):
        return item
    if id(item) not in done:
        done[id(item)] = (item, _finished_container(item, done, depth + 1))
    return done[id(item)][1]


def _finished_container(item: Any, done: dict[int, tuple[Any, Any]], depth: int) -> Any:
    if isinstance(item, list | tuple):
        return type(item)(_finished(part, done, depth) for part in item)
    if isinstance(item, dict):
        return {key: _finished(part, done, depth) for key, part in item.items()}
    if isinstance(item, np.ndarray):
        if item.dtype == object:
            for index in np.ndindex(item.shape):
                item[index] = _finished(item[index], done, depth)
        return item
    if isinstance(item, bytearray):
        return bytes(item)
    raise RefusedPickleError(f"it contains a {type(item).__name__.strip('_')}")
