"""BatchNorm folded into the convolution before it, for testing: the same outputs, one operation less for each.

In evaluation a BatchNorm is y = scale * x + shift with constants; so is what is left of it after a convolution,
which is linear: W' = scale * W, b' = scale * b + shift.
"""

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """A copy of `model` for evaluation with every BatchNorm that follows a convolution folded into it.

    The order in which a module registers them says which one follows which: a BatchNorm right behind a
    convolution takes what that puts out, and nothing else does (models/attention/build.py asks it of every block).
    """
    return fold_batch_norms_(copy.deepcopy(model))


def fold_batch_norms_(model: nn.Module) -> nn.Module:
    """`fold_batch_norms` of `model` itself, which is no longer one to train or to save."""
    for owner, conv_name, norm_name in list(_pairs(model)):
        _fold(getattr(owner, conv_name), getattr(owner, norm_name))
        setattr(owner, norm_name, nn.Identity())
    return model.eval()


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(the module that has both, name of the convolution, name of the BatchNorm behind it)."""
    for owner in model.modules():
        for (conv_name, conv), (norm_name, norm) in pairwise(owner.named_children()):
            is_pair = isinstance(conv, nn.Conv3d) and isinstance(norm, _BatchNorm)
            if is_pair and conv.out_channels == norm.num_features:
                yield owner, conv_name, norm_name


@torch.no_grad()
def _fold(conv: nn.Conv3d, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    # In float64: what is rounded twice in a network of a hundred layers would show.
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    if conv.bias is not None:
        shift += conv.bias.double() * scale
    folded = conv.weight.double() * scale[:, None, None, None, None]
    conv.weight.copy_(folded)  # into place: it keeps its memory format
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype))
