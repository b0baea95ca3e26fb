"""Small networks with random weights and statistics, as files, for what only asks them."""

from pathlib import Path

import torch
from miniatures import ROOT
from torch import nn

from slowfast_gta import build_model, load_config
from slowfast_gta.engine.device import build_normalize
from slowfast_gta.inference.check_clips import build_drawn_clips

_SMALL = ["MODEL.NUM_CLASSES", 3, "RESNET.WIDTH_PER_GROUP", 8, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32]
_SMALL += ["TEST.BATCH_SIZE", 4, "DATA_LOADER.NUM_WORKERS", 1, "NUM_GPUS", 0, "TEST.NUM_SPATIAL_CROPS", 1]
_SMALL += ["TEST.NUM_ENSEMBLE_VIEWS", 1]
_SMALL += ["RESNET.DEPTH", 14]
_RESIZED = ["DATA.NUM_FRAMES", 4, "DATA.RESIZE", "[36,48]"]
NETWORKS = {
    "r2d": ("SSv2/R2D50.yaml", _RESIZED),
    "tsm": ("SSv2/R2D50_TSM.yaml", _RESIZED),
    "gta": ("SSv2/R2D50_GTA.yaml", [*_RESIZED, "ATTENTION.LOCATION", "[[[]],[[0]],[[0]],[[]]]"]),
    "i3d": ("Kinetics/I3D_8x8_R50.yaml", ["DATA.NUM_FRAMES", 8, "RESNET.NUM_BLOCK_TEMP_KERNEL", [[1]] * 4]),
    "slowfast": (
        "Kinetics/SLOWFAST_8x8_R50.yaml",
        ["DATA.NUM_FRAMES", 16, "RESNET.NUM_BLOCK_TEMP_KERNEL", [[1, 1]] * 4],
    ),
}


def config(name: str, *overrides: object):
    file, more = NETWORKS[name]
    return load_config(ROOT / "configs" / file, [*_SMALL, *more, *overrides])


def arguments(name: str, *overrides: object) -> list[str]:
    """The same as a command line."""
    file, more = NETWORKS[name]
    return ["--cfg", str(ROOT / "configs" / file), *map(str, [*_SMALL, *more, *overrides])]


def write_weights(cfg, path: Path, seed: int = 0, settled: bool = False) -> Path:
    """Weights of `cfg`'s network, its BatchNorms away from their beginnings; `settled`: their statistics are those of
    drawn clips, without which deep stacks of products (Region GTA, CGNL) leave float32's range, or its exactness."""
    torch.manual_seed(seed)
    model = build_model(cfg)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "running_var" in name:
                value.uniform_(0.5, 1.5)
            elif "running_mean" in name or name.endswith("bn.bias"):
                value.normal_(std=0.1)
            elif "bn" in name and name.endswith("weight"):
                value.uniform_(0.5, 1.0)
    if settled:
        _settle(model, cfg)
    torch.save({"model_state": model.state_dict()}, path)
    return path


@torch.no_grad()
def _settle(model: nn.Module, cfg) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    clips = torch.from_numpy(build_drawn_clips(cfg)).permute(0, 4, 1, 2, 3)
    model.train()(build_normalize(cfg)(clips))
