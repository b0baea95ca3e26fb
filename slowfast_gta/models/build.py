"""The registry of networks. A network is called with a clip (B, 3, T, H, W) and answers as house rules say:
logits (B, K) in training, class probabilities (B, K) in eval."""

from torch import nn

from slowfast_gta.registry import Registry

MODEL_REGISTRY = Registry("MODEL")
"""Name -> class with a `from_cfg(cfg) -> nn.Module` classmethod: the only place where it reads the config."""


def build_model(cfg) -> nn.Module:
    """The network that `cfg` describes: on the CPU, in training mode, nothing distributed."""
    network = MODEL_REGISTRY.find(cfg.MODEL.MODEL_NAME, "MODEL.MODEL_NAME")
    return network.from_cfg(cfg)
