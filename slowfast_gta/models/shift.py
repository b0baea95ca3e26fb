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
    count = x.shape[1] // fold_div
    in_one_pass = torch.is_grad_enabled() and x.requires_grad and not torch.jit.is_tracing()  # fvcore counts by tracing
    return _Shift.apply(x, count) if in_one_pass else shifted(x, count)


def shifted(x: Tensor, count: int, back: bool = False) -> Tensor:
    """The first `count` channels from the next frame, the next `count` from the previous one; `back`: the other way."""
    earlier, later = (slice(count, 2 * count), slice(0, count)) if back else (slice(0, count), slice(count, 2 * count))
    out = torch.empty_like(x)  # keeps the memory format
    out[:, earlier, :-1] = x[:, earlier, 1:]
    out[:, later, 1:] = x[:, later, :-1]
    out[:, earlier, -1] = 0
    out[:, later, 0] = 0
    out[:, 2 * count :] = x[:, 2 * count :]
    return out


class _Shift(torch.autograd.Function):
    """Its gradient is the shift the other way: one pass, where torch would keep one for each assignment."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:
        ctx.count = count
        return shifted(x, count)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # On a CPU in plain memory order, as torch's own gradient of slices is: what is summed behind it keeps its bits.
        return shifted(grad if takes_gpu_form(grad) else grad.contiguous(), ctx.count, back=True), None
