"""TSM: shift some channels along time, so that a 2D convolution sees its neighbours in time.

Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019 (arXiv:1811.08383).
"""

from typing import Any

import torch
from torch import Tensor

from slowfast_gta.models.layers import takes_gpu_form


def temporal_shift(x: Tensor, fold_div: int) -> Tensor:
    """(B, C, T, H, W) with the first C/fold_div channels taken from the next frame, as many from the previous one.

    Frames outside the clip count as zero.
    """
    fold = x.shape[1] // fold_div
    in_one_pass = torch.is_grad_enabled() and x.requires_grad and not torch.jit.is_tracing()  # fvcore counts by tracing
    return _Shift.apply(x, fold) if in_one_pass else shifted(x, fold)


def shifted(x: Tensor, fold: int, back: bool = False) -> Tensor:
    """The first `fold` channels from the next frame, the next `fold` from the previous one; `back`: the other way."""
    earlier, later = (slice(fold, 2 * fold), slice(0, fold)) if back else (slice(0, fold), slice(fold, 2 * fold))
    out = torch.empty_like(x)  # keeps the memory format
    out[:, earlier, :-1] = x[:, earlier, 1:]
    out[:, later, 1:] = x[:, later, :-1]
    out[:, earlier, -1] = 0
    out[:, later, 0] = 0
    out[:, 2 * fold :] = x[:, 2 * fold :]
    return out


class _Shift(torch.autograd.Function):
    """Its gradient is the shift the other way: one pass, where torch would keep one for each assignment."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fold: int) -> Tensor:
        ctx.fold = fold
        return shifted(x, fold)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # On a CPU in plain memory order, as torch's own gradient of slices is: what is summed behind it keeps its bits.
        return shifted(grad if takes_gpu_form(grad) else grad.contiguous(), ctx.fold, back=True), None
