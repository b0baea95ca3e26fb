"""What is inserted into a network is known by who inserted it, not by its name."""

import copy

import pytest
from torch import Tensor, nn

from slowfast_gta.config.load import load_config
from slowfast_gta.engine.training.freezing import freeze_backbone
from slowfast_gta.engine.training.optimizer import build_optimizer
from slowfast_gta.models.attention import ATTENTION_REGISTRY
from slowfast_gta.models.build import Host, build_model, inserted_blocks, inserted_names

R2D = "configs/Synthetic/R2D.yaml"
PLACED = ["ATTENTION.LOCATION", [[[]], [[1]], [[1]], [[]]]]


class PlainBlock(nn.Module):
    """No more than the documented contract: it knows nothing of hosts and markers."""

    def __init__(self, dim: int, num_frames: int):
        super().__init__()
        self.res_attention = nn.Conv3d(dim, dim, 1)
        nn.init.zeros_(self.res_attention.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_attention(x)


@pytest.fixture
def cfg():
    ATTENTION_REGISTRY.register(PlainBlock)
    yield load_config(R2D, [*PLACED, "ATTENTION.NAME", "PlainBlock", "SOLVER.INSERTED_LR_FACTOR", 10.0])
    del ATTENTION_REGISTRY._obj_map["PlainBlock"]


def test_a_block_of_ones_own_is_known_as_inserted(cfg):
    network = build_model(cfg)
    found = inserted_blocks(network)
    assert found and all(type(block) is PlainBlock for block in found.values())
    assert all(network.get_submodule(name) is block for name, block in found.items())
    assert inserted_names(network) == tuple(f"{name}." for name in found)
    fast = [group["params"] for group in build_optimizer(cfg, network).param_groups if group["lr_factor"] == 10]
    assert {id(p) for group in fast for p in group} == {id(p) for block in found.values() for p in block.parameters()}
    freeze_backbone(network)
    may_learn = (*inserted_names(network), "head.")
    assert all(p.requires_grad == name.startswith(may_learn) for name, p in network.named_parameters())


def test_copies_and_wrapped_networks_know_it_too(cfg):
    network = build_model(cfg)
    names = inserted_names(network)
    assert inserted_names(copy.deepcopy(network)) == names
    assert inserted_names(nn.ModuleDict({"module": network})) == tuple(f"module.{name}" for name in names)


def test_a_name_alone_makes_nothing_inserted():
    stage = Host()
    stage.pathway0_attention0, stage.thing = nn.Linear(2, 2), nn.Linear(2, 2)
    stage.mark_inserted("thing")
    assert inserted_blocks(nn.ModuleDict({"s3": stage})) == {"s3.thing": stage.thing}
    assert inserted_names(stage) == ("thing.",)
    with pytest.raises(AttributeError):
        stage.mark_inserted("nothing")


def test_refinement_is_inserted():
    network = build_model(load_config(R2D, [*PLACED, "ATTENTION.NAME", "CBAM", "ATTENTION.REFINE", "AFR"]))
    assert inserted_names(network) == ("refine.", "s3.pathway0_attention1.", "s4.pathway0_attention1.")
