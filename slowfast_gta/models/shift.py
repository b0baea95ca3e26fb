"""TSM: shift some channels along time, so that a 2D convolution sees its neighbours in time.

Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019 (arXiv:1811.08383).
"""

import torch
from torch import Tensor


def temporal_shift(x: Tensor, fold_div: int) -> Tensor:
    """(B, C, T, H, W) with the first C/fold_div channels taken from the next frame, as many from the previous one.

    Frames outside the clip count as zero.
    """
    fold = x.shape[1] // fold_div
    shifted = torch.zeros_like(x)  # keeps the memory format
    shifted[:, :fold, :-1] = x[:, :fold, 1:]
    shifted[:, fold : 2 * fold, 1:] = x[:, fold : 2 * fold, :-1]
    shifted[:, 2 * fold :] = x[:, 2 * fold :]
    return shifted
