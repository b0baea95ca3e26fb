"""The optimiser, and which parameters decay."""

import torch
from torch import nn

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def build_optimizer(cfg, model: nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW; normalisation layers decay by BN.WEIGHT_DECAY, everything else by SOLVER.WEIGHT_DECAY."""
    solver = cfg.SOLVER
    norms, rest = split_parameters(model)
    groups = [(norms, cfg.BN.WEIGHT_DECAY)]
    if solver.ZERO_WD_1D_PARAM:
        groups.append(([p for p in rest if p.ndim <= 1], 0.0))
        rest = [p for p in rest if p.ndim > 1]
    groups.append((rest, solver.WEIGHT_DECAY))
    groups = [{"params": params, "weight_decay": decay} for params, decay in groups if params]
    if solver.OPTIMIZING_METHOD == "adamw":
        return torch.optim.AdamW(groups, lr=solver.BASE_LR, betas=tuple(solver.BETAS))
    return torch.optim.SGD(
        groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, dampening=solver.DAMPENING, nesterov=solver.NESTEROV
    )


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(those of normalisation layers, all others), without those that take no gradient."""
    norms, rest = [], []
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad:
                (norms if isinstance(module, _NORMS) else rest).append(parameter)
    return norms, rest


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """One learning rate for every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def clip_gradients(model: nn.Module, max_value: float | None, max_norm: float | None) -> None:
    """Clip every gradient element to max_value, then the whole gradient's length to max_norm; None leaves it."""
    if max_value is not None:
        nn.utils.clip_grad_value_(model.parameters(), max_value)
    if max_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
