"""What a training step keeps in memory, and what batch fits a card: counted without one.

torch's fake tensors, which have shapes and no contents, go through forward and backward as a GPU is given them, and
every tensor is followed from its creation to its end. The peak of two clips and of three is a line: what every step
needs (weights, gradients, the optimiser's state), and what each clip adds. Not in it is what an operation allocates
inside itself, and what an allocator keeps in reserve: no figure here has been compared with a GPU's allocator.
"""

from typing import Any

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import nn
from torch._subclasses import FakeTensorMode

from slowfast_gta.benchmarks.complexity import Meter
from slowfast_gta.models.build import build_model
from slowfast_gta.models.layers import gpu_form

CARDS_GB = (12, 24, 48, 80)
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


def build_train_memory(cfg: CfgNode) -> dict[str, Any]:
    """{"float32": {"mb_a_clip", "mb_kept_a_clip", "mb_constant", "batch_size": {"12": n, ...}}, "bfloat16": ...}.

    mb_a_clip: 10^6 bytes that one more clip adds to the peak; mb_kept_a_clip: to what is kept from the forward to the
    backward pass. mb_constant: what no clip changes. batch_size: that fits a card of so many GB; 0: none does.
    """
    return {word: _of_precision(cfg, dtype) for word, dtype in PRECISIONS.items()}


def _of_precision(cfg: CfgNode, dtype: torch.dtype | None) -> dict[str, Any]:
    (peak, kept), (more, more_kept) = (_peak_of_step(cfg, count, dtype) for count in (2, 3))
    a_clip, constant = more - peak, 3 * peak - 2 * more
    fits = {str(size): max(int((size * 1e9 - constant) // a_clip), 0) for size in CARDS_GB}
    return {
        "mb_a_clip": round(a_clip / 1e6, 1),
        "mb_kept_a_clip": round((more_kept - kept) / 1e6, 1),
        "mb_constant": round(constant / 1e6, 1),
        "batch_size": fits,
    }


def _peak_of_step(cfg: CfgNode, count: int, dtype: torch.dtype | None) -> tuple[int, int]:
    """The most bytes alive at one moment of a step on `count` clips, and those between forward and backward pass."""
    side = cfg.DATA.TRAIN_CROP_SIZE
    with FakeTensorMode(), gpu_form():
        network = build_model(cfg).train()
        learned = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
        meter = Meter(network)
        with meter:
            clips = torch.empty(count, cfg.DATA.NUM_FRAMES, side, side, 3, dtype=dtype).permute(0, 4, 1, 2, 3)
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                loss = _loss(network, clips)
            kept = meter.alive_bytes
            loss.backward()
    return meter.peak_bytes + learned * _optimizer_states(cfg), kept


def _loss(network: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    outputs = network(clips)
    outputs = outputs if isinstance(outputs, dict) else {"": outputs}
    labels = torch.zeros(len(clips), dtype=torch.long)
    losses = [F.cross_entropy(logits.float(), labels) for logits in outputs.values()]
    return torch.stack(losses).sum()


def _optimizer_states(cfg: CfgNode) -> int:
    """Numbers that the optimiser has for each weight."""
    return 2 if cfg.SOLVER.OPTIMIZING_METHOD.lower().startswith("adam") else int(cfg.SOLVER.MOMENTUM > 0)
