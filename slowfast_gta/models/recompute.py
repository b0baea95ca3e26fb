"""Activation checkpointing: what a block keeps for its gradient is computed again when that is due (ACT_CHECKPOINT).

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016 (arXiv:1604.06174). The gradients are the same bits:
the second pass has the random numbers, the precision and the batch statistics of the first.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, x: Tensor, **options: Any) -> Any:
    """block(x, **options), of which only x is kept until the gradient asks for more."""
    return checkpoint(
        block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), statistics_kept(block)), **options
    )


@contextmanager
def statistics_kept(block: nn.Module) -> Iterator[None]:
    """Inside `with`, its BatchNorms normalise as in training, and keep their running statistics: they had this batch.

    By a momentum of 0: without running statistics, torch would keep other tensors for the gradient. A norm of our own
    goes by num_batches_tracked, which is None meanwhile.
    """
    norms: list[Any] = [norm for norm in block.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
