"""One blank sample through a network that is on no device: what a training step will need, before there is one.

On PyTorch's meta device tensors have shapes and no numbers: nothing is computed, and no memory is used.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from slowfast_gta import distributed
from slowfast_gta.errors import ConfigError
from slowfast_gta.models.norms import SubBatchNorm3d

# Operations whose gradients torch adds up in another order each time on a GPU, and has no exact form of (the list of
# torch.use_deterministic_algorithms, torch 2.13). F.interpolate is not among them: torch takes it apart where asked.
_INEXACT = (
    *("max_pool3d_with_indices", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    *("adaptive_max_pool2d", "adaptive_max_pool3d", "fractional_max_pool2d", "fractional_max_pool3d"),
    *("grid_sampler_2d", "grid_sampler_3d", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d"),
    *("replication_pad1d", "replication_pad2d", "replication_pad3d", "max_unpool2d", "max_unpool3d"),
    *("histc", "kthvalue", "median", "put_", "nll_loss2d_forward"),
)
_NORMS = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Trial:
    """What one sample showed."""

    fewest_samples: int = 1  # that a forward pass in training must have: BatchNorm has no variance of one value
    norm: str = ""  # the BatchNorm that asks for them
    saved_bytes: int = 0  # of tensors that one sample's forward pass keeps for its backward pass
    inexact: tuple[str, ...] | None = None  # operations without an exact gradient on GPUs; None: not known


def try_sample(network: nn.Module, sample: Tensor | None) -> Trial:
    """Run `sample` (B = 1) through a copy of `network` on the meta device, in its mode. Both stay as they are.

    A network that cannot run there (it looks at numbers) or no sample: nothing is known, Trial().
    """
    if sample is None:
        return Trial()
    copied = _meta_copy(network)
    norms = {name: module for name, module in copied.named_modules() if isinstance(module, _NORMS) and module.training}
    values: dict[str, int] = {}
    for name, norm in norms.items():
        norm.eval()  # which takes any number of values, and keeps as much
        norm.register_forward_pre_hook(lambda _, inputs, name=name: values.update({name: _values(inputs[0])}))
    saved: dict[int, Tensor] = {}
    own = {tensor.untyped_storage()._cdata for tensor in (*copied.parameters(), *copied.buffers())}

    def keep(tensor: Tensor) -> Tensor:
        saved.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), _Operations() as operations:
            output = copied(sample.to("meta"))
    except (RuntimeError, NotImplementedError):
        return Trial()
    fewest = {name: _fewest(norms[name]) for name, count in values.items() if count == 1}
    num_bytes = sum(tensor.untyped_storage().nbytes() for key, tensor in saved.items() if key not in own)
    del output  # until here it held what was saved
    norm = max(fewest, key=fewest.__getitem__, default="")
    inexact = tuple(name for name in _INEXACT if name in operations.names)
    return Trial(fewest.get(norm, 1), norm, num_bytes, inexact)


class _Operations(TorchDispatchMode):
    """While it is on, the names of torch's operations are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(function.overloadpacket.__name__)
        return function(*arguments, **(options or {}))


def check_batch_size(cfg: CfgNode, trial: Trial) -> None:
    """Raises ConfigError where every step would have a BatchNorm over one value."""
    parts = cfg.SOLVER.ACCUMULATE_STEPS
    smallest = cfg.TRAIN.BATCH_SIZE // distributed.get_world_size() // parts
    if max(smallest, 1) >= trial.fewest_samples:
        return
    splits = f", each of BN.NUM_SPLITS {cfg.BN.NUM_SPLITS} by itself" if trial.fewest_samples > 2 else ""
    raise ConfigError(
        f"BatchNorm would be over one value, which has no variance: of one clip, {trial.norm} has one value in each "
        f"channel (DATA.NUM_FRAMES {cfg.DATA.NUM_FRAMES}, DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE}), and "
        f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE} makes {max(smallest, 1)} of them for each process and part "
        f"(SOLVER.ACCUMULATE_STEPS {parts}{splits}). It needs {trial.fewest_samples}: raise TRAIN.BATCH_SIZE, "
        "DATA.NUM_FRAMES or DATA.TRAIN_CROP_SIZE, or keep the statistics as they are loaded (BN.FREEZE all).",
        ["TRAIN.BATCH_SIZE"],
    )


def _meta_copy(network: nn.Module) -> nn.Module:
    """A copy without numbers, made without copying any."""
    known: dict[int, object] = {}
    for parameter in network.parameters():
        known[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in network.buffers():
        known[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, known)


def _values(x: Tensor) -> int:
    """What BatchNorm averages over: N of (N, C), B T H W of (B, C, T, H, W)."""
    return x.numel() // x.shape[1]


def _fewest(norm: nn.Module) -> int:
    """The samples with which `norm` has more than one value, where one sample has one."""
    if isinstance(norm, distributed.SyncBatchNorm3d) and distributed.get_world_size() > 1:
        return 1
    return 2 * norm.num_splits if isinstance(norm, SubBatchNorm3d) else 2
