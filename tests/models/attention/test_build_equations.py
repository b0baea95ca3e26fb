"""Every block against loops written from the paper's equations (BMVC 2021: 1-8), in numpy, one position at a time.

Legend: B batch, C channel, T frame, H W space, E channels inside, G groups and heads, D = E/G, R regions.
T, H, W, C, E, G, D and R all differ, so that a swapped axis cannot hide; H and W are odd, so that pooling drops some.
"""

from itertools import product

import numpy as np
import pytest
import torch
from naive_attention import naive_nl, naive_sa, naive_ta, normalised, project, softmax, weight_of
from randomised import randomise
from torch import nn

from slowfast_gta.models.attention import build_attention

B, C, T, H, W, G, R = 2, 32, 3, 5, 7, 4, 6


def naive_mix(v_TE: np.ndarray, weight: np.ndarray, heads: str) -> np.ndarray:
    """M V for one position or region: equation 6, with equations 7 and 8 where heads is ccmh."""
    frames, channels = v_TE.shape
    if heads == "single":
        return np.array([sum(weight[0, t, u] * v_TE[u] for u in range(frames)) for t in range(frames)])
    groups, width = len(weight), channels // len(weight)
    of_group = [v_TE[:, g * width : (g + 1) * width] for g in range(groups)]  # V_g, (T, D)
    if heads == "multi_head":
        return np.concatenate([weight[g] @ of_group[g] for g in range(groups)], axis=1)
    total = np.zeros((groups, frames, width))  # MH_G, (N_h, T, D)
    for g in range(groups):
        total += np.stack([weight[g, k] @ of_group[g] for k in range(groups)])  # MH_g: concatenated over k
    out = np.zeros((frames, channels))
    for k in range(groups):
        out[:, k * width : (k + 1) * width] = total[k]
    return out


def naive_pixel(x: np.ndarray, part: nn.Module, heads: str) -> np.ndarray:
    """A_P W_O, normalised: each position by itself."""
    value, weight = project(x, part.value), part.mix.weight.detach().numpy()
    mixed = np.zeros_like(value)
    for b, i, j in product(range(len(x)), range(x.shape[3]), range(x.shape[4])):
        mixed[b, :, :, i, j] = naive_mix(value[b, :, :, i, j].T, weight, heads).T
    return normalised(project(mixed, part.out), part.bn, part.training)


def naive_region(x: np.ndarray, part: nn.Module, heads: str, norm: str, static: np.ndarray | None) -> np.ndarray:
    """A_R W_O, normalised: V_G = G_R V in each frame, M over frames in each region, then G_R^T."""
    value, weight = project(x, part.value), part.mix.weight.detach().numpy()
    batch, channels, frames, height, width = value.shape
    positions = list(product(range(height), range(width)))
    mixed = np.zeros_like(value)
    for b in range(batch):
        region_of = []  # G_R of each frame, (R, N)
        for t in range(frames):
            if static is None:
                rows = weight_of(part.assign) @ np.stack([value[b, :, t, i, j] for i, j in positions], axis=1)
            else:
                rows = np.stack([[static[t, r, i, j] for i, j in positions] for r in range(static.shape[1])])
            region_of.append(np.stack([softmax(row) for row in rows]) if norm == "softmax" else rows)
        for r in range(len(region_of[0])):
            pooled = np.zeros((frames, channels))  # V_G of this region
            for t in range(frames):
                for n, (i, j) in enumerate(positions):
                    pooled[t] += region_of[t][r, n] * value[b, :, t, i, j]
            back = naive_mix(pooled, weight, heads)
            for t in range(frames):
                for n, (i, j) in enumerate(positions):
                    mixed[b, :, t, i, j] += region_of[t][r, n] * back[t]
    return normalised(project(mixed, part.out), part.bn, part.training)


