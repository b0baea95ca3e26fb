"""Pickles as data: a reader that can build plain containers, text, numbers and numpy arrays, and nothing else.

A pickle is a program for a small stack machine, and Python's own machine can be told to call anything. This one walks
over the instructions (`pickletools`, which executes nothing) and carries out those that caffe2's files of arrays need.
The few functions a pickle may name are written here; nothing is imported, looked up or called by name.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_gta.errors import WeightsError

_MARK = object()
_KINDS = "biuf"  # of numpy types: truth values, whole numbers, floating point; no objects, no records


class _RefusedError(Exception):
    """A sentence about what the pickle asks for that is not data."""


@dataclass
class _Dtype:
    """numpy.dtype("f4"), then its state, of which only the byte order is allowed to say anything."""

    code: str

    @classmethod
    def make(cls, code: Any, *flags: Any) -> "_Dtype":
        if not isinstance(code, str) or len(code) > 3 or code[:1] not in _KINDS or not code[1:].isdigit():
            raise _RefusedError(f"it holds an array of type {str(code)[:20]!r}, which is not one of plain numbers")
        return cls(code)

    def set_state(self, state: Any) -> None:
        order = state[1]  # the rest is about records, whose code is refused above
        if order not in ("<", ">", "|", "="):
            raise _RefusedError(f"it holds an array with the byte order {str(order)[:20]!r}")
        self.code = order + self.code

    def array(self, shape: tuple[int, ...], content: Any, column_major: bool = False) -> np.ndarray:
        """The array with these bytes, which are counted before anything is allocated."""
        content = _as_bytes(content)
        if not isinstance(shape, tuple) or not all(isinstance(size, int) and size >= 0 for size in shape):
            raise _RefusedError(f"it holds an array whose shape is {str(shape)[:40]}")
        values = np.frombuffer(content, np.dtype(self.code))
        declared = 1
        for size in shape:
            declared *= size
        if declared != values.size:
            raise _RefusedError(f"it declares an array of {declared} numbers and holds {values.size}")
        return values.reshape(shape, order="F" if column_major else "C")


class _Array:
    """What numpy's _reconstruct makes: an array whose shape, type and bytes come with its state."""

    value: np.ndarray | None = None

    @classmethod
    def make(cls, *kind: Any) -> "_Array":
        return cls()

    def set_state(self, state: Any) -> None:
        _version, shape, dtype, column_major, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, (bytes, str)):
            raise _RefusedError("it holds an array of Python objects, not of plain numbers")
        self.value = dtype.array(shape, content, bool(column_major))


def _as_bytes(content: Any) -> bytes:
    """Bytes, which Python 2 wrote as a text of one byte a letter."""
    return content.encode("latin-1") if isinstance(content, str) else bytes(memoryview(content))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"it asks for the text encoding {str(encoding)[:20]!r}")
    return text.encode("latin-1")


def _scalar(dtype: _Dtype, content: Any) -> np.ndarray:
    return dtype.array((), content)


def _from_buffer(content: Any, dtype: _Dtype, shape: Any, order: str) -> np.ndarray:
    return dtype.array(shape, content, order == "F")


def _empty_bytes() -> bytes:
    return b""


def _ordered_dict(items: Any = ()) -> dict[str, Any]:
    return _pairs([part for item in items for part in item])


def _no_call(*arguments: Any) -> None:
    raise _RefusedError("it calls the type ndarray")


_FUNCTIONS: dict[str, Callable] = {
    "numpy.dtype": _Dtype.make,
    "numpy.ndarray": _no_call,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _empty_bytes,  # how protocols 0 to 2 write b""
    "collections.OrderedDict": _ordered_dict,
}
for _core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    _FUNCTIONS |= {f"{_core}.multiarray._reconstruct": _Array.make, f"{_core}.multiarray.scalar": _scalar}
    _FUNCTIONS[f"{_core}.numeric._frombuffer"] = _from_buffer


@dataclass(frozen=True)
class _Function:
    """One of the functions above, before it is called."""

    name: str

    def __call__(self, arguments: Any) -> Any:
        return _FUNCTIONS[self.name](*arguments)


def _function(name: str) -> _Function:
    if name not in _FUNCTIONS:
        raise _RefusedError(f"it asks for {name[:60]}, which is not a part of numpy's arrays and could run code")
    return _Function(name)


_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_WITHOUT_EFFECT = {"PROTO", "FRAME"}


