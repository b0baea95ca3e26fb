"""caffe2's .pkl files, read as data: slowfast_gta/pickles.py says how, and that nothing in them runs."""

from pathlib import Path
from typing import Any

from slowfast_gta.errors import WeightsError
from slowfast_gta.pickles import RefusedPickleError, TornPickleError, read_pickle


def load_pickled(path: Path) -> Any:
    """What a pickle of containers, text, numbers and numpy arrays holds.

    Raises WeightsError, having run nothing, where it holds anything else, is truncated or is no pickle.
    """
    try:
        with path.open("rb") as file:
            return read_pickle(file, path.stat().st_size)
    except RefusedPickleError as fault:
        raise WeightsError(
            f"{path} was not read: {fault}. Only containers, text, numbers and numpy arrays are read from a .pkl file."
        ) from None
    except TornPickleError as fault:
        raise WeightsError(
            f"{path} cannot be read as a pickle ({fault}): it is truncated, or not a caffe2 .pkl file."
        ) from None
