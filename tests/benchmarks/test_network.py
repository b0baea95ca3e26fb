"""What the benchmark compares: the plain form answers and learns as the network does, without its shortcuts."""

import pytest
import torch
from miniatures import ROOT
from torch import nn

from slowfast_gta import build_model, load_config
from slowfast_gta.benchmarks.network import PlainForm, build_variant, default_batch_size
from slowfast_gta.engine.training.trial import try_sample
from slowfast_gta.models.layers import Conv3d

SMALL = ["RESNET.DEPTH", 14, "RESNET.WIDTH_PER_GROUP", 8, "DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64]
TWO = ["RESNET.NUM_BLOCK_TEMP_KERNEL", "[[1,1],[1,1],[1,1],[1,1]]", "SLOWFAST.BETA_INV", 2]
NETWORKS = {"SSv1/R2D50": [], "SSv1/R2D50_TSM": [], "Kinetics/SLOWFAST_8x8_R50": TWO}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("attention", ["none", "GTA", "NL"])
def test_the_plain_form_gives_the_same_scores(name, attention):
    cfg = build_variant(load_config(ROOT / f"configs/{name}.yaml", [*SMALL, *NETWORKS[name]]), attention)
    torch.manual_seed(0)
    network = build_model(cfg).double().eval()
    for module in network.modules():
        if getattr(module, "zero_init", False):
            nn.init.ones_(module.weight)  # so that the blocks have something to say
    network.head.act = "none"
    x = torch.randn(1, 3, cfg.DATA.NUM_FRAMES, 64, 64, dtype=torch.float64)
    plain = PlainForm(network)
    assert not any(isinstance(module, Conv3d) for module in plain.modules())
    torch.testing.assert_close(plain(x), network(x), rtol=1e-9, atol=1e-10)
    names = [name for name, _ in network.named_modules()]
    assert any("_attention0" in name for name in names) == (attention != "none")


def test_a_gpu_is_filled_by_default_and_a_cpu_gets_one_clip(monkeypatch):
    network = build_model(load_config(ROOT / "configs/SSv1/R2D50.yaml", SMALL))
    clip = (3, 8, 64, 64)
    kept = try_sample(network, torch.empty(1, *clip, device="meta")).saved_bytes
    assert kept > 0 and default_batch_size(network, clip, torch.device("cpu")) == 1
    for free, wanted in ((kept, 1), (2 * 9 * kept, 8), (2 * 16 * kept, 16), (10**15, 64)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**15))
        assert default_batch_size(network, clip, torch.device("cuda")) == wanted


def test_the_plain_form_keeps_no_memory_format_of_ours():
    network = build_model(load_config(ROOT / "configs/SSv1/R2D50.yaml", SMALL)).eval()
    seen = []
    plain = PlainForm(network)
    plain.network.s3.register_forward_hook(lambda _, __, out: seen.append(out[0].is_contiguous()))
    with torch.no_grad():
        plain(torch.randn(1, 3, 8, 64, 64))
    assert seen == [True]
