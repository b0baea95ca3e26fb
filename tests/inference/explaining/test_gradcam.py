"""Grad-CAM against what its definition comes to, and against differences of the network's own scores; float64."""

import numpy as np
import pytest
import torch
from eval_networks import NETWORKS, config, write_weights

from slowfast_gta.errors import ConfigError
from slowfast_gta.inference.explaining.gradcam import grad_cam
from slowfast_gta.inference.network import build_eval_network
from slowfast_gta.loading.transforms import to_clips

CLIPS = np.random.default_rng(0).integers(0, 256, (1, 16, 32, 32, 3), np.uint8)


@pytest.fixture(params=list(NETWORKS))
def network_and_clip(request, tmp_path):
    cfg = config(request.param)
    network = build_eval_network(cfg, write_weights(cfg, tmp_path / "w.pyth"), precision="float64")
    frames = np.ascontiguousarray(CLIPS[:, : cfg.DATA.NUM_FRAMES])
    return network, network.normalize(to_clips(frames)).double()


def test_before_the_mean_it_is_the_classifier_itself(network_and_clip):
    """The logit is the mean over positions of w . x, so that every gradient is w / (T H W)."""
    network, clip = network_and_clip
    with torch.no_grad():
        pathways = network.model.features(clip)
    weights = network.model.head.projection.weight[1].split([x.shape[1] for x in pathways])
    found = grad_cam(network.model, clip, 1)
    assert len(found) == len(pathways) and not network.model.head.training
    for values, x, weight in zip(found, pathways, weights, strict=True):
        products = torch.einsum("c,cthw->thw", weight.detach(), x[0]) / x[0, 0].numel()
        torch.testing.assert_close(values, products.clamp_min(0), rtol=1e-9, atol=1e-15)


def test_in_the_middle_it_is_the_gradient_of_the_logit(network_and_clip):
    """Of a step, by central differences: its value at a position is how fast the logit grows when every position of
    that step is moved towards that one's activations, over the number of positions."""
    network, clip = network_and_clip
    head, step, kept, added = network.model.head, 1, [], torch.zeros(())

    def shift(module, given, out):
        kept[:] = [out[0].detach().clone()]
        out[0] = out[0].clone()
        out[0][0, :, step] += added
        return out

    def logit(change: torch.Tensor) -> float:
        nonlocal added
        added, head.training = change, True
        with torch.no_grad():
            answer = float(head(network.model.features(clip))[0, 2])
        head.training = False
        return answer

    hook = network.model.s4.register_forward_hook(shift)
    logit(torch.zeros((), dtype=torch.float64))
    x = kept[0][0, :, step].clone()
    expected = torch.zeros(x.shape[1:], dtype=torch.float64)
    for index in np.ndindex(tuple(expected.shape)):
        along = 1e-6 * x[(slice(None), *index)][:, None, None]
        expected[index] = (logit(along) - logit(-along)) / 2e-6 / expected.numel()
    hook.remove()
    found = grad_cam(network.model, clip, 2, "s4")[0]
    torch.testing.assert_close(found[step], expected.clamp_min(0), rtol=1e-4, atol=1e-7 * float(expected.abs().max()))


def test_what_has_no_maps(tmp_path):
    cfg = config("r2d")
    network = build_eval_network(cfg, write_weights(cfg, tmp_path / "w.pyth"))
    clip = network.normalize(to_clips(np.ascontiguousarray(CLIPS[:, :4])))
    for layer in ("head", "s9", "head.projection"):
        with pytest.raises(ConfigError, match=r"--layer|s9"):
            grad_cam(network.model, clip, 0, layer)
