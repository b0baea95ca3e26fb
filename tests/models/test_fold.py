"""BatchNorm folded into convolutions: the same answers, and no BatchNorm left, in every network and every block."""

import copy

import pytest
import torch
from block_cases import CASES, DIM, FRAMES, HEIGHT, IDS, WIDTH
from randomised import NETWORKS, randomise, small_network
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_gta.models.attention import build_attention
from slowfast_gta.models.fold import fold_batch_norms

# Relative to the largest number of the answer.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}
each_precision = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)


def norms(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


@torch.no_grad()
def assert_folds(module: nn.Module, x: torch.Tensor) -> None:
    expected = module.eval()(x)
    folded = fold_batch_norms(module)
    assert not norms(folded)
    error = (folded(x) - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCES[x.dtype], error


@each_precision
@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_gives_the_same_scores(name, dtype):
    network = small_network(NETWORKS[name]).to(dtype)
    network.head.act = "none"  # probabilities hide differences
    assert norms(network)
    assert_folds(network, torch.randn(2, 3, network.num_frames, 64, 64, dtype=dtype))


@each_precision
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_a_folded_block_gives_the_same_scores(name, options, dtype):
    block = build_attention(name, DIM, FRAMES, (HEIGHT, WIDTH), options)
    block = randomise(block.double()).to(dtype)
    assert_folds(block, torch.randn(2, DIM, FRAMES, HEIGHT, WIDTH, dtype=dtype))


def test_the_network_itself_stays_as_it_was():
    network = small_network({"ATTENTION.NAME": "GTA", "ATTENTION.LOCATION": [[[]], [[0]], [[]], [[]]]}).train()
    before = copy.deepcopy(network.state_dict())
    folded = fold_batch_norms(network)
    assert network.training and not folded.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_norm_in_front_of_its_convolution_is_left_alone():
    block = randomise(nn.Sequential(nn.BatchNorm3d(4), nn.Conv3d(4, 6, 1), nn.ReLU(), nn.BatchNorm3d(6)))
    folded = fold_batch_norms(block)
    assert len(norms(folded)) == 2
    x = torch.randn(1, 4, 2, 3, 3)
    assert torch.equal(folded(x), block.eval()(x))


def test_weights_keep_the_memory_format_of_the_clips():
    folded = fold_batch_norms(small_network({}))
    assert folded.s2.pathway0_res0.branch2.b.weight.is_contiguous(memory_format=torch.channels_last_3d)
