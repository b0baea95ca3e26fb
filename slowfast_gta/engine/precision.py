"""The precision in which a network is evaluated, and what a lower one changes: measured on the first batch.

Legend: B clips, K classes, of all outputs side by side.
"""

import logging
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.engine.device import device_of
from slowfast_gta.errors import ConfigError, RunError, counted

logger = logging.getLogger("slowfast_gta")

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,  # not among TEST.PRECISION's words: for comparisons
}
LOWER = ("bfloat16", "float16")


def precision_dtype(name: str) -> torch.dtype:
    """Raises ConfigError for a precision that there is not."""
    if name not in PRECISIONS:
        raise ConfigError(f"precision is {name!r}; it must be one of {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]


def check_precision(name: str, device: torch.device) -> None:
    """Raises RunError where PyTorch cannot compute what networks consist of in this precision on `device`."""
    numbers = torch.ones(1, 1, 2, 4, 4, dtype=precision_dtype(name), device=device)
    try:
        F.conv3d(numbers, numbers[:, :, :1, :1, :1])
        F.conv2d(numbers[:, :, 0], numbers[:, :, 0, :1, :1])
        F.scaled_dot_product_attention(numbers[0], numbers[0], numbers[0])
        F.max_pool2d(numbers[:, :, 0], 2)
    except RuntimeError as fault:
        raise RunError(
            f"This PyTorch cannot compute networks in {name} on this {device.type.upper()}: "
            f"{str(fault).splitlines()[0]}. Set TEST.PRECISION to float32 or bfloat16."
        ) from None


def dtype_of(model: nn.Module) -> torch.dtype:
    """That of a network's weights; float32 of one that has none."""
    return next((value.dtype for value in model.parameters()), torch.float32)


def in_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """`model` itself, its weights in `dtype`; in float16 without those that a block computes with in float32, since
    its numbers would not fit (`full_range`: names of its parts)."""
    model.to(dtype)
    if dtype == torch.float16:
        for module in model.modules():
            for name in getattr(module, "full_range", ()):
                part = getattr(module, name)
                if part is not None:
                    part.float()
    return model


class Rounding:
    """What a lower precision changes. `exact`, the same network in float32, scores the first batch too."""

    def __init__(self, precision: str, exact: nn.Module, num_classes: list[int]):
        """`num_classes`: K of each output."""
        self.precision, self._num_classes = precision, num_classes
        self._exact: nn.Module | None = exact
        self.change: dict[str, Any] = {}

    @property
    def is_done(self) -> bool:
        return self._exact is None

    def exact_on(self, rounded: nn.Module) -> nn.Module:
        """The network in float32, where `rounded` is."""
        assert self._exact is not None
        return self._exact.to(device_of(rounded))

    def compare(self, exact: Tensor, rounded: Tensor) -> None:
        """The scores (B, K) of both for the first batch; the network in float32 is let go."""
        self._exact = None
        changed = torch.zeros(len(exact), dtype=torch.bool, device=exact.device)
        for ours, theirs in zip(exact.split(self._num_classes, 1), rounded.split(self._num_classes, 1), strict=True):
            changed |= ours.argmax(1) != theirs.argmax(1)
        self.change = {
            "precision": self.precision,
            "num_clips": len(exact),
            "largest_change": round(float((exact.float() - rounded.float()).abs().max()), 6),
            "num_changed_answers": int(changed.sum()),
        }
        logger.info("%s", self.summary())

    def summary(self) -> str:
        """What was found, for people."""
        change = self.change
        return (
            f"In {change['precision']}, the scores of the first {counted(change['num_clips'], 'clip')} differ "
            f"from float32 by {change['largest_change']:.2g} at most; changed predictions: "
            f"{change['num_changed_answers']}."
        )


def num_classes_from_cfg(cfg: CfgNode) -> list[int]:
    """K of each output."""
    classes = cfg.MODEL.NUM_CLASSES
    return list(classes) if isinstance(classes, list) else [classes]
