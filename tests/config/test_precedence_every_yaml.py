"""Changing the block of any packaged YAML is one key: it builds, without memory, or a sentence says why it does not."""

from pathlib import Path

import pytest
import torch
from miniatures import ROOT

from slowfast_gta.config.load import load_config
from slowfast_gta.config.stages import build_stages
from slowfast_gta.errors import ConfigError
from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.build import build_model

BLOCKS = ["none", *ATTENTION_REGISTRY.known()]
YAMLS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if not path.name.startswith("Base") and path.parent.name != "Evidence"
)
# Of most families one: 2D and segments, 3D, W3 with AFR in stages and several outputs. Two pathways are slow.
QUICK = ["SSv1/R2D50_GTA", "Kinetics/C2D_8x8_R50", "EPIC/R2D50_TSM_W3"]
QUICK += ["Synthetic/R2D_GTA"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs").with_suffix(""))


def networks(cfg) -> None:
    """Builds what the config, and each of its stages, describes."""
    with torch.device("meta"):
        for one in (cfg, *(stage.cfg for stage in build_stages(cfg))):
            build_model(one)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if name_of(path) in QUICK else pytest.mark.slow, id=name_of(path)) for path in YAMLS],
)
def test_it_builds_or_a_message_explains_why_not(path):
    placed = any(map(any, load_config(path).ATTENTION.LOCATION))
    for block in BLOCKS:
        try:
            cfg = load_config(path, ["ATTENTION.NAME", block])
        except ConfigError as refused:
            assert refused.keys and not placed, f"{block}: {refused}"  # a YAML without a block names no place for one
            assert block != "none"
            continue
        assert block == cfg.ATTENTION.NAME
        assert {stage.cfg.ATTENTION.NAME for stage in build_stages(cfg)} <= {block, "none"}  # a backbone stays one
        networks(cfg)


def test_the_families_are_there():
    assert set(QUICK) <= {name_of(path) for path in YAMLS}
