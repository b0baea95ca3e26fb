"""What a network costs for one clip: multiply-adds, parameters, activations, memory; per stage and attention block.

Counted on the operations that the network runs on a CPU in evaluation, not from formulas: torch's fake tensors, which
have shapes and no contents, go through the real code, and every operation reports here.

What is counted, as in the papers and in fvcore:
- multiply-adds of convolutions, linear layers and matrix products, attention as its two products; nothing else
  (no BatchNorm, ReLU, pooling, softmax, and no additions of residuals);
- activations: numbers that these operations put out.
Memory is computed, not measured: the most bytes of tensors (weights, clip, everything between) that are alive at one
moment, each from its creation to its end as it really is. What a library allocates inside an operation is not in it.

The network is the one that a test runs, BatchNorm folded into the convolutions; parameters are those that are trained.
"""

import json
import logging
import re
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from slowfast_gta.files import write_whole
from slowfast_gta.models.build import build_model, inserted_blocks
from slowfast_gta.models.fold import fold_batch_norms_
from slowfast_gta.models.refine import AFR

logger = logging.getLogger("slowfast_gta")

FILE = "complexity.json"

# torch's formulas lack the attention kernel of CPUs.
_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def _operations(function: Any, arguments: Sequence[Any], options: dict[str, Any], output: object) -> int | None:
    """Multiplications and additions of one call, or None where they are not counted."""
    if function is _CPU_ATTENTION:
        return sdpa_flop_count(*(part.shape for part in arguments[:3]))
    if function in flop_registry:
        return flop_registry[function](*arguments, **options, out_val=output)
    return None


class Meter(TorchDispatchMode):
    """While it is on, every operation is counted under the innermost module of `model` that runs it.

    macs, activations: by module name. alive_bytes: of tensors at this moment; peak_bytes: the most there were.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.macs: Counter[str] = Counter()
        self.activations: Counter[str] = Counter()
        self.peak_bytes = 0
        self._alive: dict[int, weakref.ref] = {}
        self.alive_bytes = 0
        self._running = [""]
        self._names = {module: name for name, module in model.named_modules()}
        self._own(list(model.parameters()) + list(model.buffers()))

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        output = function(*arguments, **options)
        self._own(tree_leaves(output))
        operations = _operations(function.overloadpacket, arguments, options, output)
        if operations is not None:
            name = self._running[-1]
            self.macs[name] += operations // 2  # torch counts a multiply-add as two
            self.activations[name] += next(leaf.numel() for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        return output

    @contextmanager
    def counting(self) -> Iterator[None]:
        """On, and following which module runs."""
        hooks = [
            nn.modules.module.register_module_forward_pre_hook(self._enter),
            nn.modules.module.register_module_forward_hook(self._leave),
        ]
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, module: nn.Module, _: object) -> None:
        # A module that `model` does not have a name for counts as the one that calls it.
        self._running.append(self._names.get(module, self._running[-1]))

    def _leave(self, *_: object) -> None:
        self._running.pop()

    def _own(self, values: list) -> None:
        """Count the memory behind each tensor once, until it is freed."""
        for value in values:
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            key, size = id(storage), storage.nbytes()
            if key not in self._alive:
                self._alive[key] = weakref.ref(storage, partial(self._free, key, size))
                self.alive_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.alive_bytes)

    def _free(self, key: int, size: int, _: object) -> None:
        del self._alive[key]
        self.alive_bytes -= size


def build_complexity(cfg: CfgNode) -> dict:
    """The cost of one view (one clip at DATA.TEST_CROP_SIZE) of the network that `cfg` describes.

    {"gmacs", "params_m", "activations_m", "peak_memory_mb", "num_views", "gmacs_all_views", "input": [3, T, H, W],
    "stages", "attention"}; the last two are lists of {"name", "gmacs", "params_m", "activations_m"}.
    """
    side = cfg.DATA.TEST_CROP_SIZE
    shape = (3, cfg.DATA.NUM_FRAMES, side, side)
    with FakeTensorMode():
        model = build_model(cfg)
        params = Counter({name: value.numel() for name, value in model.named_parameters()})
        meter = Meter(fold_batch_norms_(model))
        with torch.no_grad(), meter.counting():
            model(torch.empty(1, *shape))
    num_views = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    counts = {"gmacs": (meter.macs, 1e9), "params_m": (params, 1e6), "activations_m": (meter.activations, 1e6)}
    total = _cost("", counts)
    # AFR is among the stages.
    blocks = [name for name, block in inserted_blocks(model).items() if not isinstance(block, AFR)]
    return {
        **{key: total[key] for key in counts},
        "peak_memory_mb": round(meter.peak_bytes / 1e6, 1),
        "num_views": num_views,
        "gmacs_all_views": round(total["gmacs"] * num_views, 2),
        "input": list(shape),
        "stages": [_cost(name, counts) for name in sorted((name for name, _ in model.named_children()), key=_order)],
        "attention": [_cost(name, counts) for name in blocks],
    }


def build_complexity_file(cfg: CfgNode, folder: Path) -> dict | None:
    """Write folder/complexity.json and return what is in it: what the network costs; None, and no file, for a network
    whose operations cannot be counted."""
    try:
        row = build_complexity(cfg)
    except Exception as fault:  # a network of the user's own, on tensors without contents
        logger.warning("The complexity of the network could not be counted (%s: %s).", type(fault).__name__, fault)
        return None
    write_whole(folder / FILE, json.dumps(row, indent=2))
    return row


def _order(stage: str) -> tuple[str, bool]:
    """Sorts stages as a clip goes through them: s1, s1_fuse, s2 ..., and what has another name behind."""
    numbered = re.match(r"s\d", stage)
    return (numbered[0] if numbered else "t", stage != (numbered and numbered[0]))


def _cost(prefix: str, counts: dict[str, tuple[Counter[str], float]]) -> dict:
    """The sums of `counts` (by name, and the unit) under one module's name; "" is the whole network."""

    def inside(name: str) -> bool:
        return not prefix or name == prefix or name.startswith(f"{prefix}.")

    sums = {
        key: round(sum(count for name, count in of.items() if inside(name)) / unit, 4)
        for key, (of, unit) in counts.items()
    }
    return {"name": prefix} | sums
