"""GTA's T x T matrices: what is odd in time, what a reversed clip changes, and where training began."""

import numpy as np
import pytest
import torch
from eval_networks import config, write_weights
from randomised import randomise

from slowfast_gta import build_model, load_weights
from slowfast_gta.inference.explaining.matrices import (
    all_matrices,
    build_initial_network,
    initial_matrices,
    odd_part,
    reversed_response,
    shown_matrices,
)
from slowfast_gta.models.attention import build_attention

X = torch.randn(1, 16, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gta(**options):
    torch.manual_seed(1)
    options = {"GROUPS": 2, "NUM_REGIONS": 3, **options}
    return randomise(build_attention("GTA", 16, 4, (3, 5), options).double()).eval()


def test_the_odd_part_entry_by_entry():
    matrices = np.random.default_rng(0).normal(size=(3, 4, 4))
    found = odd_part(matrices)
    for head, t, s in np.ndindex(matrices.shape):
        assert found[head, t, s] == pytest.approx((matrices[head, t, s] - matrices[head, 3 - t, 3 - s]) / 2, abs=1e-15)


def test_what_is_shown():
    block = gta()
    with torch.no_grad():
        weight = block.pixel.mix.weight.numpy()
        start = {"pixel": all_matrices(block.pixel.mix) + 0.25}
        found = {one.kind: one for one in shown_matrices(block, X, start)}
    assert set(found) == {
        *(f"pixel_{what}" for what in ("matrix", "heads", "change", "direction", "reversed")),
        *(f"region_{what}" for what in ("matrix", "heads", "direction", "reversed")),
    }, "no start is known of the region's matrix, and so no change"
    squares = sum(weight[group, head] ** 2 for group in range(2) for head in range(2)) / 4
    np.testing.assert_allclose(found["pixel_matrix"].values[0], squares**0.5, rtol=1e-12)
    np.testing.assert_allclose(found["pixel_heads"].values[2], weight[1, 0], rtol=1e-12)
    np.testing.assert_allclose(found["pixel_change"].values[0], 0.25, rtol=1e-9)


@pytest.mark.parametrize("part", ["pixel", "region"])
def test_the_response_to_a_reversed_clip(part):
    """Frame by frame from two runs; 0 for matrices that are the same read backwards, whatever the video."""
    block = gta().get_submodule(part)
    with torch.no_grad():
        found = reversed_response(block, X)
        nothing = block(torch.zeros_like(X))
        for t in range(4):
            one = (block(X) - nothing)[0, :, t]
            other = (block(X.flip(2)) - nothing)[0, :, 3 - t]
            expected = (one - other).norm() / (one.norm() + other.norm()) * 2
            assert found[t] == pytest.approx(float(expected), rel=1e-9)
        weight = block.mix.weight
        weight.copy_(weight + weight.flip(-1, -2))
        assert reversed_response(block, X) == pytest.approx(np.zeros(4), abs=1e-9) and found.min() > 0.1


def test_the_start_of_training_is_what_the_seed_draws(tmp_path):
    cfg = config("gta", "RNG_SEED", 7)
    torch.manual_seed(7)  # as build_learner does
    began = build_model(cfg)
    before = torch.get_rng_state()
    start = build_initial_network(cfg)
    assert torch.equal(before, torch.get_rng_state()), "what others draw does not depend on it"
    trained = build_model(cfg)
    trained.load_state_dict(began.state_dict())
    with torch.no_grad():
        for name, value in trained.named_parameters():
            if name.endswith("mix.weight"):
                value.add_(0.02 * torch.randn_like(value))
    found, refused = initial_matrices(trained, start)
    assert not refused and set(found) == {"s3.pathway0_attention0", "s4.pathway0_attention0"}
    np.testing.assert_array_equal(
        found["s3.pathway0_attention0"]["pixel"], all_matrices(began.s3.pathway0_attention0.pixel.mix)
    )
    load_weights(trained, write_weights(cfg, tmp_path / "others.pyth", seed=3))
    found, refused = initial_matrices(trained, start)
    assert not found and all(len(reasons) == 2 for reasons in refused.values())


def test_a_training_begins_there(tmp_path):
    """The learner that training builds, beside what is drawn again for the picture."""
    from slowfast_gta.engine.classification import Classification
    from slowfast_gta.engine.training.learner import build_learner

    cfg = config("gta", "TRAIN.BATCH_SIZE", 4)
    learner = build_learner(cfg, Classification.from_cfg(cfg), torch.device("cpu"))
    ours = build_initial_network(cfg).state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in learner.network.state_dict().items())
