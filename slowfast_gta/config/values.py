"""What type a key's value has, and how the text of a command line becomes one."""

import ast
import contextlib
import math
import numbers
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from slowfast_gta.config.defaults import ANY_CASE, CHOICES, TYPES
from slowfast_gta.plain_yaml import load_yaml


@dataclass(frozen=True)
class KeyTypes:
    """What keys may hold, where it is not just the type of their default: other types, or one of a few values."""

    types: Mapping[str, tuple[type, ...]]
    choices: Mapping[str, tuple]


CORE = KeyTypes(TYPES, CHOICES)

_TYPE_NAMES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    type(None): "None",
}
_TYPE_HINTS: dict[type, str] = {str: " Put it in quotes.", list: " Write it in brackets, for example [1, 2]."}
_WORDS = {"none": None, "null": None, "true": True, "false": False}
# What YAML 1.1 takes for text, and people for a number: it wants 1.0e-4.
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


_LARGEST_OF = {
    **dict.fromkeys(("RNG_SEED", "SYNTHETIC.SEED"), 2**63 - 1),
    **dict.fromkeys(("DIST_TIMEOUT_SEC", "DIST_WAIT_SEC", "DATA_LOADER.SAMPLE_TIMEOUT_SEC"), 10**6),
    **dict.fromkeys(("DATA_LOADER.NUM_WORKERS", "NUM_GPUS", "NUM_SHARDS"), 10**5),
}


def largest_of(key: str) -> int:
    """The largest number that NumPy, torch and the operating system's clocks take for `key`."""
    return _LARGEST_OF.get(key, 2**31 - 1)


def numbers_in(value: object) -> Iterator[float]:
    """The numbers in `value`, however deep in lists."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from numbers_in(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def fitted_value(key: str, value: object, default: object, key_types: KeyTypes = CORE) -> object:
    """`value` in the type that `key` has. Raises ValueError with a sentence about what is allowed."""
    types, choices = key_types.types.get(key, (type(default),)), key_types.choices.get(key)
    try:
        fitted: Any = _fitted(value, types)
        if key == "PLUGINS" and not all(isinstance(item, str) for item in fitted):
            raise TypeError
    except TypeError:
        allowed = " or ".join(_TYPE_NAMES[kind] for kind in types)
        hint = _TYPE_HINTS.get(types[0], "")
        raise ValueError(f"{key} must be {allowed}, not {value!r}.{hint}") from None
    if key in ANY_CASE:
        fitted = fitted.lower()
    if choices and fitted not in choices:
        raise ValueError(f"{key} must be one of {', '.join(map(str, choices))}, not {value!r}.")
    return fitted


def option_value(value: object, is_text: bool) -> object:
    """A block's option, whose type only the block knows: text (`is_text`) is read as YAML would read it."""
    if is_text and isinstance(value, str):
        try:
            value = load_yaml(value)
        except yaml.YAMLError:
            return value
    return None if value == "None" else _plain(value)


def _fitted(value: object, types: tuple[type, ...]) -> object:
    if isinstance(value, os.PathLike) and str in types:
        value = os.fspath(value)
    if isinstance(value, str) and types != (str,):
        value = _decoded(value)
    if isinstance(value, list | tuple) and list in types:
        return _plain(value)
    if isinstance(value, bool) or value is None or isinstance(value, str):
        if type(value) in types:
            return value
    elif isinstance(value, numbers.Integral) and int in types:
        return int(value)
    elif isinstance(value, numbers.Real) and float in types:
        with contextlib.suppress(OverflowError):  # a whole number of 400 digits
            if math.isfinite(value):
                return float(value)
    raise TypeError


def _decoded(text: str) -> object:
    """What `text` stands for in Python or, failing that, in YAML; itself where it is plain text."""
    stripped = text.strip()
    if stripped.lower() in _WORDS:
        return _WORDS[stripped.lower()]
    for read in (ast.literal_eval, load_yaml):
        try:
            value = read(stripped)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, yaml.YAMLError):
            continue
        return text if value is None else value
    return text


def _plain(value: object) -> object:
    """Lists for tuples, and numbers for text such as 1e-4, however deep."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return value
