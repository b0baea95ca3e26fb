"""The blocks of other papers, TAPE's heads and DNL's swap against loops written from their equations, in numpy.

Legend: B batch, C channel, T frame, H W space, E channels inside, G groups, D = E/G. T, H, W, C and E all differ.
"""

import math
import re
from itertools import product

import numpy as np
import pytest
import torch
from naive_attention import attended, naive_sa, naive_ta, normalised, project, softmax
from randomised import SLOWFAST, SMALL, config, randomise, small_network
from torch import nn

from slowfast_gta.config.check_network import check_network
from slowfast_gta.models.attention import build_attention
from slowfast_gta.models.refine import AFR, feature_mimicking_loss

B, C = 2, 32
SIZES = [(3, 5, 7), (4, 2, 3)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)
original_and_decoupled = pytest.mark.parametrize("decoupled", [False, True], ids=["original", "decoupled"])


def block_and_clip(name: str, size: tuple[int, int, int], **options) -> tuple[nn.Module, np.ndarray]:
    torch.manual_seed(5)
    block = randomise(build_attention(name, C, size[0], size[1:], options).double())
    return block, torch.randn(B, C, *size, dtype=torch.float64).numpy()


def assert_same(block: nn.Module, x: np.ndarray, naive) -> None:
    """`naive(x)` gives what the block gives, to 1e-10 of its largest value, in eval and in training."""
    for mode in (False, True):
        block.train(mode)
        expected = naive(x)  # before the block: training moves the statistics it reads
        got = block(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * max(1.0, np.abs(expected).max()))
        assert np.abs(expected - x).max() > 1e-3


def numpy_of(parameter: nn.Parameter) -> np.ndarray:
    return parameter.detach().numpy()


def linear(layer: nn.Linear, vector: np.ndarray) -> np.ndarray:
    out = numpy_of(layer.weight) @ vector
    return out if layer.bias is None else out + numpy_of(layer.bias)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def sets_of(size: tuple[int, int, int], over: str) -> list[list[tuple[int, int, int]]]:
    """The positions (t, i, j) that a unit looks at together."""
    frames, height, width = size
    if over == "clip":
        return [list(product(range(frames), range(height), range(width)))]
    if over == "frame":
        return [[(t, i, j) for i, j in product(range(height), range(width))] for t in range(frames)]
    return [[(t, i, j) for t in range(frames)] for i, j in product(range(height), range(width))]


def through(block: nn.Module, decoupled: bool, naive):
    """naive(x, unit, over) for the block's one unit over the clip, or its two in turn."""

    def run(x: np.ndarray) -> np.ndarray:
        if not decoupled:
            return naive(x, block.spacetime, "clip")
        return naive(naive(x, block.spatial, "frame"), block.temporal, "position")

    return run


def naive_cgnl(x: np.ndarray, unit: nn.Module, over: str) -> np.ndarray:
    """Through the matrix of all pairs of (channel, position): vec(Y) = (theta phi^T) g, group by group."""
    theta, phi, g = (project(x, part) for part in (unit.query, unit.key, unit.value))
    width = theta.shape[1] // unit.groups
    mixed = np.zeros_like(theta)
    for b, positions, group in product(range(len(x)), sets_of(x.shape[2:], over), range(unit.groups)):
        entries = [(c, *position) for position in positions for c in range(group * width, (group + 1) * width)]
        vec_theta, vec_phi, vec_g = (np.array([part[b][entry] for entry in entries]) for part in (theta, phi, g))
        for entry, value in zip(entries, np.outer(vec_theta, vec_phi) @ vec_g, strict=True):
            mixed[b][entry] = value
    weight = numpy_of(unit.out.weight)[:, :, 0, 0, 0]  # (C, D): each group of outputs reads its group of inputs
    out_width = C // unit.groups
    added = np.zeros_like(x)
    for c in range(C):
        first = c // out_width * width
        added[:, c] = sum(weight[c, d] * mixed[:, first + d] for d in range(width))
    return x + normalised(added, unit.bn, unit.training)


