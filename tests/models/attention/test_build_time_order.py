"""The property this project is about: what tells a clip from the same frames in another order, and what cannot.

float64, all zero scales, embeddings and BN statistics random. Same means < 1e-10, different > 1e-6.
"""

import pytest
import torch
from block_cases import CASES, DIM, FRAMES, IDS, block_of, clip
from randomised import randomise, small_network
from torch import Tensor, nn

from slowfast_gta.models.attention import ATTENTION_REGISTRY, build_attention

T = 5
ORDERS = [[4, 3, 2, 1, 0], [1, 0, 2, 3, 4], [2, 4, 1, 0, 3]]

R2D = {"DATA.NUM_FRAMES": T, "MODEL.HEAD_ACT": "none"}
PLACED = {"ATTENTION.LOCATION": [[[]], [[0]], [[0]], [[]]]}

# House rules, by name and option set: this is the claim, not what the classes say of themselves.
BLIND = {
    "R2D": ({}, {}),
    "SA": ({"ATTENTION.NAME": "SA"}, {}),
    "SA, pooled before": ({"ATTENTION.NAME": "SA"}, {"POOL": "before"}),
    "NL": ({"ATTENTION.NAME": "NL"}, {}),
    "NL, dot product": ({"ATTENTION.NAME": "NL"}, {"INSTANTIATION": "dot_product", "POOL": "before", "BIAS": True}),
    "NONLOCAL": ({"NONLOCAL.LOCATION": [[[]], [[0]], [[0]], [[]]]}, {}),
    "TA": ({"ATTENTION.NAME": "TA"}, {}),
    "DNL": ({"ATTENTION.NAME": "DNL"}, {}),
    "DNL, swapped": ({"ATTENTION.NAME": "DNL"}, {"SWAP": True}),
    "CGNL": ({"ATTENTION.NAME": "CGNL"}, {}),
    "CGNL, decoupled": ({"ATTENTION.NAME": "CGNL"}, {"DECOUPLED": True}),
    "GCNet": ({"ATTENTION.NAME": "GCNet"}, {}),
    "GCNet, decoupled": ({"ATTENTION.NAME": "GCNet"}, {"DECOUPLED": True}),
    "GloRe": ({"ATTENTION.NAME": "GloRe"}, {}),
    "GloRe, decoupled": ({"ATTENTION.NAME": "GloRe"}, {"DECOUPLED": True}),
    "CBAM": ({"ATTENTION.NAME": "CBAM"}, {}),
    "CBAM, AFR": ({"ATTENTION.NAME": "CBAM", "ATTENTION.REFINE": "AFR"}, {}),
}
SEEING = {
    "TAPE": ({"ATTENTION.NAME": "TAPE"}, {}),
    "SA + TAPE": ({"ATTENTION.NAME": "TAPE"}, {"SPATIAL": True}),
    "TAPE, CCMH": ({"ATTENTION.NAME": "TAPE"}, {"HEADS": "ccmh"}),
    "TAPE, multi-head": ({"ATTENTION.NAME": "TAPE"}, {"HEADS": "multi_head"}),
    "W3": ({"ATTENTION.NAME": "W3"}, {}),
    "W3, AFR": ({"ATTENTION.NAME": "W3", "ATTENTION.REFINE": "AFR"}, {}),
    "GTA": ({"ATTENTION.NAME": "GTA"}, {}),
    "GTA, no SA": ({"ATTENTION.NAME": "GTA"}, {"SPATIAL": False}),
    "GTA, pixel": ({"ATTENTION.NAME": "GTA"}, {"REGION": False}),
    "GTA, region": ({"ATTENTION.NAME": "GTA"}, {"PIXEL": False}),
    "GTA, multi-head": ({"ATTENTION.NAME": "GTA"}, {"HEADS": "multi_head"}),
    "GTA, single": ({"ATTENTION.NAME": "GTA"}, {"HEADS": "single"}),
    "GTA, region, single": ({"ATTENTION.NAME": "GTA"}, {"HEADS": "single", "PIXEL": False}),
    "GTA, 2 groups": ({"ATTENTION.NAME": "GTA"}, {"GROUPS": 2}),
    "GTA, softmax regions": ({"ATTENTION.NAME": "GTA"}, {"REGION_NORM": "softmax", "PIXEL": False}),
    "GTA, static regions": ({"ATTENTION.NAME": "GTA"}, {"REGION_KIND": "static", "PIXEL": False}),
    "GTA, M frozen": ({"ATTENTION.NAME": "GTA"}, {"MIX": "frozen"}),
    "TSM": ({"TSM.ENABLE": True}, {}),
    "TSM + TA": ({"TSM.ENABLE": True, "ATTENTION.NAME": "TA"}, {}),
    "I3D": ({"MODEL.ARCH": "i3d", "DATA.NUM_FRAMES": 4}, {}),
    "Slow": ({"MODEL.ARCH": "slow"}, {}),
}


