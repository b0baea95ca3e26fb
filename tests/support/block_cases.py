"""Every registered attention block with the options that it is tried with, and a clip for it."""

import pytest
import torch
from torch import Tensor, nn

from slowfast_gta.models.attention import ATTENTION_REGISTRY, build_attention

DIM, FRAMES, HEIGHT, WIDTH = 32, 3, 5, 4


# What else than its defaults a block is tried with. A block that is not here is tried with its defaults.
MORE_OPTIONS = {
    "NL": [
        {"POOL": "before"},
        {"POOL": "none"},
        {"INSTANTIATION": "dot_product", "BIAS": True, "POOL": "before"},
        {"GROUP": 3},
        {"POOL_SIZE": [1, 3, 3]},
        {"DIM_INNER": 6},
    ],
    "SA": [{"POOL": "before"}, {"POOL": "none"}, {"DIM_INNER": 6}],
    "TA": [{"DIM_INNER": 6}],
    "DNL": [{"POOL": "before"}, {"DIM_INNER": 6}, {"SWAP": True}],
    "TAPE": [
        {"SPATIAL": True},
        {"SPATIAL": True, "POOL": "before"},
        {"HEADS": "ccmh", "GROUPS": 4},
        {"HEADS": "multi_head", "SPATIAL": True},
    ],
    "CGNL": [{"DECOUPLED": True}, {"GROUPS": 2}, {"GROUPS": 1, "DIM_INNER": 6}],
    "GCNet": [{"DECOUPLED": True}, {"RATIO": 4}],
    "GloRe": [{"DECOUPLED": True}, {"NUM_NODES": 3, "DIM_INNER": 6}],
    "CBAM": [{"RATIO": 4}],
    "W3": [{"RATIO": 4}, {"FULL": True}],
    "GTA": [
        {"SPATIAL": False},
        {"PIXEL": False},
        {"REGION": False},
        {"HEADS": "multi_head", "GROUPS": 4},
        {"HEADS": "single"},
        {"GROUPS": 2, "POOL": "before"},
        {"REGION_NORM": "softmax", "NUM_REGIONS": 3},
        {"REGION_KIND": "static", "REGION_RATIO": 4},
        {"REGION_KIND": "static", "REGION_NORM": "softmax", "NUM_REGIONS": 3},
        {"DIM_INNER": 16},
        {"MIX": "frozen", "FREEZE_PROJECTIONS": True},
        {"MIX": "identity"},
    ],
}


CASES = [(name, options) for name in ATTENTION_REGISTRY.known() for options in [{}, *MORE_OPTIONS.get(name, [])]]


IDS = [" ".join([name, *(f"{key}={value}" for key, value in options.items())]) for name, options in CASES]


every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)


def block_of(name: str, options: dict, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The block as it is when new."""
    torch.manual_seed(1)
    return build_attention(name, DIM, FRAMES, (HEIGHT, WIDTH), options).to(dtype)


def clip(batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, DIM, FRAMES, HEIGHT, WIDTH, generator=generator, dtype=torch.float64).to(dtype)