@every_size
@original_and_decoupled
@pytest.mark.parametrize("groups", [1, 4])
def test_cgnl(size, decoupled, groups):
    block, x = block_and_clip("CGNL", size, decoupled=decoupled, dim_inner=12, groups=groups)
    assert_same(block, x, through(block, decoupled, naive_cgnl))


def naive_gcnet(x: np.ndarray, unit: nn.Module, over: str) -> np.ndarray:
    key = project(x, unit.key)
    out = x.copy()
    for b, positions in product(range(len(x)), sets_of(x.shape[2:], over)):
        weights = softmax(np.array([key[b, 0][position] for position in positions]))
        context = sum(
            weight * x[b][(slice(None), *position)] for weight, position in zip(weights, positions, strict=True)
        )
        hidden = linear(unit.squeeze, context)
        hidden = (hidden - hidden.mean()) / math.sqrt(((hidden - hidden.mean()) ** 2).mean() + unit.norm.eps)
        hidden = hidden * numpy_of(unit.norm.weight) + numpy_of(unit.norm.bias)
        added = linear(unit.out, np.maximum(hidden, 0))
        for position in positions:
            out[b][(slice(None), *position)] += added
    return out


@every_size
@original_and_decoupled
def test_gcnet(size, decoupled):
    block, x = block_and_clip("GCNet", size, decoupled=decoupled, ratio=5)
    assert_same(block, x, through(block, decoupled, naive_gcnet))


def naive_glore(x: np.ndarray, unit: nn.Module, over: str) -> np.ndarray:
    state, assign = project(x, unit.state), project(x, unit.assign)
    mixed = np.zeros_like(state)
    for b, positions in product(range(len(x)), sets_of(x.shape[2:], over)):
        nodes = np.zeros((assign.shape[1], state.shape[1]))
        for k, position in product(range(len(nodes)), positions):
            nodes[k] += assign[b, k][position] * state[b][(slice(None), *position)] / len(positions)
        adjacency, bias = numpy_of(unit.adjacency.weight), numpy_of(unit.adjacency.bias)
        diffused = [
            nodes[k] + sum(adjacency[k, n] * nodes[n] for n in range(len(nodes))) + bias[k] for k in range(len(nodes))
        ]
        reasoned = [linear(unit.update, np.maximum(node, 0)) for node in diffused]
        for position in positions:
            mixed[b][(slice(None), *position)] = sum(assign[b, k][position] * reasoned[k] for k in range(len(nodes)))
    return x + normalised(project(mixed, unit.out), unit.bn, unit.training)


@every_size
@original_and_decoupled
def test_glore(size, decoupled):
    block, x = block_and_clip("GloRe", size, decoupled=decoupled, dim_inner=10, num_nodes=6)
    assert_same(block, x, through(block, decoupled, naive_glore))


def frame_channel_mask(frame: np.ndarray, mask: nn.Module) -> np.ndarray:
    """(C, H, W) -> (C): CBAM's equation 2, W3's equation 3."""
    total = np.zeros(len(frame))
    for pooled in ([c.mean() for c in frame], [c.max() for c in frame]):
        total += linear(mask.expand, np.maximum(linear(mask.squeeze, np.array(pooled)), 0))
    return np.array([sigmoid(value) for value in total])


