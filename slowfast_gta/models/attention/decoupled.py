"""Which positions are one set: all of a clip, those of a frame, or one position along time.

The blocks compared in He et al.'s table of non-local variants (arXiv:2012.08510) come "original", one unit over the
whole clip, and "decoupled", a unit over each frame and then another, with weights of its own, over time.

Legend: B batch, C channel, T frame, H W space; S sets, P positions in a set:
over "clip" S = 1 and P = T*H*W, over "frame" S = T and P = H*W, over "position" S = H*W and P = T.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from slowfast_gta.models.attention.self_attention import rows, unrows


def gather(x_BCTHW: Tensor, over: str) -> Tensor:
    """(B, C, T, H, W) as (B, S, P, C); a view where memory is channels_last_3d."""
    if over == "clip":
        return rows(x_BCTHW).flatten(1, 2)[:, None]
    return rows(x_BCTHW) if over == "frame" else rows(x_BCTHW).transpose(1, 2)


def scatter(x_BSPC: Tensor, over: str, like_BCTHW: Tensor) -> Tensor:
    """The inverse of `gather`, for the T, H, W of another tensor; always a view. P = 1 stands for every position."""
    frames, height, width = like_BCTHW.shape[2:]
    num_positions = {"clip": frames * height * width, "frame": height * width, "position": frames}[over]
    x_BSPC = x_BSPC.expand(-1, -1, num_positions, -1)
    if over == "clip":
        return unrows(x_BSPC[:, 0].unflatten(1, (frames, -1)), like_BCTHW)
    return unrows(x_BSPC if over == "frame" else x_BSPC.transpose(1, 2), like_BCTHW)


def units(unit: Callable[[str], nn.Module], decoupled: bool) -> "OrderedDict[str, nn.Module]":
    """The parts of a block, in order: unit("clip"), or unit("frame") and then unit("position")."""
    if decoupled:
        return OrderedDict(spatial=unit("frame"), temporal=unit("position"))
    return OrderedDict(spacetime=unit("clip"))


def maps_of_units(block: nn.Module, x_BCTHW: Tensor, word: str) -> dict[str, Tensor]:
    """{word_part: (B, K, T, H, W)}, what each part of `block` weighs positions with: its `weights`, (B, S, P, K)."""
    maps = {}
    unit: Any
    for name, unit in block.named_children():
        maps[f"{word}_{name}"] = scatter(unit.weights(x_BCTHW), unit.over, x_BCTHW)
        x_BCTHW = unit(x_BCTHW)
    return maps
