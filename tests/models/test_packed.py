"""A packed network answers as a folded one, is packed where that applies, and stays ordinary where it does not."""

import copy
import os
import platform
import subprocess
import sys

import pytest
import torch
from randomised import NETWORKS, small_network

from slowfast_gta.models import packed
from slowfast_gta.models.fold import fold_batch_norms
from slowfast_gta.models.packed import PackedConv3d, PackedResBlock, PackedStem, prepack_convs_

ATTENTION = {"ATTENTION.NAME": "GTA", "ATTENTION.LOCATION": [[[]], [[0]], [[]], [[]]]}
NAMES = [*NETWORKS, "attention"]

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_convolution_pointwise_"), reason="this torch has no such operations"
)


def pair(name: str, dtype: torch.dtype = torch.float32):
    """(folded, folded and packed, a clip for them)."""
    network = small_network(ATTENTION if name == "attention" else NETWORKS[name]).to(dtype)
    network.head.act = "none"  # probabilities hide differences
    folded = fold_batch_norms(network)
    return folded, prepack_convs_(copy.deepcopy(folded)), torch.randn(2, 3, network.num_frames, 64, 64, dtype=dtype)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_packed_network_gives_the_same_scores(name, dtype):
    folded, ours, clip = pair(name, dtype)
    expected, clip_before = folded(clip), clip.clone()
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 3e-2, torch.float64: 0.0}[dtype]
    for _ in range(2):  # what it writes over is its own
        assert (ours(clip) - expected).abs().max() <= tolerance * expected.abs().max()
    assert torch.equal(clip, clip_before)


@torch.no_grad()
def test_another_size_of_clip_gets_a_weight_of_its_own():
    folded, ours, _ = pair("2d")
    for size in (64, 96, 64):
        view = torch.randn(1, 3, 4, size, size)
        torch.testing.assert_close(ours(view), folded(view), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_the_weights_are_packed_and_the_blocks_are_fused():
    _, ours, clip = pair("attention")
    ours(clip)
    kinds = {type(module) for module in ours.modules()}
    assert {PackedConv3d, PackedResBlock, PackedStem} <= kinds
    convolutions = [module for module in ours.modules() if isinstance(module, PackedConv3d)]
    assert convolutions and all(hasattr(conv, "_packed") for conv in convolutions)
    copied = copy.deepcopy(ours)  # a packed weight cannot be copied; it is made again
    torch.testing.assert_close(copied(clip), ours(clip))


def test_gradients_take_the_ordinary_way():
    folded, ours, clip = pair("2d")
    ours(clip).sum().backward()
    folded(clip).sum().backward()
    for (name, mine), other in zip(ours.named_parameters(), folded.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_a_block_with_a_batch_norm_is_left_alone():
    network = small_network({})
    assert not {PackedResBlock, PackedStem} & {type(module) for module in prepack_convs_(network).modules()}


def test_a_torch_without_the_operations_gets_the_network_back(monkeypatch):
    monkeypatch.setattr(packed.torch.backends.mkldnn, "is_available", lambda: False)
    folded = fold_batch_norms(small_network({}))
    assert not any(isinstance(module, PackedConv3d) for module in prepack_convs_(folded).modules())


_COUNT_PAGES = """
import resource, sys, torch
from slowfast_gta.models.packed import keep_freed_memory

def pages_of_a_clip() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [torch.ones(2 << 20) for _ in range(16)]  # 8 MiB each
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

asked = sys.argv[1] == "kept"
assert not asked or keep_freed_memory()
print([pages_of_a_clip() for _ in range(4)][-1])
"""


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="the C library is not glibc")
def test_memory_that_is_freed_is_not_fetched_again():
    """With every tensor fetched from the kernel, by the environment; else glibc does so as its heap happens to be."""

    def pages(how: str) -> int:
        fetched = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
        command = [sys.executable, "-c", _COUNT_PAGES, how]
        return int(subprocess.run(command, capture_output=True, check=True, env=fetched).stdout)

    assert pages("kept") < 100 < 10_000 < pages("not kept")