def convolved(x: np.ndarray, layer: nn.Conv3d) -> np.ndarray:
    """(C, T, H, W) -> (T, H, W): a zero-padded convolution to one channel."""
    weight, kernel = numpy_of(layer.weight)[0], layer.kernel_size
    pads = [(0, 0), *((k // 2, k // 2) for k in kernel)]
    padded = np.pad(x, pads)
    out = np.zeros(x.shape[1:])
    for t, i, j in product(*map(range, out.shape)):
        window = padded[:, t : t + kernel[0], i : i + kernel[1], j : j + kernel[2]]
        out[t, i, j] = (window * weight).sum() + layer.bias.item()
    return out


def frame_position_mask(frame: np.ndarray, mask: nn.Module) -> np.ndarray:
    """(C, H, W) -> (H, W): CBAM's equation 3, W3's equation 5."""
    pooled = np.stack([frame.mean(0), frame.max(0)])[:, None]
    return np.vectorize(sigmoid)(convolved(pooled, mask.conv)[0])


def naive_masks(x: np.ndarray, block: nn.Module, over_time: bool) -> tuple[np.ndarray, np.ndarray]:
    """x times the channel mask, times the position mask; and the position mask (B, T, H, W)."""
    out, masks = np.zeros_like(x), np.zeros((len(x), *x.shape[2:]))
    for b in range(len(x)):
        frames = range(x.shape[2])
        channel = np.stack([frame_channel_mask(x[b, :, t], block.channel) for t in frames], axis=1)  # (C, T)
        if over_time:
            for layer in block.channel.temporal:
                channel = convolved_1d(channel, layer)
            channel = np.vectorize(sigmoid)(channel)
        masked = x[b] * channel[:, :, None, None]
        position = np.stack([frame_position_mask(masked[:, t], block.position) for t in frames])
        if over_time:
            for layer in block.position.temporal:
                position = convolved(position[None], layer)
            position = np.vectorize(sigmoid)(position)
        out[b], masks[b] = masked * position, position
    return out, masks


def convolved_1d(x_CT: np.ndarray, layer: nn.Conv1d) -> np.ndarray:
    """Zero-padded, 3 frames wide; channel by channel where the layer is depthwise."""
    weight, bias = numpy_of(layer.weight), numpy_of(layer.bias)
    padded = np.pad(x_CT, [(0, 0), (1, 1)])
    out = np.zeros_like(x_CT)
    for c, t in product(*map(range, x_CT.shape)):
        sources = range(len(x_CT)) if layer.groups == 1 else [c]
        out[c, t] = bias[c] + sum(
            weight[c, n, k] * padded[source, t + k] for n, source in enumerate(sources) for k in range(3)
        )
    return out


@every_size
def test_cbam(size):
    block, x = block_and_clip("CBAM", size, ratio=5)
    assert_same(block, x, lambda x: naive_masks(x, block, over_time=False)[0])


@every_size
@pytest.mark.parametrize("full", [False, True], ids=["depthwise", "full"])
def test_w3(size, full):
    block, x = block_and_clip("W3", size, ratio=5, full=full)
    assert {layer.groups for layer in block.channel.temporal} == {1 if full else C}
    assert_same(block, x, lambda x: naive_masks(x, block, over_time=True)[0])


@pytest.mark.parametrize("name", ["CBAM", "W3"])
def test_a_mask_is_handed_out_when_asked(name):
    block, x = block_and_clip(name, SIZES[0])
    y, mask = block(torch.from_numpy(x), return_mask=True)
    assert torch.equal(y, block(torch.from_numpy(x)))
    expected = naive_masks(x, block, over_time=name == "W3")[1]
    np.testing.assert_allclose(mask[:, 0].detach().numpy(), expected, rtol=0, atol=1e-12)


def test_afr_is_x_and_the_relu_of_the_stages_averaged_masks():
    torch.manual_seed(3)
    refine = AFR(2, 5).double()
    x = torch.randn(B, 5, 2, 2, 3, dtype=torch.float64)
    masks = [torch.rand(B, 1, *size, dtype=torch.float64) for size in ((4, 4, 6), (2, 2, 3))]
    averaged = masks[0].numpy().reshape(B, 2, 2, 2, 2, 3, 2).mean((2, 4, 6))  # windows of 2x2x2
    weight, bias = numpy_of(refine.conv.weight).reshape(5, 2), numpy_of(refine.conv.bias)
    expected = x.numpy().copy()
    for b, c, t, i, j in product(*map(range, x.shape)):
        value = bias[c] + weight[c, 0] * averaged[b, t, i, j] + weight[c, 1] * masks[1][b, 0, t, i, j].item()
        expected[b, c, t, i, j] += max(value, 0)
    np.testing.assert_allclose(refine(x, masks).detach().numpy(), expected, rtol=0, atol=1e-12)


AFR_EVERYWHERE = {
    "ATTENTION.NAME": "W3",
    "ATTENTION.LOCATION": [[[0, 1]], [[0, 1]], [[1]], [[0]]],
    "ATTENTION.REFINE": "AFR",
    "RESNET.DEPTH": 18,
}


@pytest.mark.parametrize("arch", ["2d", "i3d"])
def test_a_network_leads_the_last_mask_of_each_stage_to_its_features(arch):
    network = small_network(AFR_EVERYWHERE | {"MODEL.ARCH": arch}).eval()
    last = ["s2.pathway0_attention1", "s3.pathway0_attention1", "s4.pathway0_attention1", "s5.pathway0_attention0"]
    handed, plain = {}, []
    for name in last:
        network.get_submodule(name).position.register_forward_hook(
            lambda module, args, mask, name=name: handed.update({name: mask})
        )
    network.s5.register_forward_hook(lambda module, args, out: plain.append(out[0]))
    clip = torch.randn(1, 3, 4, 64, 64, dtype=torch.float64)
    features = network.features(clip)
    torch.testing.assert_close(features[0], network.refine(plain[0], [handed[name] for name in last]))
    assert not torch.allclose(features[0], plain[0])
    torch.testing.assert_close(network(clip), network.head(features))


def test_refinement_is_absent_unless_asked_for():
    keys = set(small_network(AFR_EVERYWHERE).state_dict())
    without = set(small_network(AFR_EVERYWHERE | {"ATTENTION.REFINE": "none"}).state_dict())
    assert keys - without == {"refine.conv.weight", "refine.conv.bias"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ATTENTION.NAME": "GTA"}, r"ATTENTION\.NAME is GTA, which has no masks to refine with: CBAM, W3 have"),
        (
            {"ATTENTION.NAME": "none", "ATTENTION.LOCATION": [[[]], [[]], [[]], [[]]]},
            r"ATTENTION\.NAME is none, which has no masks",
        ),
        (SLOWFAST | {"ATTENTION.LOCATION": [[[0], []]] * 4}, r"for one pathway, but MODEL\.MODEL_NAME is SlowFast"),
    ],
)
def test_refinement_without_masks_or_with_two_pathways_is_refused(keys, message):
    faults = list(check_network(config(SMALL | AFR_EVERYWHERE | {"ATTENTION.LOCATION": [[[0]]] * 4} | keys)))
    assert len([fault for fault in faults if re.search(message, fault.text)]) == 1, faults


def test_slowfast_gives_the_features_of_both_pathways():
    network = small_network(SLOWFAST).eval()
    clip = torch.randn(1, 3, 16, 64, 64, dtype=torch.float64)
    slow, fast = network.features(clip)
    assert (slow.shape[2], fast.shape[2]) == (4, 16)
    torch.testing.assert_close(network.head([slow, fast]), network(clip))


def test_the_mimicking_loss_is_the_mean_distance_of_frames():
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(B, 5, 3, 2, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    student.requires_grad_(), teacher.requires_grad_()
    loss = feature_mimicking_loss(student, teacher)
    distances = [np.linalg.norm(numpy_of(student - teacher)[b, :, t]) for b in range(B) for t in range(3)]
    assert loss.item() == pytest.approx(np.mean(distances), rel=1e-12)
    loss.backward()
    assert student.grad.norm() > 0 and teacher.grad is None
    same = torch.zeros(1, 2, 1, 1, 1, requires_grad=True)
    feature_mimicking_loss(same, torch.zeros(1, 2, 1, 1, 1)).backward()
    assert torch.equal(same.grad, torch.zeros_like(same))


def naive_tape(x: np.ndarray, block: nn.Module, heads: str) -> np.ndarray:
    """Equations 7 and 8 with M_g^k = softmax(Q_k K_g^T / sqrt(D)); multi-head: only k = g, and no sum."""
    query, key, value = (project(x, part) for part in (block.query, block.key, block.value))
    embedding = numpy_of(block.embedding)
    for part, t in product((query, key, value), range(x.shape[2])):
        part[:, :, t] += embedding[t][None, :, None, None]
    width = query.shape[1] // block.groups
    mixed = np.zeros_like(query)
    for b, i, j, k in product(range(len(x)), range(x.shape[3]), range(x.shape[4]), range(block.groups)):
        head = slice(k * width, (k + 1) * width)
        for g in range(block.groups) if heads == "ccmh" else [k]:
            group = slice(g * width, (g + 1) * width)
            keys, values = list(key[b, group, :, i, j].T), list(value[b, group, :, i, j].T)
            for t in range(x.shape[2]):
                mixed[b, head, t, i, j] += attended(query[b, head, t, i, j], keys, values)
    return x + normalised(project(mixed, block.out), block.bn, block.training)


@every_size
@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("heads", ["ccmh", "multi_head"])
def test_tape_with_heads(size, heads, spatial):
    block, x = block_and_clip("TAPE", size, heads=heads, groups=4, spatial=spatial, dim_inner=24)

    def naive(x: np.ndarray) -> np.ndarray:
        return naive_tape(naive_sa(x, block.spatial) if spatial else x, block.temporal, heads)

    assert_same(block, x, naive)


def test_tape_with_one_group_is_tape_with_one_head_and_no_parameter_is_added():
    torch.manual_seed(0)
    single = randomise(build_attention("TAPE", C, 3).double()).eval()
    x = torch.randn(B, C, 3, 2, 4, dtype=torch.float64)
    for heads in ("ccmh", "multi_head"):
        one = build_attention("TAPE", C, 3, options={"HEADS": heads, "GROUPS": 1}).double().eval()
        one.load_state_dict(single.state_dict(), strict=True)
        torch.testing.assert_close(one(x), single(x), rtol=0, atol=1e-12)
        torch.testing.assert_close(one.attention_maps(x)["temporal"], single.attention_maps(x)["temporal"])
        eight = build_attention("TAPE", C, 3, options={"HEADS": heads}).double().eval()
        eight.load_state_dict(single.state_dict(), strict=True)
        maps = eight.attention_maps(x)["temporal"]
        assert maps.shape == (B, 2 * 4, 3, 3)
        torch.testing.assert_close(maps.sum(-1), torch.ones(B, 8, 3, dtype=torch.float64))


@every_size
@pytest.mark.parametrize("pool", ["after", "before"])
def test_dnl_swapped_uses_each_other_s_query_key_and_value(size, pool):
    block, x = block_and_clip("DNL", size, pool=pool, swap=True)

    def naive(x: np.ndarray) -> np.ndarray:
        """SA with TA's projections, then TA with SA's: as two blocks whose projections were exchanged by hand."""
        other, _ = block_and_clip("DNL", size, pool=pool)
        other.load_state_dict(block.state_dict())
        for name in ("query", "key", "value"):
            spatial, temporal = getattr(other.spatial, name), getattr(other.temporal, name)
            setattr(other.spatial, name, temporal)
            setattr(other.temporal, name, spatial)
        other.train(block.training)
        return naive_ta(naive_sa(x, other.spatial, pool), other.temporal)

    assert_same(block, x, naive)


def test_swap_is_off_by_default_and_can_be_set_on_a_trained_block():
    block, x = block_and_clip("DNL", SIZES[0])
    block, x = block.eval(), torch.from_numpy(x)
    assert block.swap is False
    swapped, _ = block_and_clip("DNL", SIZES[0], swap=True)
    assert list(swapped.state_dict()) == list(block.state_dict())
    swapped.load_state_dict(block.state_dict())
    plain, maps = block(x), block.attention_maps(x)
    block.swap = True
    assert torch.equal(block(x), swapped.eval()(x))
    assert not torch.allclose(block(x), plain)
    for name, value in block.attention_maps(x).items():
        assert not torch.allclose(value, maps[name])
        torch.testing.assert_close(value.sum(-1), torch.ones_like(value[..., 0]))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("CGNL", {"query": (C // 2, C), "out": (C, C // 2 // 8)}),
        ("GCNet", {"key": (1, C), "squeeze": (C // 16, C), "out": (C, C // 16)}),
        (
            "GloRe",
            {"state": (C // 2, C), "assign": (C // 4, C), "adjacency": (C // 4, C // 4), "update": (C // 2, C // 2)},
        ),
    ],
)
@original_and_decoupled
def test_channels_inside(name, shapes, decoupled):
    block = build_attention(name, C, 3, options={"DECOUPLED": decoupled})
    units = dict(block.named_children())
    assert list(units) == (["spatial", "temporal"] if decoupled else ["spacetime"])
    for unit in units.values():
        for part, shape in shapes.items():
            assert getattr(unit, part).weight.shape[:2] == shape


@original_and_decoupled
def test_glore_s_maps_are_the_pixels_of_its_nodes(decoupled):
    block, x = block_and_clip("GloRe", SIZES[0], decoupled=decoupled)
    x = torch.from_numpy(x)
    maps = block.eval().attention_maps(x)
    for name, unit in block.named_children():
        nodes = maps[f"nodes_{name}"]
        assert nodes.shape == (B, C // 4, *SIZES[0])
        sets = {"clip": "", "frame": "t", "position": "hw"}[unit.over]
        made = torch.einsum(f"bkthw,bdthw->b{sets}kd", nodes, unit.state(x))
        given = []
        unit.adjacency.register_forward_hook(lambda _, inputs, __, to=given: to.append(inputs[0]))
        x = unit(x)
        num_positions = x[0, 0].numel() // given[0].shape[1]
        torch.testing.assert_close(made.reshape(given[0].mT.shape) / num_positions, given[0].mT)
    assert len(maps) == 1 + decoupled


@original_and_decoupled
def test_cgnl_s_maps_add_up_to_what_it_weighs_with(decoupled):
    block, x = block_and_clip("CGNL", SIZES[0], decoupled=decoupled)
    x = torch.from_numpy(x)
    maps = block.eval().attention_maps(x)
    for name, unit in block.named_children():
        assert maps[f"pairs_{name}"].shape == (B, 8, *SIZES[0])
        axes = {"clip": (2, 3, 4), "frame": (3, 4), "position": (2,)}[unit.over]
        weight = maps[f"pairs_{name}"].sum(axes, keepdim=True).repeat_interleave(C // 2 // 8, dim=1)
        y = x + unit.bn(unit.out(unit.query(x) * weight))
        torch.testing.assert_close(unit(x), y)
        x = y
    assert len(maps) == 1 + decoupled


def test_gcnet_s_maps_are_one_distribution_over_each_set():
    for decoupled, sums in (
        (False, {"context_spacetime": (1, 2, 3)}),
        (True, {"context_spatial": (2, 3), "context_temporal": 1}),
    ):
        block, x = block_and_clip("GCNet", SIZES[0], decoupled=decoupled)
        maps = block.attention_maps(torch.from_numpy(x))
        assert set(maps) == set(sums)
        for name, axes in sums.items():
            assert maps[name].shape == (B, *SIZES[0])
            total = maps[name].sum(axes)
            torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CGNL", {"GROUPS": 3}, "GROUPS is 3; it must divide the 16 channels inside the block and the 32 outside"),
        ("GCNet", {"RATIO": 32}, "RATIO is 32; it must leave at least 2 of the 32 channels"),
        ("GloRe", {"NUM_NODES": 0}, "NUM_NODES is 0; it must be at least 1"),
        ("CBAM", {"RATIO": 33}, "RATIO is 33; it must be from 1 to the 32 channels"),
        ("W3", {"RATIO": 0}, "RATIO is 0; it must be from 1 to the 32 channels"),
        ("TAPE", {"HEADS": "many"}, "HEADS is 'many'; it must be one of ccmh, multi_head, single"),
        ("TAPE", {"HEADS": "ccmh", "GROUPS": 3}, "GROUPS is 3; it must divide the 8 channels"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_attention(name, C, 3, options=options)
