"""What a training step on a GPU moves and launches, counted without one: bytes and kernels of forward, backward, SGD.

torch's fake tensors, which have shapes and no contents, go through the real code, and every operation reports here. An
operation is taken to read each of its inputs once and to write each of its outputs once: what kernels read twice, and
what caches save, is not in it. It is a lower bound to divide a card's bandwidth by, and shows what a change moves.
Weights are in the precision of the activations, and operations are those of a GPU where they differ (models/layers.py).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from slowfast_gta.models.build import build_model
from slowfast_gta.models.layers import gpu_form

# Operations that touch no memory, though torch does not call them views.
_FREE = {
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    *("detach", "_unsafe_view", "lift_fresh"),
}


class Traffic(TorchDispatchMode):
    """While it is on: num_bytes and num_launches by operation, and multiply-adds of all."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes: Counter[str] = Counter()
        self.num_launches: Counter[str] = Counter()
        self.macs = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        output = function(*arguments, **options)
        name = function.overloadpacket.__name__
        if function.namespace == "aten" and not function.is_view and name not in _FREE:
            self._count(name, arguments, options, output)
        if function.overloadpacket in flop_registry:
            self.macs += flop_registry[function.overloadpacket](*arguments, **options, out_val=output) // 2
        return output

    def _count(self, name: str, arguments: Any, options: Any, output: Any) -> None:
        read = {id(value): value for value in tree_leaves((arguments, options)) if isinstance(value, Tensor)}
        written = {id(value): value for value in tree_leaves(output) if isinstance(value, Tensor)}
        moved = [*read.values(), *written.values()]  # in place, a tensor is read and written
        self.num_bytes[name] += sum(value.numel() * value.element_size() for value in moved)
        self.num_launches[name] += 1


def count_step(network: nn.Module, shape: Sequence[int], dtype: torch.dtype) -> Traffic:
    """A step of `network`, whose tensors are fake, on clips of `shape` (B, 3, T, H, W)."""
    network.train()
    clips = torch.empty(*shape, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    labels = torch.zeros(shape[0], dtype=torch.long)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, foreach=True)
    with Traffic() as traffic:
        F.cross_entropy(network(clips).float(), labels).backward()
        optimizer.step()
    return traffic


@contextmanager
def _made_of(dtype: torch.dtype) -> Iterator[None]:
    """Inside `with`, weights are made in `dtype`: fake ones cannot be changed later."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def build_step_costs(cfg: CfgNode, batch_size: int = 8, dtype: torch.dtype = torch.bfloat16) -> dict:
    """{"gb_a_clip", "launches", "gmacs_a_clip", "largest": {operation: GB a clip}} of a training step of `cfg`."""
    side = cfg.DATA.TRAIN_CROP_SIZE
    with FakeTensorMode(), _made_of(dtype), gpu_form():
        traffic = count_step(build_model(cfg), (batch_size, 3, cfg.DATA.NUM_FRAMES, side, side), dtype)
    unit = 1e9 * batch_size
    return {
        "gb_a_clip": round(sum(traffic.num_bytes.values()) / unit, 3),
        "launches": sum(traffic.num_launches.values()),
        "gmacs_a_clip": round(traffic.macs / unit, 1),
        "largest": {name: round(count / unit, 3) for name, count in traffic.num_bytes.most_common(8)},
    }
