"""What is random in training: dropout derives from (seed, epoch, step, process); the rest is kept in checkpoints.

Nothing of this library draws from the global generators outside a step: what a plugin draws from them continues where
it stood before an interruption.
"""

import random
from typing import Any

import numpy as np
import torch

from slowfast_gta import distributed
from slowfast_gta.errors import RunError


def seed_process(seed: int) -> None:
    """Start Python's, NumPy's and torch's generators, each process on its own."""
    words = np.random.SeedSequence([seed, distributed.get_rank()]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]))


def seed_step(*numbers: int) -> None:
    """Make what torch draws in a step a function of `numbers` (seed, epoch, step) and of the process."""
    words = np.random.SeedSequence([*numbers, distributed.get_rank()]).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))


def random_states() -> list[dict]:
    """The state of the generators of every process, in the order of ranks. All processes must ask."""
    state_of_numpy: Any = np.random.get_state()  # the tuple that it is without arguments
    kind, words, *rest = state_of_numpy
    state = {"python": random.getstate(), "numpy": (kind, words.tolist(), *rest), "torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return distributed.gather(state)


def restore_random_state(states: list[dict]) -> None:
    """Put this process's part of `random_states()` back; a process that had none stays as it is."""
    if distributed.get_rank() >= len(states):
        return
    state = states[distributed.get_rank()]
    try:
        random.setstate(_tuples(state["python"]))
        np.random.set_state(_tuples(state["numpy"]))
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_initialized():
            torch.cuda.set_rng_state(state["cuda"])
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError) as fault:
        raise RunError(
            f"The checkpoint in OUTPUT_DIR holds no random state that can be restored ({type(fault).__name__}). "
            "Move it away to resume from the one before it."
        ) from fault


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
