"""What each kind of attention block has to show, at a point of a clip: exactly what its forward pass multiplies with.

A block of one's own is shown by the shapes of its attention_maps(x): (B, T, H, W), (B, K, T, H, W) or (T, T).

Legend: B batch, here 1; C channel, T step, H W space, N = H*W, M positions attended to, R regions, K rows.
"""

from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast_gta.inference.explaining.shown import Cell, Shown
from slowfast_gta.models.attention import CGNL, DNL, GTA, NL, SA, TA, TAPE, GCNet, GloRe
from slowfast_gta.models.attention.cbam import MaskBlock
from slowfast_gta.models.attention.gta import PixelGTA, RegionGTA
from slowfast_gta.models.attention.self_attention import rows, unrows

_MOST_ROWS = 6
"""Regions, groups, nodes of one picture; all of them are in maps.npz."""


@singledispatch
def shown_of(block: Any, x: Tensor, cell: Cell) -> list[Shown]:
    """What `block`, given x (1, C, T, H, W), has to show at `cell`; nothing where it has no maps that can be drawn."""
    if not hasattr(block, "attention_maps"):
        return []
    shown = []
    for name, value in block.attention_maps(x).items():
        array = as_array(value)
        if array.ndim == 2 and array.shape == (x.shape[2],) * 2:
            shown.append(Shown(name, "matrix", f"its {name}", array[None], "value", signed=bool((array < 0).any())))
        elif array.ndim in (4, 5) and array.shape[0] == 1 and array.shape[-3:] == tuple(x.shape[2:]):
            shown.append(strongest_rows(name, f"its {name}", array[0].reshape(-1, *x.shape[2:]), "row"))
    return shown


@shown_of.register
def _(block: NL, x: Tensor, cell: Cell) -> list[Shown]:
    """Equation 1 at one position: its weights over all positions of the clip, or of its group of frames."""
    length = x.shape[2] // block.group
    first = cell.step // length * length
    part = x[:, :, first : first + length]
    kernel = (1, 1, 1) if block.pool == "none" else block.pool_size
    index = ((cell.step - first) * x.shape[3] + cell.row) * x.shape[4] + cell.column
    weights = as_array(block.attention_maps(part)["spacetime"])[0, index]
    values = np.full((1, *x.shape[2:]), np.nan)
    values[0, first : first + length] = unpooled(weights, tuple(part.shape[2:]), kernel)
    what = "attention of the point to every position of the clip"
    if block.group > 1:
        what = f"attention of the point to every position of its {length} frames of the clip"
    signed = block.instantiation != "softmax"
    return [Shown("spacetime", "maps", what, values, "weight", signed=signed, of_point=True)]


@shown_of.register
def _(block: SA, x: Tensor, cell: Cell) -> list[Shown]:
    return [_spatial(as_array(block.weights(x)), block, x, cell)]


@shown_of.register
def _(block: TA, x: Tensor, cell: Cell) -> list[Shown]:
    return _temporal(as_array(block.weights(x)), x, cell)


@shown_of.register
def _(block: DNL, x: Tensor, cell: Cell) -> list[Shown]:
    """Both halves, and both again with the projections exchanged (arXiv v1, appendix D)."""
    shown = []
    before = block.swap
    for swap, suffix in ((before, ""), (not before, "_swap")):
        block.swap = swap
        try:
            maps = block.attention_maps(x)
        finally:
            block.swap = before
        note = ", with the projections of the other half" * bool(suffix)
        shown.append(_spatial(as_array(maps["spatial"]), block.spatial, x, cell, suffix, note))
        shown += _temporal(as_array(maps["temporal"]), x, cell, suffix, note)
    return shown


@shown_of.register
def _(block: TAPE, x: Tensor, cell: Cell) -> list[Shown]:
    maps = block.attention_maps(x)
    first = [] if block.spatial is None else [_spatial(as_array(maps["spatial"]), block.spatial, x, cell)]
    several = "" if block.temporal.heads == "single" else ", mean over heads"
    return first + _temporal(as_array(maps["temporal"]), x, cell, "", several)


@shown_of.register
def _(block: GTA, x: Tensor, cell: Cell) -> list[Shown]:
    """SA's map, Pixel GTA's row of the point's frame and what each frame adds at the point, and the regions."""
    shown = []
    if block.spatial is not None:
        shown.append(_spatial(as_array(block.spatial.weights(x)), block.spatial, x, cell))
        x = block.spatial(x)
    if block.pixel is not None:
        shown += _pixel(block.pixel, x, cell)
    if block.region is not None:
        shown.append(_regions(block.region, x))
    return shown


@shown_of.register(CGNL)
@shown_of.register(GloRe)
def _(block: CGNL | GloRe, x: Tensor, cell: Cell) -> list[Shown]:
    word = "group" if isinstance(block, CGNL) else "node"
    what = f"how much each position gives to what all of its {{}} share, by {word} of the block"
    return [
        strongest_rows(name, what.format(_set_of(name)), as_array(value)[0], word)
        for name, value in block.attention_maps(x).items()
    ]


@shown_of.register
def _(block: GCNet, x: Tensor, cell: Cell) -> list[Shown]:
    return [
        Shown(name, "maps", f"share of each position in the context of its {_set_of(name)}", as_array(value), "weight")
        for name, value in block.attention_maps(x).items()
    ]


