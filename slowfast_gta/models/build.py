"""The registry of networks. A network is called with a clip (B, 3, T, H, W) and answers as house rules say:
logits (B, K) in training, class probabilities (B, K) in eval."""

import re

from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta.registry import Registry

MODEL_REGISTRY = Registry("MODEL")
"""Name -> class with a `from_cfg(cfg) -> nn.Module` classmethod: the only place where it reads the config."""

_INSERTED = re.compile(r"(.*\.pathway\d+_(?:attention|nonlocal)\d+|refine)\.")


def build_model(cfg: CfgNode) -> nn.Module:
    """The network that `cfg` describes: on the CPU, in training mode, nothing distributed."""
    network = MODEL_REGISTRY.find(cfg.MODEL.MODEL_NAME, "MODEL.MODEL_NAME")
    return network.from_cfg(cfg)


def inserted_names(network: nn.Module) -> tuple[str, ...]:
    """The state-dict prefixes of what is inserted into the backbone: "s3.pathway0_attention1.", ..."""
    matches = (_INSERTED.match(name) for name in network.state_dict())
    return tuple(dict.fromkeys(match[0] for match in matches if match))
