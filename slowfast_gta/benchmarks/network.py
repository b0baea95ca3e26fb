"""How fast a network is beside its plain form, and GTA beside its backbone: medians over alternating pairs in one run.

The plain form has the same weights and outputs, computed as one would write it down: every convolution as
torch's Conv3d over (B, C, T, H, W) memory, BatchNorm3d behind it, attention through an explicit N x N matrix.
Ours in evaluation is what a test runs: BatchNorm folded into the convolutions.
"""

import copy
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.engine.device import device_from_cfg, peak_memory_gib
from slowfast_gta.engine.training.trial import try_sample
from slowfast_gta.models.build import build_model
from slowfast_gta.models.fold import fold_batch_norms
from slowfast_gta.models.layers import BatchNorm3d, Conv3d, Projection
from slowfast_gta.models.layout import BLOCKS
from slowfast_gta.models.packed import prepack_convs_
from slowfast_gta.models.resnet import ResBlock, Stem
from slowfast_gta.models.shift import temporal_shift


class _PlainStem(Stem):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(F.relu(self.bn(self.conv(x)), inplace=True), (1, 3, 3), (1, 2, 2), (0, 1, 1))


class _PlainResBlock(ResBlock):
    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.branch1 is None else self.branch1_bn(self.branch1(x))
        residual = self.branch2(temporal_shift(x, self.shift_div) if self.shift_div else x)
        return F.relu(shortcut + residual, inplace=True)


_PLAIN = {
    BatchNorm3d: nn.BatchNorm3d,
    Conv3d: nn.Conv3d,
    Projection: nn.Conv3d,
    Stem: _PlainStem,
    ResBlock: _PlainResBlock,
}


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Clips stay in the memory they come in, and attention is a softmax between two products.

    By exchanging the two functions, which costs nothing at each call: a GPU waits for a host that looks at every one.
    """
    contiguous, attention = Tensor.contiguous, F.scaled_dot_product_attention
    Tensor.contiguous = _as_it_is  # type: ignore[method-assign, assignment]
    F.scaled_dot_product_attention = _explicit_attention  # type: ignore[assignment]
    try:
        yield
    finally:
        Tensor.contiguous, F.scaled_dot_product_attention = contiguous, attention  # type: ignore[method-assign]


def _as_it_is(tensor: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    return tensor


def _explicit_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1) @ value


class PlainForm(nn.Module):
    """A copy of `network` in its plain form; see the top of the file."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = copy.deepcopy(network)
        for module in self.network.modules():
            module.__class__ = _PLAIN.get(type(module), type(module))
        for parameter in self.network.parameters():
            parameter.data = parameter.data.contiguous()

    def forward(self, clip: Tensor) -> Tensor:
        with _plain_operations():
            return self.network(clip)


def default_batch_size(network: nn.Module, clip: Sequence[int], device: torch.device) -> int:
    """Clips (3, T, H, W) at a time: one on a CPU; on a GPU as many as fill it, a power of two up to 64.

    By what is free there and what `network` keeps of one clip in training in float32, which the plain form, and what an
    allocator loses, are given twice.
    """
    if device.type == "cpu":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    kept = try_sample(network, torch.empty(1, *clip, device="meta")).saved_bytes
    return 2 ** min(int(math.log2(max(free / max(2 * kept, 1), 1))), 6)


def build_benchmark(cfg: CfgNode, pairs: int = 10, batch_size: int | None = None) -> dict:
    """Time the network of `cfg` without attention (R2D, for short) and with GTA, on cfg.NUM_GPUS's device.

    A speed-up is the median over `pairs` of (seconds of the plain form / seconds of ours). For bf16 the plain form
    runs in fp32, and in bf16 for "eval_bf16_over_plain_bf16"; both are None where the machine has no bf16.
    `batch_size` None: `default_batch_size`.
    """
    device = device_from_cfg(cfg)
    torch.manual_seed(cfg.RNG_SEED)
    backbone, with_gta = (build_model(build_variant(cfg, name)).to(device) for name in ("none", "GTA"))
    crop, test_crop = cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE
    batch_size = batch_size or default_batch_size(with_gta, (3, cfg.DATA.NUM_FRAMES, crop, crop), device)
    shape = (batch_size, 3, cfg.DATA.NUM_FRAMES, test_crop, test_crop)
    clip, train_clip = torch.randn(shape, device=device), torch.randn(*shape[:3], crop, crop, device=device)
    labels = torch.randint(cfg.MODEL.NUM_CLASSES, (batch_size,), device=device)

    plain = PlainForm(backbone).eval()
    ours, gta = (prepack_convs_(fold_batch_norms(network)) for network in (backbone, with_gta))
    results: dict[str, float | None] = {
        "eval_fp32_speedup": _ratio(_evaluation(plain, clip), _evaluation(ours, clip), pairs)
    }
    results |= _bf16_speedups(plain, ours, clip, pairs)
    results["gta_over_r2d_eval"] = _ratio(_evaluation(gta, clip), _evaluation(ours, clip), pairs)
    del plain, ours, gta
    step = training_step(backbone, train_clip, labels)
    results["train_fp32_speedup"] = _ratio(training_step(PlainForm(backbone), train_clip, labels), step, pairs)
    results["gta_over_r2d_train"] = _ratio(training_step(with_gta, train_clip, labels), step, pairs)
    results["train_bf16_speedup"] = None
    if device.type == "cuda" and has_bf16(device):
        plain_step = training_step(PlainForm(backbone), train_clip, labels, torch.bfloat16)
        step = training_step(backbone, train_clip, labels, torch.bfloat16)
        results["train_bf16_speedup"] = _ratio(plain_step, step, pairs)
    rounded = {key: value if value is None else round(value, 3) for key, value in results.items()}
    peak = {"peak_memory_gib": peak_memory_gib(device)}
    return {**rounded, **peak, "pairs": pairs, "clip": list(shape), "machine": describe_machine(device)}


