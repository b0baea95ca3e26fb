"""What the tests of the models share: a small network from config keys, and weights without a zero in them."""

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.models import build_model

SMALL = {
    "MODEL.MODEL_NAME": "ResNet",
    "MODEL.ARCH": "2d",
    "MODEL.NUM_CLASSES": 5,
    "MODEL.DROPOUT_RATE": 0.0,
    "RESNET.DEPTH": 14,
    "RESNET.WIDTH_PER_GROUP": 8,
    "DATA.NUM_FRAMES": 4,
    "DATA.TRAIN_CROP_SIZE": 64,
}
SLOWFAST = {
    "MODEL.MODEL_NAME": "SlowFast",
    "MODEL.ARCH": "slowfast",
    "SLOWFAST.ALPHA": 4,
    "SLOWFAST.BETA_INV": 2,
    "DATA.NUM_FRAMES": 16,
    "RESNET.NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [6, 6], [3, 3]],
    "RESNET.SPATIAL_STRIDES": [[1, 1], [2, 2], [2, 2], [2, 2]],
    "RESNET.SPATIAL_DILATIONS": [[1, 1], [1, 1], [1, 1], [1, 1]],
}


def config(keys: dict[str, object], options: dict[str, object] | None = None) -> CfgNode:
    """The defaults with `keys` set, and ATTENTION.OPTIONS as given."""
    cfg = get_defaults()
    for key, value in keys.items():
        *path, last = key.split(".")
        node = cfg
        for part in path:
            node = node[part]
        assert last in node, key
        node[last] = value
    cfg.ATTENTION.OPTIONS = CfgNode(options or {}, new_allowed=True)
    return cfg


def small_network(keys: dict[str, object], options: dict[str, object] | None = None, seed: int = 0) -> nn.Module:
    """SMALL with `keys` set: a float64 network whose weights and BN statistics are random."""
    torch.manual_seed(seed)
    return randomise(build_model(config(SMALL | keys, options)).double(), seed)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every constant parameter (scales, biases) and all BN statistics random values; the rest is so already."""
    generator = torch.Generator().manual_seed(seed + 100)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(like.shape, generator=generator, dtype=torch.float64)).to(like.dtype)

    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.min() == parameter.max():
                parameter.copy_(uniform(parameter, 0.5, 1.5))
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.bias.copy_(uniform(part.bias, -0.5, 0.5))
                part.running_mean.copy_(uniform(part.running_mean, -0.5, 0.5))
                part.running_var.copy_(uniform(part.running_var, 0.5, 1.5))
    return module


NETWORKS = {
    "2d": {},
    "c2d": {"MODEL.ARCH": "c2d"},
    "i3d": {"MODEL.ARCH": "i3d"},
    "slow": {"MODEL.ARCH": "slow"},
    "slowfast": SLOWFAST,
    "basic": {"RESNET.DEPTH": 18, "RESNET.TRANS_FUNC": "basic_transform", "RESNET.EXPANSION": 1},
    "shift": {"TSM.ENABLE": True},
    "groups": {"RESNET.NUM_GROUPS": 4},
    "nonlocal": {"NONLOCAL.LOCATION": [[[0]], [[0]], [[]], [[]]]},
}
