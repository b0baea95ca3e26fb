"""GTA, Global Temporal Attention: one learned T x T matrix for all videos, on pixels and on regions.

He et al., "GTA: Global Temporal Attention for Video Action Understanding", BMVC 2021 (arXiv:2012.08510),
equations 5-8. Equation numbers below are those of the BMVC paper; no public code to compare with.

Legend: B batch, C channel, T frame, H W space, N = H*W, E channels inside, G groups (and heads), D = E/G,
R regions.

Choices where the paper leaves one: W_G reads V (the paper writes X, but only V gives its printed FLOPs and
parameters); R = E/8; the T x T matrices start as N(0, 1 / number of summed terms), which keeps V's variance.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.attention.self_attention import SA, check_num_frames, rows, unrows, zero_batch_norm
from slowfast_gta.models.layers import (
    OptionError,
    Projection,
    add,
    in_full_range,
    not_to_float16,
    project,
    takes_gpu_form,
)

HEADS = ("ccmh", "multi_head", "single")
MIXES = ("learned", "frozen", "identity")
REGION_KINDS = ("dynamic", "static")
REGION_NORMS = ("none", "softmax")


def check_groups(heads: str, groups: int, dim: int) -> int:
    """How many groups `heads` has: 1 for "single". Raises ValueError for unknown heads, groups that do not divide."""
    if heads not in HEADS:
        raise OptionError(f"HEADS is {heads!r}; it must be one of {', '.join(HEADS)}.", "HEADS")
    if heads == "single":
        return 1
    if groups < 1 or dim % groups:
        raise OptionError(f"GROUPS is {groups}; it must divide the {dim} channels inside the block.", "GROUPS")
    return groups


class TemporalMix(nn.Module):
    """A = M V with learned M, the same for every video (equation 6), in one of three forms of heads.

    weight, M (to, from): "ccmh" (G groups, G heads, T, T): heads concatenated, groups summed (equations 7, 8);
    "multi_head" (G, T, T): one matrix for each group; "single" (1, T, T): one for all channels.
    mix: "learned" as published; "frozen" leaves M at its random start; with "identity" A = V. These two ask whether it
    is the learned M that helps. M is drawn in all three, so that the rest of a network starts alike for one seed.
    """

    time_axes = {"weight": (-2, -1)}

    weight: Tensor

    def __init__(self, num_frames: int, dim: int, heads: str, groups: int, mix: str = "learned"):
        super().__init__()
        if mix not in MIXES:
            raise OptionError(f"MIX is {mix!r}; it must be one of {', '.join(MIXES)}.", "MIX")
        self.heads = heads
        self.groups = groups = check_groups(heads, groups, dim)
        shape = (groups, groups) if heads == "ccmh" else (groups,)
        summed = num_frames * (groups if heads == "ccmh" else 1)
        weight = torch.randn(*shape, num_frames, num_frames) * summed**-0.5
        if mix == "identity":
            own_group = torch.eye(groups) if heads == "ccmh" else torch.ones(groups)
            weight = own_group[..., None, None] * torch.eye(num_frames)
        if mix == "learned":
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)

    def forward(self, v_BTNE: Tensor) -> Tensor:
        """(B, T, N, E) -> (B, T, N, E); N positions or regions."""
        batch, frames, positions, _ = v_BTNE.shape
        v_BGTND = v_BTNE.unflatten(3, (self.groups, -1)).permute(0, 3, 1, 2, 4)
        weight = self.weight.to(v_BTNE.dtype)
        if self.heads == "ccmh":
            # Equations 7 and 8 together are one linear map from (group, frame) to (head, frame): one product.
            weight = weight.permute(1, 2, 0, 3).reshape(self.groups * frames, self.groups * frames)
            v = v_BGTND.reshape(batch, self.groups * frames, -1)
            # In training, @ would copy V once more, to spare itself a weight for each clip; bmm copies neither.
            mixed = torch.bmm(weight.expand(batch, -1, -1), v) if takes_gpu_form(v) else weight @ v
        else:
            mixed = weight @ v_BGTND.reshape(batch, self.groups, frames, -1)
        return mixed.view(batch, self.groups, frames, positions, -1).permute(0, 2, 3, 1, 4).flatten(3)

    def matrix(self) -> Tensor:
        """The T x T matrix (to, from), averaged over groups and heads as in the paper's figure 15."""
        return self.weight.detach().flatten(0, -3).mean(0)


class PixelGTA(nn.Module):
    """What Pixel GTA adds to X: V = X W_V, A = M V at each position, W_O, BatchNorm (equations 5, 6)."""

    def __init__(self, dim: int, dim_inner: int, num_frames: int, heads: str, groups: int, mix: str = "learned"):
        super().__init__()
        self.value = Projection(dim, dim_inner)
        self.mix = TemporalMix(num_frames, dim_inner, heads, groups, mix)
        self.out = Projection(dim_inner, dim)
        self.bn = zero_batch_norm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.of_value(self.value(x))

    def of_value(self, value: Tensor) -> Tensor:
        """The same from V (B, E, T, H, W) on."""
        return self.bn(self.out(unrows(self.mix(rows(value)), value)))