class _Machine:
    """The stack, the memo, and what each instruction does to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.room = 0  # bytes that may still be made; a text that is named again and again must not fill the memory

    def run(self, content: bytes) -> Any:
        self.room = 4 * len(content)
        for instruction, argument, _ in pickletools.genops(content):
            name = instruction.name
            if name == "STOP":
                return self.stack.pop()
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _TUPLES:
                self.stack.append(tuple(self._take(_TUPLES[name])))
            elif name not in _WITHOUT_EFFECT:
                do = getattr(self, f"_do_{name.lower()}", None)
                if do is None:
                    raise _RefusedError(f"it uses the instruction {name}, which files of arrays do not need")
                do(argument)
        raise _RefusedError("it has no end")

    def _take(self, count: int) -> list[Any]:
        """The topmost `count` values, off the stack."""
        if count > len(self.stack):
            raise _RefusedError("it takes more than it has put there")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _since_mark(self) -> list[Any]:
        above = 0
        while self.stack[-1 - above] is not _MARK:
            above += 1
        values = self._take(above)
        self.stack.pop()
        return values

    def _do_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _do_pop(self, _: Any) -> None:
        self.stack.pop()

    def _do_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _do_empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _do_list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _do_empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _do_dict(self, _: Any) -> None:
        self.stack.append(_pairs(self._since_mark()))

    def _do_append(self, _: Any) -> None:
        (item,) = self._take(1)
        _expect(self.stack[-1], list).append(item)

    def _do_appends(self, _: Any) -> None:
        items = self._since_mark()
        _expect(self.stack[-1], list).extend(items)

    def _do_setitem(self, _: Any) -> None:
        pair = self._take(2)
        _expect(self.stack[-1], dict).update(_pairs(pair))

    def _do_setitems(self, _: Any) -> None:
        pairs = self._since_mark()
        _expect(self.stack[-1], dict).update(_pairs(pairs))

    def _do_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _do_put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _do_binput = _do_long_binput = _do_put

    def _do_get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _do_binget = _do_long_binget = _do_get

    def _do_global(self, names: str) -> None:
        self.stack.append(_function(names.replace(" ", ".")))

    def _do_stack_global(self, _: Any) -> None:
        module, name = self._take(2)
        self.stack.append(_function(f"{module}.{name}"))

    def _do_reduce(self, _: Any) -> None:
        function, arguments = self._take(2)
        self.stack.append(_expect(function, _Function)(_expect(arguments, tuple)))
        self._count(self.stack[-1])

    def _do_build(self, _: Any) -> None:
        (state,) = self._take(1)
        target = self.stack[-1]
        if not isinstance(target, (_Array, _Dtype)):
            raise _RefusedError("it sets the inside of something that is not an array")
        target.set_state(_expect(state, tuple))
        self._count(target)

    def _count(self, made: Any) -> None:
        made = made.value if isinstance(made, _Array) else made
        self.room -= made.nbytes if isinstance(made, np.ndarray) else len(made) if isinstance(made, bytes) else 0
        if self.room < 0:
            raise _RefusedError("its arrays are many times larger than the file")


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise _RefusedError(f"it has a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _pairs(values: list[Any]) -> dict[str, Any]:
    """[key, value, key, value ...] as a dictionary whose keys are text."""
    return {_expect(key, str): value for key, value in zip(values[::2], values[1::2], strict=True)}


def load_pickled(path: Path) -> Any:
    """What a pickle of containers, text, numbers and numpy arrays holds; arrays are `numpy.ndarray`, not writable.

    Dictionaries keep the arrays of their first two levels only, which is where caffe2 has them.
    Raises WeightsError, having run nothing, where it holds anything else, is torn or is no pickle.
    """
    try:
        return _arrays(_Machine().run(path.read_bytes()))
    except _RefusedError as fault:
        raise WeightsError(
            f"{path} was not read: {fault}. Only containers, text, numbers and numpy arrays are taken from a .pkl file."
        ) from None
    except Exception as fault:  # pickletools and numpy raise many kinds, and every one means the same to the user
        raise WeightsError(
            f"{path} cannot be read as a pickle ({type(fault).__name__}): it is torn, or no caffe2 .pkl file."
        ) from fault


def _arrays(value: Any, levels: int = 2) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict) and levels:
        return {key: _arrays(item, levels - 1) for key, item in value.items()}
    return value
