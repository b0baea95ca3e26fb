"""The form in which networks answer: the same numbers as the plain one, and the same bits in whatever company."""

import numpy as np
import pytest
import torch
from eval_networks import NETWORKS, config, write_weights

from slowfast_gta import build_model, load_weights
from slowfast_gta.errors import ConfigError
from slowfast_gta.inference.network import Wanted, build_eval_network
from slowfast_gta.loading.transforms import to_clips

CLIPS = np.random.default_rng(0).integers(0, 256, (6, 16, 32, 32, 3), np.uint8)


def clips_for(cfg) -> np.ndarray:
    return np.ascontiguousarray(CLIPS[:, : cfg.DATA.NUM_FRAMES])


def plain_features(cfg, weights, network, clips: np.ndarray, dtype) -> list[torch.Tensor]:
    """The unfolded network's features of each pathway."""
    model = build_model(cfg)
    load_weights(model, weights)
    with torch.no_grad():
        return model.to(dtype).eval().features(network.normalize(to_clips(clips)).to(dtype))


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_features_are_those_of_the_unfolded_network(name, precision, bound, tmp_path):
    cfg = config(name)
    weights = write_weights(cfg, tmp_path / "w.pyth")
    network = build_eval_network(cfg, weights, precision=precision)
    clips = clips_for(cfg)[:4]
    pathways = plain_features(cfg, weights, network, clips, network.dtype)
    expected = torch.cat([x.mean((2, 3, 4)) for x in pathways], 1).numpy()
    found = network(clips, Wanted(layer="s5"))
    assert np.abs(found["features"] - expected).max() < bound * np.abs(expected).max()
    assert found["features"].shape[1] == sum(x.shape[1] for x in pathways)
    alone = network(clips, Wanted())
    assert np.array_equal(found["probabilities"], alone["probabilities"]), "features asked for change nothing"
    fewest = min(x.shape[2] for x in pathways)
    steps = [x.mean((3, 4)).unflatten(2, (fewest, -1)).mean(3).transpose(1, 2) for x in pathways]
    found = network(clips, Wanted(layer="s5", pool="spatial"))["features"]
    assert np.abs(found - torch.cat(steps, 2).numpy()).max() < bound * float(steps[0].abs().max())
    if len(pathways) == 1:
        maps = network(clips, Wanted(layer="s5", pool="none"))["features"]
        assert np.abs(maps - pathways[0].numpy()).max() < bound * float(pathways[0].abs().max())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_same_bits_in_whatever_company(name, tmp_path):
    cfg = config(name)
    network = build_eval_network(cfg, write_weights(cfg, tmp_path / "w.pyth"))
    clips, wanted = clips_for(cfg), Wanted(layer="s5")
    together = network(clips[:4], wanted)
    for first, last in ((0, 1), (1, 4), (3, 4), (0, 2)):
        apart = network(clips[first:last], wanted)
        for key, values in together.items():
            assert np.array_equal(apart[key], values[first:last]), (key, first, last)
    swapped = network(clips[[5, 0, 4]], wanted)
    assert np.array_equal(swapped["features"][1], together["features"][0])


@pytest.mark.parametrize("name", ["gta", "slowfast"])
def test_a_layer_in_the_middle(name, tmp_path):
    """Packed blocks overwrite what they are given; what is kept of a layer must be from before that."""
    cfg = config(name)
    weights = write_weights(cfg, tmp_path / "w.pyth")
    network = build_eval_network(cfg, weights)
    model = build_model(cfg)
    load_weights(model, weights)
    model.eval()
    clips = clips_for(cfg)[:2]
    for layer in ("s1", "s2", "s4", "s3.pathway0_res0"):
        seen: list[torch.Tensor] = []

        def see(module, given, out, seen=seen):
            seen.extend(out if isinstance(out, list) else [out])

        modules = dict(model.named_modules())[layer]
        modules = list(modules.values()) if layer == "s1" else [modules]
        hooks = [module.register_forward_hook(see) for module in modules]
        with torch.no_grad():
            model(network.normalize(to_clips(clips)))
        for hook in hooks:
            hook.remove()
        expected = torch.cat([x.mean((2, 3, 4)) for x in seen], 1).numpy()
        found = network(clips, Wanted(probabilities=False, layer=layer))["features"]
        assert np.abs(found - expected).max() < 1e-5 * max(1, np.abs(expected).max()), layer


def test_the_head_gives_probabilities(tmp_path):
    cfg = config("r2d")
    network = build_eval_network(cfg, write_weights(cfg, tmp_path / "w.pyth"))
    found = network(clips_for(cfg)[:3], Wanted(layer="head"))
    assert np.array_equal(found["features"], found["probabilities"])
    assert found["probabilities"].sum(1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_16_bit_scores_are_close_and_the_change_is_reported(name, precision, tmp_path):
    """Every family, larger clips than trained too, where the head averages windows."""
    larger = ["DATA.TEST_CROP_SIZE", 64] if name in ("i3d", "slowfast") else []
    cfg = config(name, "TEST.PRECISION", precision, *larger)
    weights = write_weights(cfg, tmp_path / "w.pyth")
    side = cfg.DATA.TEST_CROP_SIZE
    clips = np.random.default_rng(0).integers(0, 256, (3, cfg.DATA.NUM_FRAMES, side, side, 3), np.uint8)
    exact = build_eval_network(cfg, weights, precision="float32")
    network = build_eval_network(cfg, weights)
    rounded = network(clips, Wanted())["probabilities"]
    wanted = exact(clips, Wanted())["probabilities"]
    assert rounded.dtype == np.float32 and 0 < np.abs(wanted - rounded).max() < 0.05
    found = network.rounding.change
    assert found["num_clips"] == 3 and found["precision"] == precision and exact.rounding is None
    assert found["largest_change"] == pytest.approx(np.abs(wanted - rounded).max(), abs=2e-3)
    assert found["num_changed_answers"] == (wanted.argmax(1) != rounded.argmax(1)).sum()
    first = dict(found)
    network(clips[:1], Wanted(layer="s5"))
    assert network.rounding.change == first and network.rounding.is_done


def test_maps_of_the_attention_blocks(tmp_path):
    cfg = config("gta")
    network = build_eval_network(cfg, write_weights(cfg, tmp_path / "w.pyth"))
    maps = network.maps(clips_for(cfg)[0])
    assert maps and all(".pathway0_attention" in name for name in maps)
    spatial = [value for name, value in maps.items() if name.endswith(".spatial")]
    assert spatial and all(value.shape[0] == 4 for value in spatial), "a map for each of the 4 frames"


def test_maps_of_blocks_that_multiply(tmp_path):
    cfg = config("gta", "ATTENTION.NAME", "CBAM", "ATTENTION.OPTIONS", "{}")
    maps = build_eval_network(cfg, write_weights(cfg, tmp_path / "w.pyth")).maps(clips_for(cfg)[0])
    assert maps["s3.pathway0_attention0.mask_position"].shape == (4, 4, 4)


def test_what_cannot_be_asked_for(tmp_path):
    cfg = config("slowfast")
    weights = write_weights(cfg, tmp_path / "w.pyth")
    network = build_eval_network(cfg, weights)
    for wanted in (Wanted(layer="s9"), Wanted(layer="s5", pool="none"), Wanted(layer="s5.nothing")):
        with pytest.raises(ConfigError, match=r"s5|s9"):
            network(clips_for(cfg)[:1], wanted)
    for wrong in ({"precision": "int8"}, {"batch_size": 0}):
        with pytest.raises(ConfigError):
            build_eval_network(cfg, weights, **wrong)
