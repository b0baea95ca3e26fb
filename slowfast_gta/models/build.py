"""The registry of networks. A network is called with a clip (B, 3, T, H, W) and returns
logits (B, K) in training, class probabilities (B, K) in eval."""

from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta.registry import Registry

MODEL_REGISTRY = Registry("MODEL")
"""Name -> class with a `from_cfg(cfg) -> nn.Module` classmethod: the only place where it reads the config.

A network that blocks are inserted into has them in a `Host`."""


class Host(nn.Module):
    """A part of a network that blocks are inserted into, and that knows which of its modules they are.

    What is inserted learns at a rate of its own, stays free where the backbone is frozen, and may be missing in the
    weights that training starts from. A block need not know of this: whoever inserts it says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inserted: list[str] = []  # names of modules

    def mark_inserted(self, name: str) -> None:
        """The module `name` does not belong to the backbone."""
        self.get_submodule(name)
        self.inserted.append(name)


def build_model(cfg: CfgNode) -> nn.Module:
    """The network that `cfg` describes: on the CPU, in training mode, nothing distributed."""
    network = MODEL_REGISTRY.find(cfg.MODEL.MODEL_NAME, "MODEL.MODEL_NAME")
    return network.from_cfg(cfg)


def inserted_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """{name: what is inserted into the backbone there}: "s3.pathway0_attention1", ..."""
    return {
        f"{prefix}.{name}".lstrip("."): host.get_submodule(name)
        for prefix, host in network.named_modules()
        if isinstance(host, Host)
        for name in host.inserted
    }


def inserted_names(network: nn.Module) -> tuple[str, ...]:
    """The state-dict prefixes of what is inserted into the backbone: "s3.pathway0_attention1.", ..."""
    return tuple(f"{name}." for name in inserted_blocks(network))
