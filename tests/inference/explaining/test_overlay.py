"""Where a network looks: attention received at each position, against what explain shows position by position."""

import numpy as np
import pytest
import torch
from block_cases import block_of, clip, every_case
from eval_networks import config, write_weights
from randomised import randomise

from slowfast_gta.errors import ConfigError
from slowfast_gta.inference.explaining.blocks import shown_of
from slowfast_gta.inference.explaining.overlay import above_even, attended, build_overlay
from slowfast_gta.inference.explaining.shown import Cell
from slowfast_gta.inference.network import build_eval_network
from slowfast_gta.models.attention import NL

X = clip(1, torch.float64)
STEPS, HEIGHT, WIDTH = X.shape[2:]
ATTENDING = {"NL", "SA", "DNL", "TAPE", "GTA"}


def received_one_by_one(block, kind: str) -> np.ndarray:
    """(T, H, W): the mean of the points' own maps, over the points whose maps reach the step (test_blocks.py has the
    equations of those)."""
    total = np.zeros(tuple(X.shape[2:]))
    for step, row, column in np.ndindex(total.shape):
        (one,) = (shown for shown in shown_of(block, X, Cell(step, row, column)) if shown.kind == kind)
        part = np.abs(np.nan_to_num(one.values[0]))
        if kind == "spatial":  # a point of this step asks in this step; explain also shows what its position asks there
            total[step] += part[step]
        else:
            total += part
    asking = STEPS // block.group if isinstance(block, NL) else 1
    return total / (asking * HEIGHT * WIDTH)


@every_case
def test_it_is_the_mean_over_all_that_attend(name, options):
    block = randomise(block_of(name, options, torch.float64)).eval()
    with torch.no_grad():
        found = attended(block, X)
        kinds = {shown.kind: shown for shown in shown_of(block, X, Cell(0, 0, 0))}
        if name == "TA" or (name == "TAPE" and not options.get("SPATIAL")):
            assert found is None
            return
        if name == "GTA" and not options.get("SPATIAL", True):
            expected = np.abs(kinds["regions"].values[0])
        elif name in ATTENDING:
            expected = received_one_by_one(block, "spacetime" if name == "NL" else "spatial")
        else:
            expected = np.abs(next(shown for shown in kinds.values() if shown.form == "maps").values[0])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)
    if name == "SA" and options.get("POOL") == "none":
        np.testing.assert_allclose(found.sum((1, 2)), 1, rtol=1e-10)


def test_only_what_is_above_the_mean_is_shown():
    assert not above_even(np.full((3, 4), 0.25)).any() and not above_even(np.zeros((3, 4))).any()
    np.testing.assert_allclose(above_even(np.array([[0.0, 4.0], [0.0, 0.0]])), [[0, 1], [0, 0]])
    np.testing.assert_allclose(above_even(np.array([[1.0, 1.5], [1.0, 0.5]])), [[0, 0.5], [0, 0]])


def network_of(tmp_path, name: str, *overrides: object):
    cfg = config(name, *overrides)
    return build_eval_network(cfg, write_weights(cfg, tmp_path / "w.pyth"), batch_size=1)


def test_the_last_block_s_map_of_the_clip_s_last_step(tmp_path):
    network = network_of(tmp_path, "gta", "DATA.TEST_CROP_SIZE", 96, "DATA.RESIZE", "[96,96]")
    overlay = build_overlay("attention", network, 4, 96)
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8)
    frames = noise.repeat(16, 1).repeat(16, 2)
    maps = network.maps(frames)
    name, weights = [(name, values) for name, values in maps.items() if name.endswith(".spatial")][-1]
    assert name.startswith("s4.") and "s4.0" in overlay.what
    side = int(weights.shape[-1] ** 0.5)  # of pooled positions
    received = weights[-1].mean(0).reshape(side, side).repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(overlay.draw(frames, 0), above_even(received), rtol=1e-4, atol=1e-6)
    other = overlay.draw(np.ascontiguousarray(frames[::-1]), 0)
    assert np.abs(other - overlay.draw(frames, 0)).max() > 1e-4, "it is of this clip"


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [("r2d", (), "no attention block"), ("gta", ("ATTENTION.NAME", "TA", "ATTENTION.OPTIONS", "{}"), "TA")],
)
def test_networks_that_look_nowhere_in_particular(tmp_path, name, overrides, message):
    network = network_of(tmp_path, name, *overrides)
    with pytest.raises(ConfigError, match=message):
        build_overlay("attention", network, 4, 32)
    with pytest.raises(ConfigError, match="--overlay"):
        build_overlay("heat", network, 4, 32)
    assert build_overlay("none", network, 4, 32) is None
    assert build_overlay("gradcam", network, 4, 32).draw(np.zeros((4, 32, 32, 3), np.uint8), 0).ndim == 2
