"""Parameters and multiply-adds of the full-size networks against the papers' tables, on the meta device.

Counted as networks.md pins it: convolutions, linear layers and matrix products, attention as its two products.
"""

import pytest
import torch
from randomised import SLOWFAST, config
from torch.utils.flop_counter import FlopCounterMode

from slowfast_gta.models import build_model

LOCATION = [[[]], [[1, 3]], [[1, 3, 5]], [[]]]
LOCATION_2 = [[[], []], [[1, 3], []], [[1, 3, 5], []], [[], []]]
R2D = {"MODEL.MODEL_NAME": "ResNet", "MODEL.ARCH": "2d", "DATA.NUM_FRAMES": 8, "ATTENTION.LOCATION": LOCATION}
SSV1 = R2D | {"MODEL.NUM_CLASSES": 174}
SF50 = SLOWFAST | {
    "SLOWFAST.BETA_INV": 8,
    "SLOWFAST.FUSION_KERNEL_SZ": 7,
    "DATA.NUM_FRAMES": 64,
    "MODEL.NUM_CLASSES": 174,
    "ATTENTION.LOCATION": LOCATION_2,
}
SF101 = SF50 | {  # c2/SLOWFAST_8x8_R101_101_101
    "RESNET.DEPTH": 101,
    "SLOWFAST.FUSION_KERNEL_SZ": 5,
    "DATA.NUM_FRAMES": 32,
    "MODEL.NUM_CLASSES": 400,
    "RESNET.NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [23, 23], [3, 3]],
    "ATTENTION.LOCATION": [[[], []], [[], []], [[6, 13, 20], []], [[], []]],
}
BEFORE = {"POOL": "before"}

# G multiply-adds as networks.md derives them (or the paper prints them), M parameters where given.
TABLE = {
    "R2D-50": (SSV1, {}, 224, 32.7, 23.9),
    "+ SA": (SSV1 | {"ATTENTION.NAME": "SA"}, {}, 224, 41.67, 27.5),
    "+ TA": (SSV1 | {"ATTENTION.NAME": "TA"}, {}, 224, 40.97, 27.5),
    "+ NL": (SSV1 | {"ATTENTION.NAME": "NL"}, {}, 224, 61.10, 31.20),
    "+ DNL": (SSV1 | {"ATTENTION.NAME": "DNL"}, {}, 224, 49.93, 31.2),
    "+ SA + TAPE": (SSV1 | {"ATTENTION.NAME": "TAPE"}, {"SPATIAL": True}, 224, 49.93, 31.2),
    "+ GTA": (SSV1 | {"ATTENTION.NAME": "GTA"}, {}, 224, 50.28, 31.27),
    "TSM": (SSV1 | {"TSM.ENABLE": True}, {}, 224, 32.7, 23.9),
    "TSM, 16 frames": (SSV1 | {"TSM.ENABLE": True, "DATA.NUM_FRAMES": 16}, {}, 224, 65.4, 23.9),
    "Kinetics, NL": (R2D | {"ATTENTION.NAME": "NL"}, BEFORE, 256, 76.5, None),
    "Kinetics, GTA": (R2D | {"ATTENTION.NAME": "GTA"}, BEFORE, 256, 61.9, None),
    "SlowFast-R50": (SF50, {}, 256, 131.4, 34.0),
    "SlowFast-R50 + NL": (SF50 | {"ATTENTION.NAME": "NL"}, BEFORE, 256, 239.85, 41.4),
    "SlowFast-R50 + DNL": (SF50 | {"ATTENTION.NAME": "DNL"}, BEFORE, 256, 169.08, 41.4),
    "SlowFast-R50 + GTA": (SF50 | {"ATTENTION.NAME": "GTA"}, BEFORE, 256, 170.35, 41.4),
    "SlowFast-R101": (SF101, {}, 256, 125.9, None),
    "SlowFast-R101 + NL": (SF101 | {"ATTENTION.NAME": "NL"}, BEFORE, 256, 137.2, None),
    "SlowFast-R101 + GTA": (SF101 | {"ATTENTION.NAME": "GTA"}, BEFORE, 256, 136.8, None),
}


def counted(keys: dict, options: dict, side: int) -> tuple[float, float]:
    """(G multiply-adds of one clip, M parameters)."""
    cfg = config({"RESNET.DEPTH": 50, "DATA.TRAIN_CROP_SIZE": 224} | keys, options)
    with torch.device("meta"):
        model = build_model(cfg).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, cfg.DATA.NUM_FRAMES, side, side))
    # torch counts a multiply-add as two operations.
    return counter.get_total_flops() / 2e9, sum(p.numel() for p in model.parameters()) / 1e6


@pytest.mark.parametrize("row", TABLE)
def test_the_table_of_the_paper(row):
    keys, options, side, gmacs, params = TABLE[row]
    got_gmacs, got_params = counted(keys, options, side)
    assert got_gmacs == pytest.approx(gmacs, rel=0.005)
    if params is not None:
        assert got_params == pytest.approx(params, rel=0.005)


def test_r2d_50_has_the_parameters_of_an_image_resnet_50():
    """25,557,032 with 1000 classes, as everyone's."""
    with torch.device("meta"):
        model = build_model(config(R2D | {"RESNET.DEPTH": 50, "MODEL.NUM_CLASSES": 1000}))
    assert sum(p.numel() for p in model.parameters()) == 25_557_032


def test_basic_resnet_18_has_the_parameters_of_an_image_resnet_18():
    keys = {"RESNET.DEPTH": 18, "RESNET.TRANS_FUNC": "basic_transform", "RESNET.EXPANSION": 1}
    with torch.device("meta"):
        model = build_model(config(R2D | keys | {"MODEL.NUM_CLASSES": 1000}))
    assert sum(p.numel() for p in model.parameters()) == 11_689_512


@pytest.mark.parametrize("heads", ["ccmh", "multi_head", "single"])
def test_what_gta_adds_to_the_parameters(heads):
    """C^2 for SA, C^2 for Pixel and Region together, W_G, three BatchNorms, and the matrices."""
    matrices = {"ccmh": 8 * 8, "multi_head": 8, "single": 1}[heads] * 8 * 8
    expected = 0
    for dim, blocks in ((512, 2), (1024, 3)):
        inner, norms = dim // 4, 3 * 2 * dim
        expected += blocks * (2 * dim**2 + inner * (inner // 8) + norms + 2 * matrices)
    base, with_gta = (
        counted(SSV1 | {"ATTENTION.NAME": name}, {"HEADS": heads} if name != "none" else {}, 224)[1]
        for name in ("none", "GTA")
    )
    assert round((with_gta - base) * 1e6) == expected
