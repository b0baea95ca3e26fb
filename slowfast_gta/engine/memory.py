"""Memory that is full, as a sentence with the keys to change."""

import contextlib
import re
from collections.abc import Iterator

import torch

from slowfast_gta.errors import RunError, UserError

# PyTorch has a class for a GPU that is full, and only a RuntimeError for a machine that is.
_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.I)


@contextlib.contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Inside `with`, what PyTorch raises where memory is full, on the GPU or off it, becomes a RunError."""
    try:
        yield
    except RuntimeError as fault:
        if isinstance(fault, UserError) or not _NO_MEMORY.search(str(fault)):
            raise
        where = "The GPU" if isinstance(fault, torch.cuda.OutOfMemoryError) else "This machine"
        wanted = re.search(r"tried to allocate [\d.]+ \w+", str(fault), re.I)
        raise RunError(
            f"{where} ran out of memory in this step{f' ({wanted[0].lower()})' if wanted else ''}. Lower "
            "TRAIN.BATCH_SIZE, or compute it in parts (SOLVER.ACCUMULATE_STEPS); in testing, lower TEST.BATCH_SIZE."
        ) from None
