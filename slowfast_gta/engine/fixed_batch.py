"""One batch shape for every forward pass of a network in eval: a short batch is filled up.

Libraries choose how to sum by the shape of a batch; with one shape, a clip gives the same bits whatever came with it.
B batch, N clips.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def filled_up(clips: Tensor, batch_size: int) -> Tensor:
    """(n, ...) with n <= B -> (B, ...): its last clip again, as often as needed. Memory order (T, H, W, C) is kept."""
    missing = batch_size - len(clips)
    if missing <= 0:
        return clips
    in_memory = clips.movedim(1, -1)
    return torch.cat([in_memory, in_memory[-1:].expand(missing, *in_memory.shape[1:])]).movedim(-1, 1)


def in_fixed_batches(forward: Callable[[Tensor], Tensor], clips: Tensor, batch_size: int) -> Tensor:
    """forward(clips), of `batch_size` clips at a time. clips: (N, 3, T, H, W); forward: (B, ...) -> (B, ...)."""
    parts = [
        forward(filled_up(part, batch_size))[: min(batch_size, len(clips) - first)]
        for first, part in zip(range(0, len(clips), batch_size), clips.split(batch_size), strict=True)
    ]
    return torch.cat(parts)
