"""The optimiser, and which parameters decay."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta.models.build import inserted_names

# Weight decay is part of the gradient in Adam (L2, scaled as the gradient is), and apart from it in AdamW.
_ADAMS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW; normalisation layers decay by BN.WEIGHT_DECAY, everything else by SOLVER.WEIGHT_DECAY.

    Each group has an "lr_factor": INSERTED_LR_FACTOR for inserted attention blocks, 1 for the rest.
    """
    solver = cfg.SOLVER
    inserted = inserted_names(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter, is_norm in learning_parameters(model):
        is_vector = parameter.ndim <= 1 and solver.ZERO_WD_1D_PARAM
        decay = cfg.BN.WEIGHT_DECAY if is_norm else 0.0 if is_vector else solver.WEIGHT_DECAY
        factor = solver.INSERTED_LR_FACTOR if name.startswith(inserted) else 1.0
        groups.setdefault((decay, factor), []).append(parameter)
    options = [
        {"params": parameters, "weight_decay": decay, "lr_factor": factor}
        for (decay, factor), parameters in groups.items()
    ]
    # On a GPU one kernel for many parameters, which can leave a step out by itself. On a CPU torch's ordinary ones.
    fused = all(parameter.is_cuda for parameters in groups.values() for parameter in parameters) or None
    if solver.OPTIMIZING_METHOD != "sgd":
        return _ADAMS[solver.OPTIMIZING_METHOD](options, lr=solver.BASE_LR, betas=tuple(solver.BETAS), fused=fused)
    dampening = solver.DAMPENING
    fused = fused if dampening == 0 else None  # the first step has none of it, which a step left out would spoil
    optimizer = torch.optim.SGD(
        options, solver.BASE_LR, solver.MOMENTUM, dampening, nesterov=solver.NESTEROV, fused=fused
    )
    if fused and solver.MOMENTUM:
        start_momentum(optimizer)
    return optimizer


def start_momentum(optimizer: torch.optim.SGD) -> None:
    """From zero, which gives the same first step: torch's fused one leaves it unset where that step is left out."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def is_fused(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its kernels can leave a step out."""
    return all(group.get("fused") for group in optimizer.param_groups)


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """A `state_dict()` that was saved on any device: which kernels are used is this one's own affair."""
    kernels = [
        {name: group[name] for name in ("foreach", "fused") if name in group} for group in optimizer.param_groups
    ]
    groups = [
        group | (kernels[number] if number < len(kernels) else {}) for number, group in enumerate(state["param_groups"])
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})
    if isinstance(optimizer, torch.optim.SGD) and is_fused(optimizer) and not state["state"]:
        start_momentum(optimizer)


def learning_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """(name, parameter, whether it is a normalisation layer's) of all that take a gradient."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.requires_grad:
                yield name, parameter, isinstance(module, _NORMS)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """`lr` times its own factor for every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def clip_gradients(model: nn.Module, max_value: float | None, max_norm: float | None) -> None:
    """Clip every gradient element to max_value, then the gradient norm to max_norm; None leaves it."""
    if max_value is not None:
        nn.utils.clip_grad_value_(model.parameters(), max_value)
    if max_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
