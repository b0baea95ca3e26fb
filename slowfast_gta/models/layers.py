"""Convolution, and the memory layout that makes frames cheap.

Everywhere in the networks tensors are (B, C, T, H, W) in torch.channels_last_3d memory. There a clip's frames are
one batch of channels_last images without a copy, so a convolution that does not look along time is a 2D one.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_forced = False


def takes_gpu_form(x: Tensor) -> bool:
    """Whether `x` is computed with as is best on a GPU: the same values, but for the last bits, which a CPU keeps."""
    return x.is_cuda or _forced


@contextlib.contextmanager
def gpu_form() -> Iterator[None]:
    """Inside `with`, every tensor `takes_gpu_form`: to count and to test on a CPU what a GPU is given."""
    global _forced
    before, _forced = _forced, True
    try:
        yield
    finally:
        _forced = before


def frames_to_batch(x: Tensor) -> Tensor:
    """(B, C, T, H, W) as (B*T, C, H, W); a view where memory is channels_last_3d."""
    return x.transpose(1, 2).flatten(0, 1)


def batch_to_frames(x: Tensor, num_frames: int) -> Tensor:
    """(B*T, C, H, W) as (B, C, T, H, W); always a view."""
    if num_frames == 1:
        # unflatten gives an axis of one a stride that misleads torch's BatchNorm on CPUs: its gradient comes out wrong.
        return x.unsqueeze(2)
    return x.unflatten(0, (-1, num_frames)).transpose(1, 2)


def relu(x: Tensor) -> Tensor:
    """ReLU of an output that nobody else keeps: written over it, but on a GPU.

    There the output of a norm is a view of images (`BatchNorm3d`), and the gradient of what is written over a view
    costs four copies. What is kept for the gradient is the same either way.
    """
    return F.relu(x, inplace=not takes_gpu_form(x))


def add(x: Tensor, residual: Tensor) -> Tensor:
    """x + residual in the dtype of x, written over `residual`: a convolution's or a norm's output that nobody keeps.

    Gradients allow it: neither of the two needs its own output for them. On a GPU nothing is written over: see `relu`.
    """
    residual = residual.to(x.dtype)
    return residual + x if takes_gpu_form(x) else residual.add_(x)


def in_full_range(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """function(*tensors), in float32 where they are float16, whose numbers end at 65,504: for what is cubic in them.

    Nothing else is changed: a constant that shrinks it would be wrong for the running statistics of trained weights.
    """
    if tensors[0].dtype != torch.float16:
        return function(*tensors)
    kind = tensors[0].device.type
    with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext():
        return function(*(tensor.float() for tensor in tensors))


def not_to_float16(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`change`, of a module's `_apply`, but for float16: what is computed `in_full_range` keeps its weights."""

    def changed(tensor: Tensor) -> Tensor:
        changed_tensor = change(tensor)
        return tensor.to(changed_tensor.device) if changed_tensor.dtype == torch.float16 else changed_tensor

    return changed


class Conv3d(nn.Conv3d):
    """A Conv3d padded to keep size, frame by frame where its kernel spans one frame; no bias until one is folded in.

    The weight is five-dimensional either way, as PySlowFast's checkpoints have it.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        kernel: tuple[int, int],
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        temporal_stride: int = 1,
    ):
        """kernel: (frames, px)."""
        frames, side = kernel
        super().__init__(
            dim,
            dim_out,
            kernel_size=(frames, side, side),
            stride=(temporal_stride, stride, stride),
            padding=(frames // 2, dilation * (side // 2), dilation * (side // 2)),
            dilation=(1, dilation, dilation),
            groups=groups,
            bias=False,
        )
        # He initialisation over the fan out, as PySlowFast.
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        # In the memory layout of the clips, so that no convolution has to rearrange one of the two.
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last_3d)

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size[0] > 1 or self.stride[0] > 1:
            return super().forward(x)
        weight = self.weight.squeeze(2)
        images = F.conv2d(
            frames_to_batch(x), weight, self.bias, self.stride[1:], self.padding[1:], self.dilation[1:], self.groups
        )
        return batch_to_frames(images, x.shape[2])


class BatchNorm3d(nn.BatchNorm3d):
    """nn.BatchNorm3d, on a GPU of all frames as images: the same sums, for which there are faster kernels of four axes.

    On a CPU it is torch's own, whose last bits would be others.
    """

    replaceable = True  # by one over parts of a batch, or over all processes, as torch's own

    def forward(self, x: Tensor) -> Tensor:
        return self.of_images(x) if takes_gpu_form(x) else super().forward(x)

    def of_images(self, x: Tensor) -> Tensor:
        """The same of (B*T, C, H, W)."""
        return batch_to_frames(super().forward(frames_to_batch(x)), x.shape[2])

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (4, 5):
            raise ValueError(f"BatchNorm3d expects (B, C, T, H, W); it was given {tuple(input.shape)}.")


class OptionError(ValueError):
    """A block's refusal of the values of `options`, named in capitals as in ATTENTION.OPTIONS."""

    def __init__(self, message: str, *options: str):
        super().__init__(message)
        self.options = options


class Projection(nn.Conv3d):
    """A 1x1x1 convolution, W_Q and its like, of all frames as images: on CPUs twice as fast as a matrix product."""

    def __init__(self, dim: int, dim_out: int, bias: bool = False):
        if dim_out < 1:  # the first projection of every block is to the channels inside it
            raise OptionError(f"DIM_INNER is {dim_out}; it must be at least 1.", "DIM_INNER")
        super().__init__(dim, dim_out, kernel_size=1, bias=bias)
        nn.init.normal_(self.weight, std=dim**-0.5)  # keeps the variance of its input
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return batch_to_frames(F.conv2d(frames_to_batch(x), self.weight.squeeze(2), self.bias), x.shape[2])


def project(x: Tensor, *projections: nn.Conv3d) -> Sequence[Tensor]:
    """Each of the 1x1x1 `projections` of one x; on a GPU by one product: x is read, its gradient written, once.

    Their weights stay apart: those of the one product are put together at each call.
    """
    ours = all(isinstance(projection, Projection | Conv3d) for projection in projections)
    biases = [projection.bias for projection in projections if projection.bias is not None]
    if len(projections) < 2 or not (ours and takes_gpu_form(x)) or len(biases) not in (0, len(projections)):
        return [projection(x) for projection in projections]
    weight = torch.cat([projection.weight for projection in projections]).squeeze(2)
    images = F.conv2d(frames_to_batch(x), weight, torch.cat(biases) if biases else None)
    return batch_to_frames(images, x.shape[2]).split([projection.out_channels for projection in projections], 1)


def max_pool_frames(x: Tensor) -> Tensor:
    """The stem's 3x3 max-pool with stride 2, frame by frame."""
    return batch_to_frames(F.max_pool2d(frames_to_batch(x), kernel_size=3, stride=2, padding=1), x.shape[2])
