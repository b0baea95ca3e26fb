"""TSM's shift against a loop over channels and frames, and what it does to a network."""

from itertools import product

import pytest
import torch
from randomised import small_network

from slowfast_gta.models.shift import temporal_shift


@pytest.mark.parametrize(("dim", "fold_div"), [(16, 8), (8, 8), (10, 4), (5, 8), (6, 2)])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_shift_is_a_loop_over_channels_and_frames(dim, fold_div, frames):
    x = torch.randn(2, dim, frames, 3, 4)
    expected = torch.zeros_like(x)
    count = dim // fold_div
    for c, t in product(range(dim), range(frames)):
        source = t + 1 if c < count else t - 1 if c < 2 * count else t
        if 0 <= source < frames:
            expected[:, c, t] = x[:, c, source]
    before = x.clone()
    assert torch.equal(temporal_shift(x, fold_div), expected)
    assert torch.equal(x, before)


def test_shift_keeps_the_memory_format_and_dtype():
    x = torch.randn(2, 16, 3, 4, 5).to(torch.bfloat16).contiguous(memory_format=torch.channels_last_3d)
    shifted = temporal_shift(x, 8)
    assert shifted.is_contiguous(memory_format=torch.channels_last_3d)
    assert shifted.dtype == torch.bfloat16


def test_the_gradient_is_shifted_back():
    x = torch.randn(2, 8, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: temporal_shift(x, 4), (x,))


def test_a_network_with_shift_has_the_same_weights_and_shifts_the_residual_branch_only():
    plain, shifted = small_network({}).eval(), small_network({"TSM.ENABLE": True}).eval()
    assert plain.state_dict().keys() == shifted.state_dict().keys()
    x = torch.randn(1, 3, 4, 64, 64, dtype=torch.float64)
    assert not torch.allclose(plain(x), shifted(x))

    block, twin = plain.s3.pathway0_res0, shifted.s3.pathway0_res0
    features = torch.randn(1, 32, 4, 8, 8, dtype=torch.float64)
    moved = temporal_shift(features, 8)
    expected = torch.relu(block.branch1_bn(block.branch1(features)) + block.branch2(moved))
    torch.testing.assert_close(twin(features), expected, rtol=0, atol=1e-12)


def test_fold_div_is_the_config_s():
    x = torch.randn(1, 3, 4, 64, 64, dtype=torch.float64)
    answers = [small_network({"TSM.ENABLE": True, "TSM.FOLD_DIV": div}).eval()(x) for div in (2, 8)]
    assert not torch.allclose(*answers)
