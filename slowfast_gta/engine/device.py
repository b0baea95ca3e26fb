"""The device a run uses, and a batch's way onto it."""

import logging
import os
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.errors import RunError, counted

logger = logging.getLogger("slowfast_gta")


def num_gpus_from_cfg(cfg: CfgNode) -> int:
    """How many GPUs NUM_GPUS means on this machine. Raises RunError where it asks for more than there are."""
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if cfg.NUM_GPUS == "auto":
        return min(present, 1)
    if present < cfg.NUM_GPUS:
        raise RunError(
            f"NUM_GPUS is {cfg.NUM_GPUS}, but PyTorch sees {counted(present, 'CUDA GPU')} here"
            + ("" if torch.version.cuda else " (this PyTorch is a CPU build)")
            + ". Set NUM_GPUS to 0 for the CPU or to auto, or install a CUDA build of PyTorch (README, Install)."
        )
    return cfg.NUM_GPUS


def device_from_cfg(cfg: CfgNode) -> torch.device:
    """The device of this process: its own GPU, or the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if num_gpus_from_cfg(cfg) else torch.device("cpu")


def peak_memory_gib(device: torch.device) -> float:
    """The most memory this process has had at once: of the GPU, or on the CPU of the machine. GiB."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    unit = 1 if sys.platform == "darwin" else 1024  # what a Unix counts in
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 3)


def set_deterministic(cfg: CfgNode) -> None:
    """With DETERMINISTIC, choose the algorithms that give the same bits every time; what has none warns.

    What a training's network allows beyond that, `settle_determinism` sets.
    """
    torch.use_deterministic_algorithms(cfg.DETERMINISTIC, warn_only=True)
    torch.backends.cudnn.deterministic = cfg.DETERMINISTIC
    if cfg.DETERMINISTIC:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA first multiplies


def search_convolutions(on: bool) -> bool:
    """Have cuDNN time its algorithms for each new size, and take the fastest: for training, whose sizes stay.

    Which one that is may change from run to run, and its last bits: not for testing. Returns what it was.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = on
    return before


def set_tf32(cfg: CfgNode) -> str:
    """Choose, by TF32, how a GPU multiplies in float32: convolutions and matrices alike. In words, for the log."""
    torch.set_float32_matmul_precision("high" if cfg.TF32 else "highest")
    torch.backends.cudnn.allow_tf32 = cfg.TF32
    if cfg.TF32:
        return "float32 matrix products on the GPU use TF32 (10 mantissa bits; TF32 False: all 23)"
    return "float32 matrix products on the GPU use full precision (TF32 False)"


def settle_determinism(inexact: Sequence[str] | None) -> None:
    """On a GPU, once it is known which operations of the network have no exact gradient (None: nothing is known).

    With none, torch may refuse what is inexact, and only then its fused attention is exact: asked to warn, it sums in
    any order. Otherwise attention is by matrix products, whose memory grows with the square of the positions.
    """
    if inexact is not None and not inexact:
        torch.use_deterministic_algorithms(True)
        return
    for choose in ("enable_flash_sdp", "enable_mem_efficient_sdp", "enable_cudnn_sdp"):
        getattr(torch.backends.cuda, choose)(False)
    which = ", ".join(inexact) if inexact else "not known"
    logger.warning(
        "DETERMINISTIC: on a GPU the gradients of these operations may differ in their last bits from run to run: %s. "
        "Everything else is deterministic; attention uses explicit matrix products for that.",
        which,
    )


def device_of(model: nn.Module) -> torch.device:
    """Where a network's tensors are."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


class CopiesAhead:
    """Brings batches to a device. To a GPU on a stream of their own, while it is still at the step before.

    A batch's tensors are its fields, in lists, tuples, dicts and dataclasses too; one that is no dataclass is copied on
    the stream of the steps, for what it holds cannot be found.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Any) -> Any:
        """`batch` on the device, as whatever is computed next may use it. Its host memory should be pinned."""
        findable: bool = is_dataclass(batch)
        if self._stream is None or not findable:
            return batch.to(self.device)
        with torch.cuda.stream(self._stream):
            moved = batch.to(self.device)
        steps = torch.cuda.current_stream(self.device)
        steps.wait_stream(self._stream)
        for tensor in tensors_in(moved):
            if tensor.is_cuda:
                tensor.record_stream(steps)  # its memory is not given to another batch before the step is over
        return moved


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in lists, tuples, dicts and the fields of dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(tensors_in, value.values()))
    elif isinstance(value, list | tuple):
        yield from chain.from_iterable(map(tensors_in, value))


class Normalize:
    """uint8 RGB clips (B, 3, T, H, W) -> float, (x / 255 - mean) / std, on their device; BGR if `reverse`."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], reverse: bool):
        self.mean, self.std = list(mean), list(std)
        scale = torch.tensor(std).view(1, 3, 1, 1, 1)
        self.factor = 1 / (255 * scale)
        self.offset = -torch.tensor(mean).view(1, 3, 1, 1, 1) / scale
        self.reverse = reverse

    def __call__(self, frames: Tensor) -> Tensor:
        """float32; under autocast on a GPU in its precision, since the first convolution would round it to that."""
        if self.factor.device != frames.device:  # once: the clips of a process are all on one device
            self.factor, self.offset = self.factor.to(frames.device), self.offset.to(frames.device)
        frames = frames.contiguous(memory_format=torch.channels_last_3d)
        if frames.is_cuda:
            lower = torch.is_autocast_enabled("cuda")
            normalized = self.in_one_pass(frames, torch.get_autocast_dtype("cuda") if lower else torch.float32)
        else:
            normalized = frames.float().mul_(self.factor).add_(self.offset)
        return normalized.flip(1) if self.reverse else normalized

    def in_one_pass(self, frames: Tensor, dtype: torch.dtype) -> Tensor:
        """The same in `dtype`: computed in float32, rounded once, by one kernel that reads bytes and writes `dtype`."""
        normalized = torch.empty_like(frames, dtype=dtype)
        return torch.addcmul(self.offset, frames, self.factor, out=normalized)


def build_normalize(cfg: CfgNode) -> Normalize:
    """Normalize with DATA.MEAN, DATA.STD and DATA.REVERSE_INPUT_CHANNEL."""
    return Normalize(cfg.DATA.MEAN, cfg.DATA.STD, cfg.DATA.REVERSE_INPUT_CHANNEL)
