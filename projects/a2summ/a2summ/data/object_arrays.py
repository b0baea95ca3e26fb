"""The authors keep features as np.save(path, {id: array}), which is a pickle: read by the core, which runs nothing."""

from pathlib import Path

import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.pickles import load_object_array

MAX_BYTES = 64 * 2**30


def load_arrays(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """{id: array} of a file that was written with np.save(path, {id: array}). Raises DataError; runs nothing of it."""
    array = load_object_array(Path(path), max_bytes)
    content = array[()] if array.shape == () else None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a dictionary {{id: array}}, found an array of shape {array.shape}.")
    found = {
        str(key): np.asarray(value) for key, value in content.items() if isinstance(value, np.ndarray | np.generic)
    }
    if len(found) < len(content) or any(value.dtype == object for value in found.values()):
        raise DataError(
            f"{path}: expected a dictionary {{id: array}} of plain arrays; it also contains something else."
        )
    return found
