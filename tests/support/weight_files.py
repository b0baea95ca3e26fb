"""Networks whose weights are loaded, other people's names for them, and what a refused file must leave as it was."""

from pathlib import Path

import pytest
import torch
from miniatures import ROOT
from torch import nn

from slowfast_gta import build_model, load_config, load_weights
from slowfast_gta.errors import WeightsError

SSV2 = ROOT / "configs" / "SSv2"


SMALL = ["RESNET.DEPTH", 14, "RESNET.WIDTH_PER_GROUP", 8, "MODEL.NUM_CLASSES", 5, "DATA.TRAIN_CROP_SIZE", 64]


def model_of(*overrides, name: str = "R2D50.yaml", seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(load_config(SSV2 / name, overrides))


def small(*overrides, seed: int = 1) -> nn.Module:
    return model_of(*SMALL, *overrides, seed=seed)


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_unchanged(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def assert_refused(model: nn.Module, path: Path, words: str, **options) -> None:
    before = snapshot(model)
    with pytest.raises(WeightsError, match=words):
        load_weights(model, path, **options)
    assert_unchanged(model, before)


def torchvision_names(model: nn.Module) -> dict[str, str]:
    """Our name -> torchvision's, for a bottleneck ResNet: written down block by block, not derived from our code."""
    pairs = {"s1.pathway0_stem.conv.weight": "conv1.weight", "head.projection.weight": "fc.weight"}
    pairs["head.projection.bias"] = "fc.bias"
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    pairs |= {f"s1.pathway0_stem.bn.{part}": f"bn1.{part}" for part in parts}
    for stage, layer in (("s2", "layer1"), ("s3", "layer2"), ("s4", "layer3"), ("s5", "layer4")):
        for block in range(len([name for name in dict(model.named_modules())[stage]._modules if "_res" in name])):
            ours, theirs = f"{stage}.pathway0_res{block}", f"{layer}.{block}"
            for letter, number in zip("abc", "123", strict=True):
                pairs[f"{ours}.branch2.{letter}.weight"] = f"{theirs}.conv{number}.weight"
                pairs |= {f"{ours}.branch2.{letter}_bn.{part}": f"{theirs}.bn{number}.{part}" for part in parts}
            if block == 0:
                pairs[f"{ours}.branch1.weight"] = f"{theirs}.downsample.0.weight"
                pairs |= {f"{ours}.branch1_bn.{part}": f"{theirs}.downsample.1.{part}" for part in parts}
    return pairs


def flat(kernel: torch.Tensor) -> torch.Tensor:
    """A 1 x k x k kernel as the 2D one it is; anything else as it is."""
    return kernel.squeeze(2) if kernel.ndim == 5 else kernel


class Reduced:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call
