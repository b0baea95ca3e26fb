"""For testing on a CPU: a convolution together with the ReLU and the sum behind it, its weight in oneDNN's own order.

torch's own convolution brings its weight into the order that the processor wants at every call. Here that is done
once for each size of clip, and nothing is written to memory only to be read again by an addition or a ReLU.
Where that does not apply (temporal kernels, a GPU, gradients, float64, a torch without these operations) the
convolution is the ordinary one. The outputs are the same bit for bit in either case (tests/models/test_packed.py).
"""

import ctypes
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_gta.models.layers import Conv3d, Projection, add, batch_to_frames, frames_to_batch, max_pool_frames
from slowfast_gta.models.resnet import ResBlock, Stem
from slowfast_gta.models.shift import temporal_shift


class PackedConv3d(Conv3d):
    """A Conv3d whose output can take a sum and a ReLU with it."""

    def forward(self, x: Tensor, relu: bool = False, onto: Tensor | None = None) -> Tensor:
        """conv(x), plus `onto` where that is given (it is overwritten), through a ReLU where asked."""
        if not self._applies(x):
            out = super().forward(x)
            out = out if onto is None else add(onto, out)
            return F.relu_(out) if relu else out
        images = frames_to_batch(x)
        numbers = (self.bias, self.padding[1:], self.stride[1:], self.dilation[1:], self.groups)
        act = "relu" if relu else "none"
        if onto is None:
            out = torch.ops.mkldnn._convolution_pointwise(images, self._weight(images), *numbers, act, [], "")
        else:
            out = torch.ops.mkldnn._convolution_pointwise_.binary(
                frames_to_batch(onto), images, self._weight(images), *numbers, "add", 1.0, act if relu else None, [], ""
            )
        return batch_to_frames(out, x.shape[2])

    def __getstate__(self) -> dict:
        """What a copy gets: not the packed weight, which cannot be copied."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_packed")}

    def _applies(self, x: Tensor) -> bool:
        return (
            x.is_cpu
            and x.dtype == self.weight.dtype
            and x.dtype in (torch.float32, torch.bfloat16)
            and self.kernel_size[0] == self.stride[0] == 1
            and not torch.is_grad_enabled()
            and not torch.jit.is_tracing()  # complexity counts operations that it knows
        )

    def _weight(self, images: Tensor) -> Tensor:
        """The weight as oneDNN wants it for `images`; kept until they have another size or type."""
        key = (images.shape, images.dtype)
        if self.__dict__.get("_packed_for") != key:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight.squeeze(2), self.padding[1:], self.stride[1:], self.dilation[1:], self.groups, images.shape
            )
            self._packed_for = key
        return self._packed


class PackedStem(Stem):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(max_pool_frames(self.conv(x)))


class PackedResBlock(ResBlock):
    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.branch1 is None else self.branch1(x)
        y = temporal_shift(x, self.shift_div) if self.shift_div else x
        *first, last = (layer for layer in self.branch2.children() if isinstance(layer, Conv3d))
        for conv in first:
            y = conv(y, relu=True)
        return last(y, relu=True, onto=shortcut)


_PACKED = {Conv3d: PackedConv3d, Projection: PackedConv3d, Stem: PackedStem, ResBlock: PackedResBlock}


def prepack_convs_(model: nn.Module) -> nn.Module:
    """`model`, of which every BatchNorm has been folded (models/fold.py), in the form of this file.

    A residual block then writes its output over its input where that is its shortcut: nobody else may keep it.

    Only the class of a module changes: its parameters, its name, hooks on it and whoever holds it stay. Modules made
    anew would have to carry each of these over, and a forward that chooses would bring this file into layers.py.
    """
    keep_freed_memory()
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise_"):
        for module in model.modules():
            if not any(isinstance(part, _BatchNorm) for part in module.modules()):
                module.__class__ = _PACKED.get(type(module), type(module))
    return model


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3), in glibc's malloc.h


def keep_freed_memory() -> bool:
    """Have this process keep, up to 2 GiB, what tensors have freed; whether its C library (glibc) can.

    By default glibc gives the end of its heap back to the kernel, and the next clip gets it again page by page, each
    filled with zeros: 15,000 pages a clip with R2D-50 and GTA. Memory that was in use once stays with the process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    largest_in_heap = 32 << 20  # bytes; the largest that glibc takes
    return bool(mallopt(_M_MMAP_THRESHOLD, largest_in_heap) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
