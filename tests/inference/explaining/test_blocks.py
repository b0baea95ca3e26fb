"""What is shown of a block is what its equation says: loops over positions, in float64 (shared networks' equations)."""

import math

import numpy as np
import pytest
import torch
from block_cases import CASES, IDS, block_of, clip
from naive_attention import max_pooled, naive_sa, project, softmax, weight_of
from randomised import randomise
from torch import nn

from slowfast_gta.inference.explaining.blocks import added_by_frames, shown_of, unpooled
from slowfast_gta.inference.explaining.shown import Cell

CELL = Cell(1, 2, 3)
X = clip(1, torch.float64)


def shown(name: str, options: dict) -> tuple[nn.Module, dict]:
    block = randomise(block_of(name, options, torch.float64)).eval()
    with torch.no_grad():
        return block, {one.kind: one for one in shown_of(block, X, CELL)}


def row(query: np.ndarray, keys: list[np.ndarray], kind: str = "softmax") -> np.ndarray:
    scores = np.array([query @ key for key in keys])
    return softmax(scores / math.sqrt(len(query))) if kind == "softmax" else scores / len(keys)


def spread(weights: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """(T, H, W) of windows' weights: each position that of its window, NaN where there is none."""
    out = np.full(size, np.nan)
    by = [max(1, whole // have) for whole, have in zip(size, weights.shape, strict=True)]
    for index in np.ndindex(size):
        window = tuple(one // step for one, step in zip(index, by, strict=True))
        if all(one < have for one, have in zip(window, weights.shape, strict=True)):
            out[index] = weights[window]
    return out


def keys_of(x: np.ndarray, key: nn.Module, pool: str, size: tuple = (1, 2, 2)) -> np.ndarray:
    source = max_pooled(x, size) if pool == "before" else x
    keys = project(source, key)
    return max_pooled(keys, size) if pool == "after" else keys


def naive_spatial(x: np.ndarray, query: nn.Module, key: nn.Module, pool: str) -> np.ndarray:
    queries, keys = project(x, query), keys_of(x, key, pool)
    maps = []
    for t in range(x.shape[2]):
        flat = [keys[0, :, t, i, j] for i, j in np.ndindex(keys.shape[3:])]
        maps.append(row(queries[0, :, t, CELL.row, CELL.column], flat).reshape(keys.shape[3:]))
    return spread(np.array(maps), x.shape[2:])


def naive_temporal(x: np.ndarray, query: nn.Module, key: nn.Module, embedding: np.ndarray | None = None) -> np.ndarray:
    queries, keys = (project(x, part)[0, :, :, CELL.row, CELL.column] for part in (query, key))
    if embedding is not None:
        queries, keys = queries + embedding.T, keys + embedding.T
    return np.array([row(queries[:, t], list(keys.T)) for t in range(x.shape[2])])


@pytest.mark.parametrize(
    "options", [{}, {"POOL": "before"}, {"POOL": "none"}, {"GROUP": 3}, {"INSTANTIATION": "dot_product", "BIAS": True}]
)
def test_nl(options):
    block, found = shown("NL", options)
    x, group = X.numpy(), options.get("GROUP", 1)
    length = x.shape[2] // group
    frames = slice(CELL.step // length * length, CELL.step // length * length + length)
    part = x[:, :, frames]
    keys = keys_of(part, block.conv_phi, options.get("POOL", "after"))
    query = project(x, block.conv_theta)[0, :, CELL.step, CELL.row, CELL.column]
    flat = [keys[0, :, t, i, j] for t, i, j in np.ndindex(keys.shape[2:])]
    weights = row(query, flat, options.get("INSTANTIATION", "softmax")).reshape(keys.shape[2:])
    expected = np.full(x.shape[2:], np.nan)
    expected[frames] = spread(weights, part.shape[2:])
    np.testing.assert_allclose(found["spacetime"].values[0], expected, rtol=1e-9, atol=1e-14)
    assert found["spacetime"].signed == ("INSTANTIATION" in options)


@pytest.mark.parametrize("pool", ["after", "before", "none"])
def test_sa(pool):
    block, found = shown("SA", {"POOL": pool})
    expected = naive_spatial(X.numpy(), block.query, block.key, pool)
    np.testing.assert_allclose(found["spatial"].values[0], expected, rtol=1e-9)


def test_ta_and_tape():
    block, found = shown("TA", {})
    expected = naive_temporal(X.numpy(), block.query, block.key)
    np.testing.assert_allclose(found["temporal_matrix"].values[0], expected, rtol=1e-9)
    np.testing.assert_allclose(found["temporal"].values[0], expected[CELL.step], rtol=1e-9)
    block, found = shown("TAPE", {"SPATIAL": True})
    x = naive_sa(X.numpy(), block.spatial)
    part = block.temporal
    expected = naive_temporal(x, part.query, part.key, part.embedding.detach().numpy())
    np.testing.assert_allclose(found["temporal_matrix"].values[0], expected, rtol=1e-9)
    np.testing.assert_allclose(
        found["spatial"].values[0], naive_spatial(X.numpy(), block.spatial.query, block.spatial.key, "after"), rtol=1e-9
    )


def test_dnl_and_its_swapped_form():
    """Swapped: each half with the other one's Q and K (and V, for what the second half is given)."""
    block, found = shown("DNL", {})
    x, sa, ta = X.numpy(), block.spatial, block.temporal
    np.testing.assert_allclose(found["spatial"].values[0], naive_spatial(x, sa.query, sa.key, "after"), rtol=1e-9)
    np.testing.assert_allclose(
        found["temporal_matrix"].values[0], naive_temporal(naive_sa(x, sa), ta.query, ta.key), rtol=1e-9
    )
    np.testing.assert_allclose(found["spatial_swap"].values[0], naive_spatial(x, ta.query, ta.key, "after"), rtol=1e-9)
    swapped = nn.Module()
    swapped.query, swapped.key, swapped.value, swapped.out, swapped.bn = ta.query, ta.key, ta.value, sa.out, sa.bn
    second = naive_sa(x, swapped.eval())
    np.testing.assert_allclose(
        found["temporal_matrix_swap"].values[0], naive_temporal(second, sa.query, sa.key), rtol=1e-9
    )
    assert block.swap is False, "the block is as it was"


@pytest.mark.parametrize("options", [{}, {"HEADS": "multi_head", "GROUPS": 4}, {"HEADS": "single", "SPATIAL": False}])
def test_gta_at_a_point(options):
    """Equations 6 to 8: what frame s adds to frame t, group by group; W_O and BatchNorm without their constants."""
    block, found = shown("GTA", options)
    x = naive_sa(X.numpy(), block.spatial) if block.spatial is not None else X.numpy()
    part, frames = block.pixel, x.shape[2]
    value = project(x, part.value)[0, :, :, CELL.row, CELL.column]  # (E, T)
    weight, groups = part.mix.weight.detach().numpy(), part.mix.groups
    size = len(value) // groups
    scale = (part.bn.weight / (part.bn.running_var + part.bn.eps).sqrt()).detach().numpy()
    added = []
    for s in range(frames):
        mixed = np.zeros(len(value))
        for head in range(groups):
            for group in range(groups) if part.mix.heads == "ccmh" else [head]:
                m = weight[group, head, CELL.step, s] if part.mix.heads == "ccmh" else weight[head, CELL.step, s]
                mixed[head * size : (head + 1) * size] += m * value[group * size : (group + 1) * size, s]
        added.append(scale * (weight_of(part.out) @ mixed))
    np.testing.assert_allclose(found["temporal_added"].values[0], np.linalg.norm(added, axis=1), rtol=1e-9)
    squares = [np.square(weight[index][CELL.step]) for index in np.ndindex(weight.shape[:-2])]
    np.testing.assert_allclose(found["temporal"].values[0], np.sqrt(np.mean(squares, 0)), rtol=1e-9)
    with torch.no_grad():  # all frames' parts together are what the block adds there, but for its constant
        y = block.spatial(X) if block.spatial is not None else X
        whole = (part(y) - part(torch.zeros_like(y)))[0, :, CELL.step, CELL.row, CELL.column]
        torch.testing.assert_close(added_by_frames(part, y, CELL).sum(0), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "softmax"])
def test_regions_of_gta(norm):
    """G_R = W_G V^T, each frame by itself."""
    block, found = shown("GTA", {"REGION_NORM": norm, "NUM_REGIONS": 3})
    value = project(project(naive_sa(X.numpy(), block.spatial), block.region.value), block.region.assign)[0]
    if norm == "softmax":
        for region, frame in np.ndindex(value.shape[:2]):
            value[region, frame] = softmax(value[region, frame].ravel()).reshape(value.shape[2:])
    order = [int(name.split()[1]) - 1 for name in found["regions"].rows]
    np.testing.assert_allclose(found["regions"].values, value[order], rtol=1e-9)
    deviations = found["regions"].values.std((1, 2, 3))
    assert sorted(order) == [0, 1, 2] and list(deviations) == sorted(deviations, reverse=True)
    assert found["regions"].signed == (norm == "none")


@pytest.mark.parametrize("name", ["CBAM", "W3"])
def test_masks(name):
    """CBAM: sigmoid(MLP(mean) + MLP(max)), then a 7x7 convolution of mean and max; W3: those convolved along time."""
    block, found = shown(name, {"RATIO": 4})
    x = X[0].numpy()
    part = block.channel
    hidden = [part.squeeze(torch.from_numpy(pooled)).relu() for pooled in (x.mean((2, 3)).T, x.max((2, 3)).T)]
    mask = sum(part.expand(one) for one in hidden).sigmoid().T.detach()
    if name == "W3":
        mask = part.temporal(mask[None])[0].sigmoid().detach()
    np.testing.assert_allclose(found["mask_channel"].values, mask.numpy(), rtol=1e-9)
    masked = x * mask.numpy()[:, :, None, None]
    kernel, bias = (value.detach().numpy() for value in (block.position.conv.weight[0, :, 0], block.position.conv.bias))
    both = np.pad(np.stack([masked.mean(0), masked.max(0)]), ((0, 0), (0, 0), (3, 3), (3, 3)))
    where = np.empty(masked.shape[1:])
    for t, i, j in np.ndindex(where.shape):
        where[t, i, j] = 1 / (1 + math.exp(-((both[:, t, i : i + 7, j : j + 7] * kernel).sum() + bias[0])))
    if name == "W3":
        where = block.position.temporal(torch.from_numpy(where)[None, None])[0, 0].sigmoid().detach().numpy()
    np.testing.assert_allclose(found["mask_position"].values[0], where, rtol=1e-9)


def test_the_other_non_local_blocks():
    """GCNet: softmax(W_k x) over the clip; GloRe: W x + b; CGNL: key times value, summed over a group's channels."""
    x = X.numpy()
    block, found = shown("GCNet", {})
    scores = project(x, block.spacetime.key)[0, 0]
    expected = softmax(scores.ravel()).reshape(scores.shape)
    np.testing.assert_allclose(found["context_spacetime"].values[0], expected, rtol=1e-9)
    block, found = shown("GloRe", {})
    values, order = found["nodes_spacetime"], [int(name.split()[1]) - 1 for name in found["nodes_spacetime"].rows]
    np.testing.assert_allclose(values.values, project(x, block.spacetime.assign)[0][order], rtol=1e-9)
    block, found = shown("CGNL", {"GROUPS": 2})
    product = project(x, block.spacetime.key)[0] * project(x, block.spacetime.value)[0]
    groups = product.reshape(2, -1, *x.shape[2:]).sum(1)
    order = [int(name.split()[1]) - 1 for name in found["pairs_spacetime"].rows]
    np.testing.assert_allclose(found["pairs_spacetime"].values, groups[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_every_block_has_something_to_show(name, options):
    _, found = shown(name, options)
    assert found
    for one in found.values():
        steps = one.values.shape[1] if one.form != "matrix" else one.values.shape[2]
        assert steps == X.shape[2] and np.isfinite(one.values).any(), one.kind


def test_a_block_of_ones_own_is_shown_by_its_shapes():
    class Own(nn.Module):
        def attention_maps(self, x):
            return {"clip": x.mean(1), "rows": x[:, :5], "frames": x[0, 0, :, 0, :3], "odd": x[0, 0, 0]}

    class Silent(nn.Module):
        pass

    found = {one.kind: one for one in shown_of(Own(), X, CELL)}
    assert {kind: one.form for kind, one in found.items()} == {"clip": "maps", "rows": "maps", "frames": "matrix"}
    assert found["rows"].values.shape == (5, *X.shape[2:]) and shown_of(Silent(), X, CELL) == []


def test_pooled_weights_lie_on_their_windows():
    found = unpooled(np.array([1.0, 2.0]), (1, 3, 5), (1, 2, 2))
    assert found[0, :2].tolist() == [[1, 1, 2, 2, pytest.approx(np.nan, nan_ok=True)]] * 2
    assert np.isnan(found[0, 2]).all() and unpooled(np.array([7.0]), (1, 1, 1), (4, 2, 2)).tolist() == [[[7.0]]]