@shown_of.register
def _(block: MaskBlock, x: Tensor, cell: Cell) -> list[Shown]:
    maps = block.attention_maps(x)
    channels = as_array(maps["mask_channel"])[0]
    position = as_array(maps["mask_position"])
    return [
        Shown(
            "mask_channel", "channels", "mask that multiplies each channel of each frame", channels, "mask", most=1.0
        ),
        Shown("mask_position", "maps", "mask by which each position is multiplied", position, "mask", most=1.0),
    ]


# --------------------------------------------------------------------------------------------------------- the parts


def _spatial(weights: np.ndarray, block: SA, x: Tensor, cell: Cell, suffix: str = "", note: str = "") -> Shown:
    """weights (1, T, N, M) -> (1, T, H', W') of the position of `cell` in each frame."""
    by = 1 if block.pool == "none" else 2
    weights = weights[0, :, cell.row * x.shape[4] + cell.column]
    values = unpooled(weights, tuple(x.shape[2:]), (1, by, by))[None]
    what = f"attention of the point's position to those of the same frame, in each frame{note}"
    return Shown(f"spatial{suffix}", "maps", what, values, "weight", of_point=True)


def unpooled(weights: np.ndarray, size: tuple[int, ...], kernel: tuple[int, ...]) -> np.ndarray:
    """Weights of pooled positions, any shape -> (T, H, W) = `size`: each position has that of its window, which is one
    weight for all of it; NaN at an edge that belongs to no window."""
    kernel = tuple(min(by, whole) for by, whole in zip(kernel, size, strict=True))
    steps = [whole // by for by, whole in zip(kernel, size, strict=True)]
    grid = weights.reshape(steps)
    for axis, by in enumerate(kernel):
        grid = grid.repeat(by, axis)
    full = np.full(size, np.nan)
    full[tuple(slice(length) for length in grid.shape)] = grid
    return full


def _temporal(weights: np.ndarray, x: Tensor, cell: Cell, suffix: str = "", note: str = "") -> list[Shown]:
    """weights (1, N, T, T) -> the matrix of the position of `cell`, and its row of the point's frame."""
    matrix = weights[0, cell.row * x.shape[4] + cell.column]
    what = "attention at the point's position from each frame to each frame"
    row = f"attention of the point's frame to each frame, at its position{note}"
    return [
        Shown(f"temporal{suffix}", "weights", row, matrix[None, cell.step], "weight", ("weight",), of_point=True),
        Shown(f"temporal_matrix{suffix}", "matrix", what + note, matrix[None], "weight", ("",), of_point=True),
    ]


def _pixel(part: PixelGTA, x: Tensor, cell: Cell) -> list[Shown]:
    matrices = part.mix.weight.detach().flatten(0, -3)
    row = as_array(matrices[:, cell.step].double().square().mean(0).sqrt())
    added = as_array(added_by_frames(part, x, cell))
    return [
        Shown(
            "temporal",
            "weights",
            "Pixel GTA's learned row of the point's frame, the same for every video and position: root mean square "
            "over heads",
            row[None],
            "root mean square",
            ("weight",),
            of_point=True,
        ),
        Shown(
            "temporal_added",
            "weights",
            "how much each frame adds at the point through Pixel GTA, in this video: norm over channels",
            np.linalg.norm(added, axis=1)[None],
            "norm",
            ("norm",),
            of_point=True,
        ),
    ]


def added_by_frames(part: PixelGTA, x: Tensor, cell: Cell) -> Tensor:
    """(T, C): what each frame of x (1, C, T, H, W) adds to X at `cell` through Pixel GTA, but for the constant.

    A = M V is a sum over frames, and what follows it is linear: a frame's part is what the block gives for V with all
    other frames 0.
    """
    value = rows(part.value(x))[:, :, cell.row * x.shape[4] + cell.column]  # (1, T, E)
    alone = torch.diag_embed(value[0].t()).permute(2, 1, 0)  # (frame that is there, T, E)
    mixed = part.mix(alone[:, :, None])[:, cell.step : cell.step + 1]  # (T, 1, 1, E)
    like = x[:, :, :1, :1, :1]

    def put_out(vectors: Tensor) -> Tensor:
        return part.bn(part.out(unrows(vectors, like)))

    return (put_out(mixed) - put_out(torch.zeros_like(mixed[:1])))[:, :, 0, 0, 0]


def _regions(part: RegionGTA, x: Tensor) -> Shown:
    regions = as_array(part.regions(part.value(x)))[0]  # (T, N, R)
    maps = regions.transpose(2, 0, 1).reshape(-1, *x.shape[2:])
    share = "share of each position in" if part.norm == "softmax" else "how much of each position goes into"
    return strongest_rows("regions", f"{share} each region of Region GTA", maps, "region")


def strongest_rows(kind: str, what: str, maps: np.ndarray, word: str) -> Shown:
    """(K, T, H, W), the K that tell positions apart most (by standard deviation) first."""
    order = np.argsort(-maps.std((1, 2, 3)), kind="stable")
    signed = bool((maps < 0).any())
    names = tuple(f"{word} {number + 1}" for number in order)
    if len(order) > _MOST_ROWS:
        what += f" (the {_MOST_ROWS} of {len(order)} that vary most over the positions)"
    return Shown(kind, "maps", what, maps[order], "value" if signed else "weight", names, signed)


def _set_of(name: str) -> str:
    return {"spatial": "frame", "temporal": "place along time"}.get(name.rpartition("_")[2], "clip")


def as_array(value: Tensor) -> np.ndarray:
    """float64, or float32 of anything narrower, on the CPU."""
    return (value if value.dtype == torch.float64 else value.float()).detach().cpu().numpy()
