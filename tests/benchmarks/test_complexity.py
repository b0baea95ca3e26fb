"""What the complexity tool counts: against fvcore, against arithmetic by hand, and per stage."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from miniatures import ROOT
from torch import nn

from slowfast_gta import build_model, load_config
from slowfast_gta.benchmarks.complexity import Meter, build_complexity
from slowfast_gta.benchmarks.paper_table import PAPER_TABLE, difference_percent

# Networks of every kind, small: the file, and what makes it so.
SMALL = ["RESNET.DEPTH", 14, "RESNET.WIDTH_PER_GROUP", 8, "DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64]
TWO = ["RESNET.NUM_BLOCK_TEMP_KERNEL", "[[1,1],[1,1],[1,1],[1,1]]", "SLOWFAST.BETA_INV", 2]
NETWORKS = {
    "SSv1/R2D50": [],
    "SSv1/R2D50_TSM": [],
    "Kinetics/C2D_8x8_R50": ["RESNET.NUM_BLOCK_TEMP_KERNEL", "[[1],[1],[1],[1]]"],
    "Kinetics/I3D_8x8_R50": ["RESNET.NUM_BLOCK_TEMP_KERNEL", "[[1],[1],[1],[1]]"],
    "Kinetics/SLOWFAST_8x8_R50": TWO,
}


def small_config(name: str, *overrides: object):
    return load_config(ROOT / f"configs/{name}.yaml", [*SMALL, *overrides])


def metered(model: nn.Module, x: torch.Tensor) -> Meter:
    meter = Meter(model)
    with torch.no_grad(), meter.counting():
        model(x)
    return meter


@pytest.mark.parametrize("name", NETWORKS)
def test_fvcore_counts_the_same(name):
    fvcore = pytest.importorskip("fvcore.nn")
    cfg = small_config(name, *NETWORKS[name])
    network = build_model(cfg).eval()
    x = torch.randn(1, 3, cfg.DATA.NUM_FRAMES, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flops = fvcore.FlopCountAnalysis(network, x).unsupported_ops_warnings(False)
        activations = fvcore.ActivationCountAnalysis(network, x).unsupported_ops_warnings(False)
    by_operator = flops.by_operator()
    ours = metered(network, x)
    # fvcore also counts BatchNorm and pooling, which the papers do not.
    assert sum(ours.macs.values()) == sum(by_operator[name] for name in ("conv", "linear"))
    assert sum(ours.activations.values()) == activations.total()


class _Attention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x[:, :, :7], x[:, :, :7])


def test_attention_counts_as_its_two_products_on_real_and_on_fake_tensors():
    x = torch.randn(2, 3, 10, 4)
    by_hand = 2 * 3 * (10 * 7 * 4 + 10 * 7 * 4)
    for device in ("cpu", "meta"):
        assert sum(metered(_Attention(), x.to(device)).macs.values()) == by_hand


class _Chain(nn.Module):
    """Two convolutions in a row: the first one's output dies when the second is done."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(1, 8, 1, bias=False)
        self.second = nn.Conv3d(8, 2, 1, bias=False)

    def forward(self, x):
        x = self.second(self.first(x))
        return x + 1


def test_peak_memory_is_what_is_alive_at_once():
    model = _Chain()
    meter = Meter(model)
    with torch.no_grad(), meter.counting():
        model(torch.ones(1, 1, 2, 4, 4))
    channel, weights = 4 * 2 * 4 * 4, 4 * (8 + 16)
    # In the second convolution: the clip, the first one's output, its own.
    assert meter.peak_bytes == weights + (1 + 8 + 2) * channel


def cost(*overrides: object) -> dict:
    return build_complexity(small_config("SSv1/R2D50", *overrides))


def test_stages_add_up_and_blocks_are_what_the_network_costs_more():
    location = ("ATTENTION.LOCATION", "[[[]],[[0]],[[0]],[[]]]")
    plain, with_gta = cost(), cost("ATTENTION.NAME", "GTA", *location)
    for found in (plain, with_gta):
        for key in ("gmacs", "params_m", "activations_m"):
            assert sum(stage[key] for stage in found["stages"]) == pytest.approx(found[key], abs=1e-3)
    assert plain["attention"] == []
    assert [block["name"] for block in with_gta["attention"]] == ["s3.pathway0_attention0", "s4.pathway0_attention0"]
    for key in ("gmacs", "params_m", "activations_m"):
        added = sum(block[key] for block in with_gta["attention"])
        assert added == pytest.approx(with_gta[key] - plain[key], abs=1e-3) and added > 0
    assert with_gta["peak_memory_mb"] > plain["peak_memory_mb"] > 4 * plain["params_m"]


def test_the_test_crop_and_the_views_are_counted():
    views = ("TEST.NUM_ENSEMBLE_VIEWS", 10, "TEST.NUM_SPATIAL_CROPS", 3)
    small, large = cost(), cost("DATA.TEST_CROP_SIZE", 128, *views)
    assert large["input"] == [3, 8, 128, 128] and small["num_views"] == 1
    assert large["stages"][0]["gmacs"] == pytest.approx(4 * small["stages"][0]["gmacs"], abs=1e-3)
    assert large["num_views"] == 30 and large["gmacs_all_views"] == pytest.approx(30 * large["gmacs"], abs=0.02)


# Rows whose difference the notes of the table explain.
EXACT = [row for row in PAPER_TABLE if not row.note]
ROUNDED = [row for row in PAPER_TABLE if row.note == "printed without decimals"]


@pytest.mark.parametrize("row", EXACT, ids=lambda row: row.label)
def test_the_papers_figures_come_out(row):
    found = build_complexity(load_config(ROOT / row.config))
    assert abs(difference_percent(found["gmacs"], row.gmacs)) <= 0.5
    assert abs(difference_percent(found["params_m"], row.params_m)) <= 0.5


@pytest.mark.parametrize("row", ROUNDED, ids=lambda row: row.label)
def test_figures_printed_without_decimals_round_to_the_same(row):
    assert round(build_complexity(load_config(ROOT / row.config))["gmacs"]) == row.gmacs


def test_the_other_rows_state_why_they_differ():
    assert len(PAPER_TABLE) == 21
    assert all(len(row.note) > 20 for row in PAPER_TABLE if row not in EXACT)