def _bf16_speedups(plain: nn.Module, ours: nn.Module, clip: Tensor, pairs: int) -> dict[str, float | None]:
    if not has_bf16(clip.device):
        return {"eval_bf16_speedup": None, "eval_bf16_over_plain_bf16": None}
    in_bf16 = _evaluation(ours, clip, torch.bfloat16)
    return {
        "eval_bf16_speedup": _ratio(_evaluation(plain, clip), in_bf16, pairs),
        "eval_bf16_over_plain_bf16": _ratio(_evaluation(plain, clip, torch.bfloat16), in_bf16, pairs),
    }


def build_variant(cfg: CfgNode, attention: str) -> nn.Module:
    """`cfg` with no attention but the block named: after every other block of res3 and res4, in the first pathway."""
    cfg = cfg.clone()
    cfg.defrost()
    blocks = BLOCKS[cfg.RESNET.DEPTH]
    others: list[list[int]] = [[] for _ in cfg.RESNET.SPATIAL_STRIDES[0][1:]]
    nowhere = [[[], *others] for _ in blocks]
    cfg.NONLOCAL.LOCATION = nowhere
    cfg.ATTENTION.NAME, cfg.ATTENTION.REFINE, cfg.ATTENTION.LOCATION = attention, "none", nowhere
    cfg.ATTENTION.OPTIONS = type(cfg)(new_allowed=True)
    if attention != "none":
        every_other = [[list(range(1, count, 2)) or [0], *others] for count in blocks]
        cfg.ATTENTION.LOCATION = [nowhere[0], *every_other[1:3], nowhere[3]]
    return cfg


def _evaluation(model: nn.Module, clip: Tensor, dtype: torch.dtype | None = None) -> Callable[[], None]:
    """One forward pass, its weights and clip in `dtype` where it is given."""
    if dtype is not None:
        model, clip = copy.deepcopy(model).to(dtype), clip.to(dtype)

    @torch.no_grad()
    def run() -> None:
        model(clip)

    return run


def training_step(model: nn.Module, clip: Tensor, labels: Tensor, amp: torch.dtype | None = None) -> Callable[[], None]:
    """Forward, loss, backward, SGD; with `amp`, forward and loss under autocast to it."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast(clip.device.type, dtype=amp, enabled=amp is not None):
            loss = F.cross_entropy(model(clip).float(), labels)
        loss.backward()
        optimizer.step()

    return run


def _ratio(first: Callable[[], None], second: Callable[[], None], pairs: int) -> float:
    """The median of seconds(first) / seconds(second), run in turns; each runs once before that, untimed."""
    seconds_of(first)  # which waits for a GPU to have done it
    seconds_of(second)
    return statistics.median(seconds_of(first) / seconds_of(second) for _ in range(pairs))


def seconds_of(run: Callable[[], object]) -> float:
    """Of one call, the GPU's work in it."""
    begin = time.perf_counter()
    run()
    if torch.cuda.is_initialized():  # a process that works on a CPU makes no context on the GPU
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def has_bf16(device: torch.device) -> bool:
    """Whether products of bf16 are fast there."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(flag in flags.read_text() for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def describe_machine(device: torch.device) -> str:
    """In words: processor, threads, load, torch."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{platform.machine()} CPU, {torch.get_num_threads()} threads of {os.cpu_count()} cores, load {load}, "
        f"torch {torch.__version__}"
    )
