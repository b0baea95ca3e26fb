"""The optimiser, and which parameters decay."""

from collections.abc import Iterator

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
        {"params": found, "weight_decay": decay, "lr_factor": factor} for (decay, factor), found in groups.items()
    ]
    if solver.OPTIMIZING_METHOD != "sgd":
        return _ADAMS[solver.OPTIMIZING_METHOD](options, lr=solver.BASE_LR, betas=tuple(solver.BETAS))
    return torch.optim.SGD(
        options, lr=solver.BASE_LR, momentum=solver.MOMENTUM, dampening=solver.DAMPENING, nesterov=solver.NESTEROV
    )


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


def gradient_norm(model: nn.Module) -> float:
    """The length of the whole gradient; not finite where a part of it is not."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients).item()


def clip_gradients(model: nn.Module, max_value: float | None, max_norm: float | None) -> None:
    """Clip every gradient element to max_value, then the whole gradient's length to max_norm; None leaves it."""
    if max_value is not None:
        nn.utils.clip_grad_value_(model.parameters(), max_value)
    if max_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