def resized(static: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centres at half numbers, clamped at the edges."""
    out = np.zeros((*static.shape[:2], height, width))
    for i, j in product(range(height), range(width)):
        y = max((i + 0.5) * static.shape[2] / height - 0.5, 0.0)
        x = max((j + 0.5) * static.shape[3] / width - 0.5, 0.0)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, static.shape[2] - 1), min(left + 1, static.shape[3] - 1)
        upper = static[:, :, top, left] * (1 - (x - left)) + static[:, :, top, right] * (x - left)
        lower = static[:, :, bottom, left] * (1 - (x - left)) + static[:, :, bottom, right] * (x - left)
        out[:, :, i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return out


def block_and_clip(name: str, frames: int = T, built_for: tuple[int, int] = (H, W), **options):
    torch.manual_seed(5)
    block = randomise(build_attention(name, C, frames, built_for, options).double())
    return block, torch.randn(B, C, frames, H, W, dtype=torch.float64)


def assert_same(block: nn.Module, x: torch.Tensor, naive) -> None:
    """`naive(x as numpy)` gives what the block gives, to 1e-10, in eval and in training."""
    for mode in (False, True):
        block.train(mode)
        # The loops go first: they read the statistics that training then moves.
        expected = naive(x.numpy())
        np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["softmax", "dot_product"])
@pytest.mark.parametrize("pool", ["after", "before", "none"])
def test_nl(pool, kind):
    block, x = block_and_clip("NL", pool=pool, instantiation=kind, bias=pool == "before")
    assert_same(block, x, lambda x: naive_nl(x, block, pool, kind=kind))


@pytest.mark.parametrize("kind", ["softmax", "dot_product"])
def test_nl_in_two_groups_of_frames(kind):
    block, x = block_and_clip("NL", frames=4, group=2, instantiation=kind)
    assert_same(block, x, lambda x: naive_nl(x, block, group=2, kind=kind))


def test_nl_with_a_pool_of_its_own():
    block, x = block_and_clip("NL", frames=4, pool_size=(2, 3, 2), pool="before")
    assert_same(block, x, lambda x: naive_nl(x, block, "before", (2, 3, 2)))


@pytest.mark.parametrize("pool", ["after", "before", "none"])
def test_sa(pool):
    block, x = block_and_clip("SA", pool=pool)
    assert_same(block, x, lambda x: naive_sa(x, block, pool))


def test_ta():
    block, x = block_and_clip("TA")
    assert_same(block, x, lambda x: naive_ta(x, block))


@pytest.mark.parametrize("pool", ["after", "before"])
def test_dnl_is_space_then_time(pool):
    block, x = block_and_clip("DNL", pool=pool)
    assert_same(block, x, lambda x: naive_ta(naive_sa(x, block.spatial, pool), block.temporal))


@pytest.mark.parametrize("spatial", [False, True])
def test_tape(spatial):
    block, x = block_and_clip("TAPE", spatial=spatial)
    embedding = block.temporal.embedding.detach().numpy()
    assert embedding.shape == (T, C // 4)

    def naive(x: np.ndarray) -> np.ndarray:
        return naive_ta(naive_sa(x, block.spatial) if spatial else x, block.temporal, embedding)

    assert_same(block, x, naive)


@pytest.mark.parametrize("heads", ["ccmh", "multi_head", "single"])
def test_pixel_gta(heads):
    block, x = block_and_clip("GTA", heads=heads, groups=G, spatial=False, region=False)
    assert_same(block, x, lambda x: x + naive_pixel(x, block.pixel, heads))


@pytest.mark.parametrize("heads", ["ccmh", "multi_head", "single"])
@pytest.mark.parametrize("norm", ["none", "softmax"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_region_gta(kind, norm, heads):
    block, x = block_and_clip(
        "GTA", heads=heads, groups=G, spatial=False, pixel=False, num_regions=R, region_kind=kind, region_norm=norm
    )
    static = block.region.static.detach().numpy() if kind == "static" else None
    assert_same(block, x, lambda x: x + naive_region(x, block.region, heads, norm, static))


@pytest.mark.parametrize("built_for", [(4, 3), (9, 8)])
def test_static_regions_are_resized_to_the_frame(built_for):
    block, x = block_and_clip(
        "GTA", built_for=built_for, groups=G, spatial=False, pixel=False, num_regions=R, region_kind="static"
    )
    assert block.region.static.shape == (T, R, *built_for)
    static = resized(block.region.static.detach().numpy(), H, W)
    assert_same(block, x, lambda x: x + naive_region(x, block.region, "ccmh", "none", static))


@pytest.mark.parametrize("pool", ["after", "before"])
def test_gta_is_sa_then_the_sum_of_x_pixel_and_region(pool):
    block, x = block_and_clip("GTA", groups=G, pool=pool)

    def naive(x: np.ndarray) -> np.ndarray:
        y = naive_sa(x, block.spatial, pool)
        return y + naive_pixel(y, block.pixel, "ccmh") + naive_region(y, block.region, "ccmh", "none", None)

    assert_same(block, x, naive)


@pytest.mark.parametrize(
    ("name", "inner"),
    [("NL", C // 2), ("SA", C // 4), ("TA", C // 4), ("DNL", C // 4), ("TAPE", C // 4), ("GTA", C // 4)],
)
def test_channels_inside(name, inner):
    """networks.md: C/2 in NL, C/4 in every other; R = E/8, and it can be set, or its ratio."""
    block = build_attention(name, C, T)
    assert {part.out_channels for part in block.modules() if isinstance(part, nn.Conv3d)} - {C} <= {inner, inner // 8}
    if name == "GTA":
        assert block.region.assign.out_channels == C // 4 // 8
        assert build_attention(name, C, T, options={"REGION_RATIO": 2}).region.assign.out_channels == C // 4 // 2
        assert build_attention(name, C, T, options={"NUM_REGIONS": R}).region.assign.out_channels == R


def test_matrices_have_the_shapes_of_the_equations():
    shapes = {"ccmh": (G, G, T, T), "multi_head": (G, T, T), "single": (1, T, T)}
    for heads, shape in shapes.items():
        block = build_attention("GTA", C, T, options={"HEADS": heads, "GROUPS": G})
        assert block.pixel.mix.weight.shape == block.region.mix.weight.shape == shape
        assert not torch.equal(block.pixel.mix.weight, block.region.mix.weight)
    assert build_attention("GTA", C, T).pixel.mix.weight.shape == (8, 8, T, T)


@pytest.mark.parametrize(("heads", "summed"), [("ccmh", 64 * 8), ("multi_head", 64), ("single", 64)])
def test_a_new_matrix_keeps_the_variance_of_what_it_mixes(heads, summed):
    torch.manual_seed(0)
    weight = build_attention("GTA", C, 64, options={"HEADS": heads}).pixel.mix.weight
    assert weight.std().item() * summed**0.5 == pytest.approx(1, rel=0.05)
    assert abs(weight.mean().item()) < 4 * weight.std().item() / weight.numel() ** 0.5


def test_a_new_embedding_is_as_large_as_what_it_is_added_to():
    torch.manual_seed(0)
    assert build_attention("TAPE", 128, 32).temporal.embedding.std().item() == pytest.approx(1, abs=0.1)


def test_maps_are_the_ones_the_block_attends_with():
    """M V, with M from attention_maps, is what the block adds (before W_O and BatchNorm)."""
    block, x = block_and_clip("DNL")
    block.eval()
    maps = block.attention_maps(x)
    assert maps["spatial"].shape == (B, T, H * W, (H // 2) * (W // 2))
    assert maps["temporal"].shape == (B, H * W, T, T)
    y = block.spatial(x)
    value = block.temporal.value(y)
    mixed = torch.einsum("bntu,beun->betn", maps["temporal"], value.flatten(3)).unflatten(3, (H, W))
    added = block.temporal.bn(block.temporal.out(mixed))
    torch.testing.assert_close(y + added, block(x), rtol=0, atol=1e-10)

    for kind in ("softmax", "dot_product"):
        nl, x = block_and_clip("NL", instantiation=kind)
        nl.eval()
        _, _, value = nl.project(x)
        mixed = (nl.attention_maps(x)["spacetime"] @ value).transpose(1, 2).unflatten(2, (T, H, W))
        torch.testing.assert_close(x + nl.bn(nl.conv_out(mixed)), nl(x), rtol=0, atol=1e-10)


def test_gta_s_maps():
    block, x = block_and_clip("GTA", groups=G, num_regions=R, region_norm="softmax")
    maps = block.eval().attention_maps(x)
    assert set(maps) == {"spatial", "global_pixel", "global_region", "regions"}
    assert maps["regions"].shape == (B, T, H, W, R)
    torch.testing.assert_close(maps["regions"].sum((2, 3)), torch.ones(B, T, R, dtype=torch.float64))
    for name, part in (("global_pixel", block.pixel), ("global_region", block.region)):
        mean = sum(part.mix.weight[g, k] for g in range(G) for k in range(G)) / G**2
        torch.testing.assert_close(maps[name], mean.detach())
