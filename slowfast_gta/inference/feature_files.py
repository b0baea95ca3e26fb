"""A video's features as a file, in four formats that hold the same. No code can be in any of them.

npz, safetensors, h5   arrays "features" (N, C), "times" (N, 2) seconds, "frames" (N, T), and "meta": JSON text
npy                    the features alone; times and the rest are in the video's record (extraction.py)
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.files import whole_file
from slowfast_gta.models.weights.safetensors import load_safetensors, write_safetensors
from slowfast_gta.plain_arrays import MOST_PER_BYTE, UNASKED_BYTES, load_npz

FORMATS = ("npz", "npy", "safetensors", "h5")
DTYPES = {"float32": np.float32, "float16": np.float16}

MOST_FEATURE_BYTES = 2**38  # of a file; 2,700 windows of --pool none are 8 GiB


def save_features(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, object]) -> None:
    """Write "features", "times", "frames" and `meta` in the format of the suffix, whole or not at all."""
    text = json.dumps(meta, sort_keys=True, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, shared=True) as file:
        if path.suffix == ".npy":
            np.save(file, arrays["features"], allow_pickle=False)
        elif path.suffix == ".npz":
            everything: dict[str, Any] = {**arrays, "meta": np.array(text)}
            np.savez(file, **everything)
        elif path.suffix == ".safetensors":
            tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
            write_safetensors(file, tensors, {"meta": text})
        else:
            file.write(_h5(arrays, text))


def load_features(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """({"features", "times", "frames"}, meta) of what `save_features` wrote; of .npy the features alone, and {}.

    Raises DataError where it is truncated or is no such file.
    """
    try:
        if path.suffix == ".npy":
            return {"features": np.load(path, allow_pickle=False)}, {}
        if path.suffix == ".npz":
            if not path.is_file():
                raise FileNotFoundError(path)
            arrays = load_npz(path, MOST_FEATURE_BYTES)
            text = str(arrays.pop("meta"))
        elif path.suffix == ".safetensors":
            tensors, metadata = load_safetensors(path)
            arrays, text = {name: value.numpy() for name, value in tensors.items()}, metadata["meta"]
        else:
            with import_h5py().File(path, "r") as stored:
                arrays = {name: _h5_array(stored, name) for name in ("features", "times", "frames")}
                text = str(stored.attrs["meta"])
        return arrays, json.loads(text)
    except (ConfigError, FileNotFoundError):
        raise
    except DataError as fault:
        raise DataError(f"{fault} Extract them again.") from None
    except Exception as fault:  # zip, NumPy and HDF5 raise many types for a damaged file
        raise DataError(
            f"{path} is not a complete file of features ({type(fault).__name__}). Extract them again."
        ) from None


def _h5(arrays: Mapping[str, np.ndarray], text: str) -> bytes:
    """Without times of writing: the same content is the same bytes."""
    content = io.BytesIO()
    with import_h5py().File(content, "w") as file:
        for name, value in arrays.items():
            file.create_dataset(name, data=value, track_times=False)
        file.attrs["meta"] = text
    return content.getvalue()


def _h5_array(file: Any, name: str) -> np.ndarray:
    """An array in the file itself; of other files nothing is read, and nothing is filled in that is not there."""
    h5py = import_h5py()
    stored = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(stored, h5py.Dataset) or stored.is_virtual or stored.external or stored.dtype.kind not in "biuf":
        raise ValueError(name)
    if stored.nbytes > max(UNASKED_BYTES, MOST_PER_BYTE * stored.id.get_storage_size()):
        raise ValueError(name)
    return stored[()]


def import_h5py() -> Any:
    """Raises ConfigError where it is not installed."""
    try:
        import h5py
    except ImportError:
        raise ConfigError("--format h5 needs h5py, which is not installed: pip install h5py. Or use npz.") from None
    return h5py
