"""A tensor of a file in the shape the network wants: reshaped, inflated along time, or resampled along time.

Legend: T frames the network was built for, S frames the file's was.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def time_axes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Which axes of which parameters run over the frames of a clip, as the modules' `time_axes` say."""
    return {
        f"{prefix}.{name}": axes
        for prefix, module in model.named_modules()
        for name, axes in getattr(module, "time_axes", {}).items()
    }


def fit(value: Tensor, like: Tensor, axes: tuple[int, ...] = ()) -> tuple[Tensor, str] | None:
    """`value` in the shape of `like`, and what was done: "loaded", "reshaped", "inflated", "resampled"; None: no way.

    axes: those that run over frames; the only ones that may be resampled.
    """
    if value.shape == like.shape:
        return value, "loaded"
    if axes and value.ndim == like.ndim:
        return _fit_time(value, like, axes)
    if value.ndim == 4 and like.ndim == 5 and value.shape == like.shape[:2] + like.shape[3:]:
        value = value.unsqueeze(2)  # a 2D kernel
    elif value.ndim != like.ndim and _stripped(value) == _stripped(like):
        return value.reshape(like.shape), "reshaped"  # caffe2: a matrix for a 1x1x1 kernel
    if value.shape == like.shape:
        return value, "reshaped"
    if value.ndim == like.ndim == 5 and value.shape[2] == 1 and _without(value, 2) == _without(like, 2):
        return value.expand_as(like) / like.shape[2], "inflated"
    return None


def _stripped(value: Tensor) -> tuple[int, ...]:
    """The shape without the ones at its end."""
    sizes = list(value.shape)
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def _without(value: Tensor, *axes: int) -> list[int]:
    return [size for axis, size in enumerate(value.shape) if axis not in axes]


def _fit_time(value: Tensor, like: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, str] | None:
    axes = tuple(axis % value.ndim for axis in axes)
    if _without(value, *axes) != _without(like, *axes):
        return None
    return resample_time(value, axes, like.shape[axes[0]]), "resampled"


def resample_time(value: Tensor, axes: tuple[int, ...], num_frames: int) -> Tensor:
    """A parameter made for S frames, for T = `num_frames`: linear in time, smoothed where T is less than S.

    axes: (time,) for something per frame; (to, from) for a matrix that mixes frames. The matrix's rows keep their sums,
    and so what it makes of frames that are all alike.
    """
    size = value.shape[axes[0]]
    # Column t says how much of each of the S frames is in frame t of T.
    eye = torch.eye(size, dtype=torch.float64)[None, None]
    weights_ST = F.interpolate(eye, size=(size, num_frames), mode="bilinear", antialias=True)[0, 0]
    resampled = _apply(value.double(), axes[0], weights_ST)
    if len(axes) == 2:
        resampled = _apply(resampled, axes[1], weights_ST / weights_ST.sum(1, keepdim=True))
    return resampled.to(value.dtype)


def _apply(value: Tensor, axis: int, weights_ST: Tensor) -> Tensor:
    return (value.movedim(axis, -1) @ weights_ST).movedim(-1, axis)
