"""Annotation files (JSON, YAML), and the entries that must be in them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from slowfast_gta.errors import DataError, counted
from slowfast_gta.plain_yaml import load_yaml


def read_json(path: str | Path) -> dict:
    """The object in a JSON file. Raises DataError."""
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as fault:
        raise DataError(f"{path}: {fault.strerror or fault}.") from None
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{path}: not valid JSON ({fault}).") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object {{id: ...}}, found {type(content).__name__}.")
    return content


def read_splits(path: str | Path) -> list[dict[str, list[str]]]:
    """splits.yml: a list of {train_keys, test_keys}; of each key what follows its last slash. Raises DataError."""
    try:
        content = load_yaml(Path(path).read_bytes())
    except OSError as fault:
        raise DataError(f"{path}: {fault.strerror or fault}.") from None
    except yaml.YAMLError as fault:
        raise DataError(f"{path}: not valid YAML ({str(fault).splitlines()[0]}).") from None
    splits = []
    for number, split in enumerate(content if isinstance(content, list) else []):
        parts = {}
        for part in ("train_keys", "test_keys"):
            keys = split.get(part) if isinstance(split, dict) else None
            if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
                raise DataError(f"{path}: split {number} needs {part}, a list of names.")
            parts[part] = [key.rsplit("/", 1)[-1] for key in keys]
        both = set(parts["train_keys"]) & set(parts["test_keys"])
        if both:
            raise DataError(f"{path}: split {number} has {sorted(both)[0]} in train_keys and in test_keys.")
        splits.append(parts)
    if not splits:
        raise DataError(f"{path}: expected a list of splits, each with train_keys and test_keys.")
    return splits


def entry(of: Mapping, key: str, where: str):
    """of[key]; a missing one is a DataError that names it."""
    if not isinstance(of, Mapping) or key not in of:
        raise DataError(f"{where}: no {key}.")
    return of[key]


def features(arrays: Mapping[str, np.ndarray], key: str, where: str) -> Tensor:
    """float32 (N, C) of the array under `key`. Raises DataError."""
    array = entry(arrays, key, where)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(f"{where}: {key} must be numbers (N, C), not {array.dtype} {array.shape}.")
    return torch.from_numpy(array.astype(np.float32))


def labels(values: object, length: int, where: str) -> Tensor:
    """float32 (length,) of 0 and 1. Raises DataError."""
    if not isinstance(values, list) or len(values) != length or not all(value in (0, 1) for value in values):
        number = len(values) if isinstance(values, list) else 0
        raise DataError(f"{where}: expected {counted(length, 'label')} of 0 and 1, found {counted(number, 'value')}.")
    return torch.tensor(values, dtype=torch.float32)


def texts(values: object, length: int, where: str) -> list[str]:
    if not isinstance(values, list) or len(values) != length or not all(isinstance(value, str) for value in values):
        raise DataError(
            f"{where}: expected {counted(length, 'sentence')}, found {len(values) if isinstance(values, list) else 0}."
        )
    return values