class RegionGTA(PixelGTA):
    """What Region GTA adds to X: per frame V_G = G_R V, then A = G_R^T (M V_G), W_O, BatchNorm (equation 6).

    kind "dynamic": G_R = W_G V^T, from the frame itself (BMVC). "static": G_R is learned, (T, R, N) (arXiv v1);
    at another H x W than it was built for, it is resized bilinearly.
    norm "softmax" normalises G_R over the positions of a frame; "none" is as published.
    """

    time_axes = {"static": (0,)}
    full_range = ("assign", "out", "bn")  # what forward computes in float32 where clips are float16

    def __init__(
        self,
        dim: int,
        dim_inner: int,
        num_frames: int,
        heads: str,
        groups: int,
        num_regions: int,
        kind: str = "dynamic",
        norm: str = "none",
        spatial_size: tuple[int, int] | None = None,
        mix: str = "learned",
    ):
        if kind not in REGION_KINDS:
            raise OptionError(f"REGION_KIND is {kind!r}; it must be one of {', '.join(REGION_KINDS)}.", "REGION_KIND")
        if norm not in REGION_NORMS:
            raise OptionError(f"REGION_NORM is {norm!r}; it must be one of {', '.join(REGION_NORMS)}.", "REGION_NORM")
        if num_regions < 1:
            raise OptionError(f"NUM_REGIONS is {num_regions}; it must be at least 1.", "NUM_REGIONS")
        super().__init__(dim, dim_inner, num_frames, heads, groups, mix)
        self.norm = norm
        self.assign: Projection | None = None
        if kind == "dynamic":
            self.assign = Projection(dim_inner, num_regions)
        else:
            if spatial_size is None:
                raise OptionError(
                    "REGION_KIND static learns a weight for each position and so needs spatial_size.", "REGION_KIND"
                )
            positions = spatial_size[0] * spatial_size[1]
            self.static = nn.Parameter(torch.randn(num_frames, num_regions, *spatial_size) * positions**-0.5)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RegionGTA":
        """`.half()` and its like are for W_V alone: what is behind V is computed in float32."""
        super()._apply(not_to_float16(fn), recurse)
        self.value._apply(fn, recurse)
        return self

    def regions(self, value: Tensor) -> Tensor:
        """G_R^T, (B, T, N, R) for V (B, E, T, H, W): how much of each position belongs to each region."""
        if self.assign is not None:
            regions = rows(self.assign(value.to(self.assign.weight.dtype)))
        else:
            static = self.static
            if static.shape[2:] != value.shape[3:]:
                static = F.interpolate(static, size=value.shape[3:], mode="bilinear", align_corners=False)
            regions = static.flatten(2).transpose(1, 2)[None].expand(value.shape[0], -1, -1, -1).to(value.dtype)
        return regions.softmax(2) if self.norm == "softmax" else regions

    def of_value(self, value: Tensor) -> Tensor:
        return in_full_range(self._of_value, value)

    def _of_value(self, value: Tensor) -> Tensor:
        """From V on: cubic in it and summed over N, 3e5 and more in a new ResNet-50, until BatchNorm divides by it."""
        regions = self.regions(value)
        pooled_BTRE = regions.transpose(2, 3) @ rows(value)
        return self.bn(self.out(unrows(regions @ self.mix(pooled_BTRE), value)))


@ATTENTION_REGISTRY.register()
class GTA(nn.Module):
    """SA (unless `spatial` is off), then Y = X + Pixel GTA + Region GTA (equation 5). E = C/4 in each.

    heads: "ccmh" (cross-channel multi-head), "multi_head" (without the sum over groups), "single".
    num_regions: R; by default E / region_ratio. region_kind, region_norm: see RegionGTA. mix: see TemporalMix.
    freeze_projections: W_V and W_O stay at their random start, and what is learned is M (and W_G, BatchNorm, SA).
    """

    fixed_num_frames = True

    def __init__(
        self,
        dim: int,
        num_frames: int,
        spatial: bool = True,
        pixel: bool = True,
        region: bool = True,
        heads: str = "ccmh",
        groups: int = 8,
        num_regions: int | None = None,
        region_ratio: int = 8,
        region_kind: str = "dynamic",
        region_norm: str = "none",
        dim_inner: int | None = None,
        pool: str = "after",
        mix: str = "learned",
        freeze_projections: bool = False,
        spatial_size: tuple[int, int] | None = None,
    ):
        super().__init__()
        if not pixel and not region:
            raise OptionError(
                "PIXEL and REGION are both off; GTA needs at least one of them (SA alone is a block).",
                "PIXEL",
                "REGION",
            )
        dim_inner = dim // 4 if dim_inner is None else dim_inner
        if num_regions is None:
            if region_ratio < 1:
                raise OptionError(f"REGION_RATIO is {region_ratio}; it must be at least 1.", "REGION_RATIO")
            num_regions = max(1, dim_inner // region_ratio)
        self.num_frames = num_frames
        self.time_permutation_equivariant = mix == "identity"
        self.spatial = SA(dim, num_frames, dim_inner, pool) if spatial else None
        shared = (dim, dim_inner, num_frames, heads, groups)
        self.pixel = PixelGTA(*shared, mix) if pixel else None
        self.region = RegionGTA(*shared, num_regions, region_kind, region_norm, spatial_size, mix) if region else None
        if freeze_projections:
            for part in (self.pixel, self.region):
                for projection in (part.value, part.out) if part is not None else ():
                    projection.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        check_num_frames(self, x, self.num_frames)
        if self.spatial is not None:
            x = self.spatial(x)
        parts: list[Any] = [part for part in (self.pixel, self.region) if part is not None]
        y = x
        for part, value in zip(parts, project(x, *(part.value for part in parts)), strict=True):
            y = add(y, part.of_value(value))
        return y

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"spatial": (B, T, N, M), "global_pixel", "global_region": (T, T), "regions": (B, T, H, W, R)}."""
        maps: dict[str, Tensor] = {}
        if self.spatial is not None:
            maps |= self.spatial.attention_maps(x)
            x = self.spatial(x)
        if self.pixel is not None:
            maps["global_pixel"] = self.pixel.mix.matrix()
        if self.region is not None:
            maps["global_region"] = self.region.mix.matrix()
            maps["regions"] = self.region.regions(self.region.value(x)).unflatten(2, x.shape[3:])
        return maps
