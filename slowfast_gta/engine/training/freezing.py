"""What of a network stays as it was loaded while the rest learns."""

import re

from torch import nn

from slowfast_gta.models.build import inserted_names

_NORMS = nn.modules.batchnorm._BatchNorm


def freeze_norms(network: nn.Module, which: str) -> list[nn.Module]:
    """Freeze BatchNorm layers; the caller keeps those returned in eval mode, so that their statistics stay.

    which: "none"; "partial", all but the stem's (TSN); "backbone", all but those of inserted blocks; "all".
    """
    inserted = inserted_names(network)
    frozen: list[nn.Module] = []
    for name, module in network.named_modules():
        stays = {
            "none": False,
            "partial": not re.search(r"_stem\.", name),
            "backbone": not name.startswith(inserted),
            "all": True,
        }
        if isinstance(module, _NORMS) and stays[which]:
            module.requires_grad_(False)
            frozen.append(module)
    return frozen


def freeze_backbone(network: nn.Module) -> list[nn.Module]:
    """Freeze everything but inserted attention blocks and the head; returns its BatchNorms."""
    learning = (*inserted_names(network), "head.")
    for name, parameter in network.named_parameters():
        if not name.startswith(learning):
            parameter.requires_grad_(False)
    return [m for name, m in network.named_modules() if isinstance(m, _NORMS) and not name.startswith(learning)]