def test_every_block_is_claimed_to_be_one_or_the_other_and_its_class_agrees():
    for claims, blind in ((BLIND, True), (SEEING, False)):
        for keys, _ in claims.values():
            if "ATTENTION.NAME" in keys and "TSM.ENABLE" not in keys:
                block = ATTENTION_REGISTRY.get(keys["ATTENTION.NAME"])
                assert getattr(block, "time_permutation_equivariant", False) is blind
    claimed = {keys.get("ATTENTION.NAME") for keys, _ in [*BLIND.values(), *SEEING.values()]}
    assert {name for name, block in ATTENTION_REGISTRY if block.__module__.startswith("slowfast_gta.")} <= claimed


def differences(network: nn.Module, frames: int) -> list[float]:
    """max |logits(x) - logits(x[p])| over a batch of 2, for several orders p of the frames, never the identity.

    In units of the largest logit where that is above 1: the cubic dot-product form makes them as large as 1e5.
    """
    x = torch.randn(2, 3, frames, 64, 64, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    with torch.no_grad():
        logits = network(x)
        orders = ORDERS if frames == T else [[3, 2, 1, 0], [0, 2, 1, 3]]
        unit = max(1.0, logits.abs().max().item())
        return [(network(x[:, :, order]) - logits).abs().max().item() / unit for order in orders]


def network_of(keys: dict, options: dict, seed: int, training: bool) -> nn.Module:
    return small_network(R2D | PLACED | keys, options, seed).train(training)


both_modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


@both_modes
@pytest.mark.parametrize("name", BLIND)
def test_without_order_aware_attention_every_frame_order_gives_the_same_logits(name, training):
    assert max(differences(network_of(*BLIND[name], seed=1, training=training), T)) < 1e-10


@both_modes
@pytest.mark.parametrize("name", SEEING)
def test_with_it_every_other_order_gives_other_logits(name, training):
    keys, options = SEEING[name]
    network = network_of(keys, options, seed=2, training=training)
    assert min(differences(network, keys.get("DATA.NUM_FRAMES", T))) > 1e-6


def test_probabilities_are_blind_too():
    network = small_network(R2D | {"MODEL.HEAD_ACT": "softmax"}).eval()
    assert max(differences(network, T)) < 1e-10


@both_modes
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_a_time_permutation_equivariant_block_carries_any_frame_order_through(name, options, training):
    """block(x[p]) = block(x)[p] where time_permutation_equivariant; where not, some order shows."""
    block = randomise(block_of(name, options, torch.float64)).train(training)
    x = clip(dtype=torch.float64)
    blind = getattr(block, "time_permutation_equivariant", False)
    for order in ([2, 1, 0], [1, 2, 0], [1, 0, 2]):
        difference = (block(x[:, :, order]) - block(x)[:, :, order]).abs().max().item()
        assert difference < 1e-10 if blind else difference > 1e-6


def test_groups_of_frames_make_nl_see_which_group_a_frame_is_in():
    torch.manual_seed(1)
    block = randomise(build_attention("NL", DIM, 4, options={"GROUP": 2}).double()).eval()
    x = torch.randn(1, DIM, 4, 3, 3, dtype=torch.float64)
    for order, same in (([1, 0, 2, 3], True), ([2, 3, 0, 1], True), ([0, 2, 1, 3], False)):
        assert torch.allclose(block(x[:, :, order]), block(x)[:, :, order], rtol=0, atol=1e-10) is same


def changed(x: Tensor, frame: int) -> Tensor:
    y = x.clone()
    y[:, :, frame] += 1
    return y


def test_what_reaches_which_frame():
    """SA keeps to its frame; TA and the global matrices reach all of them."""
    x = clip(dtype=torch.float64)
    for name, reach in (("SA", [1]), ("TA", [0, 1, 2]), ("NL", [0, 1, 2]), ("GTA", [0, 1, 2])):
        block = randomise(block_of(name, {}, torch.float64)).eval()
        moved = (block(changed(x, 1)) - block(x)).abs().amax((0, 1, 3, 4))
        assert [t for t in range(FRAMES) if moved[t] > 1e-9] == reach
