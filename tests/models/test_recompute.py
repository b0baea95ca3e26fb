"""MODEL.ACT_CHECKPOINT: less is kept, and loss, gradients and statistics are the same bits."""

import pytest
import torch
import torch.nn.functional as F
from miniatures import ROOT
from torch import Tensor, nn

from slowfast_gta import build_model, load_config
from slowfast_gta.distributed import synchronize_norms
from slowfast_gta.engine.training.trial import try_sample
from slowfast_gta.models.norms import split_norms
from slowfast_gta.models.recompute import recomputed

SMALL = ["RESNET.DEPTH", 14, "RESNET.WIDTH_PER_GROUP", 8, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32]
ONE = ["ATTENTION.LOCATION", "[[[]],[[0]],[[0]],[[]]]"]
TWO = ["RESNET.NUM_BLOCK_TEMP_KERNEL", "[[1,1],[1,1],[1,1],[1,1]]", "SLOWFAST.BETA_INV", 2]
NETWORKS = {
    "SSv1/R2D50": [],
    "SSv1/R2D50_GTA": ONE,
    "Kinetics/SLOWFAST_8x8_R50": TWO,
    "SSv1/R2D50_TSM": [],
    "SSv1/R2D50_TSM_W3": ONE,  # whose blocks hand masks on
}


def network_of(name: str, recomputes: bool) -> nn.Module:
    torch.manual_seed(0)
    cfg = load_config(ROOT / f"configs/{name}.yaml", [*SMALL, *NETWORKS[name], "MODEL.ACT_CHECKPOINT", recomputes])
    network = build_model(cfg)
    for module in network.modules():
        if getattr(module, "zero_init", False):
            nn.init.ones_(module.weight)
    return network


def step(network: nn.Module, amp: bool = False) -> list[Tensor]:
    """Loss and gradients of two clips."""
    torch.manual_seed(5)
    clips = torch.randn(2, 3, network.num_frames, 32, 32)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        loss = F.cross_entropy(network(clips).float(), torch.tensor([1, 2]))
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in network.parameters())]


def assert_same(one: nn.Module, other: nn.Module, amp: bool = False) -> None:
    for found, wanted in zip(step(one, amp), step(other, amp), strict=True):
        assert torch.equal(found, wanted)
    for name, value in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], value), f"{name} was changed by the second pass"
    counts = [value for name, value in one.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counts and all(count == 1 for count in counts)


@pytest.mark.parametrize("amp", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_statistics_are_the_same_bits(name, amp):
    assert_same(network_of(name, True), network_of(name, False), amp)


@pytest.mark.parametrize("change", [synchronize_norms, lambda network: split_norms(network, 2)], ids=["sync", "sub"])
def test_norms_over_processes_and_over_parts_count_a_batch_once_too(change):
    assert_same(*(change(network_of("SSv1/R2D50", recomputes)) for recomputes in (True, False)))


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return F.dropout(x, 0.5).sin() * x


def test_the_second_pass_drops_what_the_first_dropped():
    block, x = Dropping(), torch.randn(100, requires_grad=True)
    gradients = []
    for run in (block, lambda x: recomputed(block, x)):
        torch.manual_seed(3)
        out = run(x)
        drawn = torch.rand(3)  # in between, others draw
        (gradient,) = torch.autograd.grad(out.sum(), x)
        gradients.append(torch.cat([gradient, drawn, torch.rand(3)]))
    assert torch.equal(*gradients) and block.runs == 3


@pytest.mark.parametrize("name", ["SSv1/R2D50", *(pytest.param(n, marks=pytest.mark.slow) for n in list(NETWORKS)[1:])])
def test_less_is_kept(name):
    kept = []
    for recomputes in (True, False):
        network = network_of(name, recomputes)
        kept.append(try_sample(network, torch.empty(1, 3, network.num_frames, 32, 32, device="meta")).saved_bytes)
    assert 0 < kept[0] < 0.6 * kept[1], kept


def test_testing_and_names_know_nothing_of_it():
    network = network_of("SSv1/R2D50_GTA", True)
    assert set(network.state_dict()) == set(network_of("SSv1/R2D50_GTA", False).state_dict())
    runs = []
    network.s2.pathway0_res0.register_forward_hook(lambda *_: runs.append(1))
    x = torch.randn(1, 3, 8, 32, 32, requires_grad=True)
    network.eval()(x).sum().backward()
    assert len(runs) == 1
    with torch.no_grad():
        network.train()(x)
    assert len(runs) == 2
