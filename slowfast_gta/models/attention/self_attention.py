"""Dot-product attention over space, over time: SA, TA, DNL.

He et al., "GTA: Global Temporal Attention for Video Action Understanding", BMVC 2021 (arXiv:2012.08510),
equations 1-4; Wang et al., "Non-local Neural Networks", CVPR 2018 (arXiv:1711.07971).
Reference for names and the dot-product form: PySlowFast's non-local block.

Legend: B batch, C channel, T frame, H W space, N positions attended from (T*H*W in NL, H*W in SA),
M positions attended to (N after pooling), E channels inside the block.
Memory is best in torch.channels_last_3d: then nothing here needs a copy but the change between space and time.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.layers import (
    BatchNorm3d,
    OptionError,
    Projection,
    add,
    batch_to_frames,
    frames_to_batch,
    project,
)

POOL_PLACES = ("after", "before", "none")


def rows(x_BCTHW: Tensor) -> Tensor:
    """(B, C, T, H, W) as (B, T, H*W, C); a view where memory is channels_last_3d."""
    return x_BCTHW.permute(0, 2, 3, 4, 1).flatten(2, 3)


def unrows(x_BTNC: Tensor, like_BCTHW: Tensor) -> Tensor:
    """The inverse of `rows`, for the T, H, W of another tensor; always a view."""
    return x_BTNC.unflatten(2, like_BCTHW.shape[3:]).permute(0, 4, 1, 2, 3)


def zero_batch_norm(dim: int) -> nn.BatchNorm3d:
    """A BatchNorm with weight 0: behind it, a new block adds nothing."""
    norm = BatchNorm3d(dim)
    nn.init.zeros_(norm.weight)
    norm.zero_init = True  # type: ignore[assignment]  # a mark for tests and fvcore: torch takes attributes for modules
    return norm


def max_pool(x: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Max-pool (B, C, T, H, W) without overlap; an axis shorter than the kernel is pooled whole."""
    frames, *window = (min(k, size) for k, size in zip(kernel, x.shape[2:], strict=True))
    if frames == 1:  # as images: less to do than in 3-D, and on a GPU its gradient is exact
        return batch_to_frames(F.max_pool2d(frames_to_batch(x), window), x.shape[2])
    return F.max_pool3d(x, (frames, *window))


class _DotProductAttention(nn.Module):
    """Q, K, V, an attention over some of the positions, W_O, BatchNorm, + X (equations 1 and 2).

    `pool`: K and V are max-pooled 1x2x2 "after" their projections, "before" them, or not ("none").
    """

    def __init__(self, dim: int, dim_inner: int, pool: str = "none"):
        super().__init__()
        if pool not in POOL_PLACES:
            raise OptionError(f"POOL is {pool!r}; it must be one of {', '.join(POOL_PLACES)}.", "POOL")
        self.pool = pool
        self.query = Projection(dim, dim_inner)
        self.key = Projection(dim, dim_inner)
        self.value = Projection(dim, dim_inner)
        self.out = Projection(dim_inner, dim)
        self.bn = zero_batch_norm(dim)

    def project(self, x: Tensor, by: "_DotProductAttention | None" = None) -> tuple[Tensor, Tensor, Tensor]:
        """Q (B, E, T, H, W) and K, V (B, E, T, H', W'); `by` another attention's projections, where given."""
        by = self if by is None else by
        if self.pool == "before":
            key, value = project(max_pool(x, (1, 2, 2)), by.key, by.value)
            return by.query(x), key, value
        key, value, query = project(x, by.key, by.value, by.query)
        if self.pool == "after":
            key, value = max_pool(key, (1, 2, 2)), max_pool(value, (1, 2, 2))
        return query, key, value

    def arrange(self, projected: Tensor) -> Tensor:
        """(B, E, T, H, W) as (..., positions attended among, E)."""
        raise NotImplementedError

    def rearrange(self, attended: Tensor, x: Tensor) -> Tensor:
        """The inverse of `arrange`, for the T, H, W of x."""
        raise NotImplementedError

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """softmax(Q K^T / sqrt(E)) V, all as `arrange` gives them."""
        return F.scaled_dot_product_attention(query, key, value)

    def forward(self, x: Tensor, by: "_DotProductAttention | None" = None) -> Tensor:
        attended = self.attend(*(self.arrange(part) for part in self.project(x, by)))
        return add(x, self.bn(self.out(self.rearrange(attended, x))))

    def weights(self, x: Tensor, by: "_DotProductAttention | None" = None) -> Tensor:
        """softmax(Q K^T / sqrt(E)), (..., positions from, positions to)."""
        query, key, _ = (self.arrange(part) for part in self.project(x, by))
        return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)


@ATTENTION_REGISTRY.register()
class SA(_DotProductAttention):
    """Spatial self-attention: each position attends to those of its own frame (equation 3). E = C/4."""

    time_permutation_equivariant = True

    def __init__(self, dim: int, num_frames: int, dim_inner: int | None = None, pool: str = "after"):
        super().__init__(dim, dim // 4 if dim_inner is None else dim_inner, pool)

    def arrange(self, projected: Tensor) -> Tensor:
        return rows(projected)

    def rearrange(self, attended: Tensor, x: Tensor) -> Tensor:
        return unrows(attended, x)

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"spatial": (B, T, N, M)}."""
        return {"spatial": self.weights(x)}


@ATTENTION_REGISTRY.register()
class TA(_DotProductAttention):
    """Temporal self-attention: each position attends to itself in the other frames (equation 4). E = C/4."""

    time_permutation_equivariant = True

    def __init__(self, dim: int, num_frames: int, dim_inner: int | None = None):
        super().__init__(dim, dim // 4 if dim_inner is None else dim_inner)

    def arrange(self, projected: Tensor) -> Tensor:
        return rows(projected).transpose(1, 2)  # (B, H*W, T, E)

    def rearrange(self, attended: Tensor, x: Tensor) -> Tensor:
        return unrows(attended.transpose(1, 2), x)

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"temporal": (B, H*W, T, T)}."""
        return {"temporal": self.weights(x)}


@ATTENTION_REGISTRY.register()
class DNL(nn.Module):
    """Decoupled non-local: SA, then TA with projections of its own. E = C/4 in each.

    swap: SA attends with TA's Q, K and V, and TA with SA's (arXiv v1, appendix D: for figures, of trained weights).
    The parameters stay; `block.swap` may be set at any time.
    """

    time_permutation_equivariant = True

    def __init__(
        self, dim: int, num_frames: int, dim_inner: int | None = None, pool: str = "after", swap: bool = False
    ):
        super().__init__()
        self.swap = swap
        self.spatial = SA(dim, num_frames, dim_inner, pool)
        self.temporal = TA(dim, num_frames, dim_inner)

    def projections(self) -> tuple[SA | TA, SA | TA]:
        """Whose Q, K and V the spatial half uses, and whose the temporal half."""
        return (self.temporal, self.spatial) if self.swap else (self.spatial, self.temporal)

    def forward(self, x: Tensor) -> Tensor:
        by_spatial, by_temporal = self.projections()
        return self.temporal(self.spatial(x, by_spatial), by_temporal)

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"spatial": (B, T, N, M), "temporal": (B, H*W, T, T)}."""
        by_spatial, by_temporal = self.projections()
        return {
            "spatial": self.spatial.weights(x, by_spatial),
            "temporal": self.temporal.weights(self.spatial(x, by_spatial), by_temporal),
        }


def check_num_frames(block: nn.Module, x: Tensor, num_frames: int) -> None:
    """Raises ValueError where x (B, C, T, H, W) has another T than the block's parameters."""
    if x.shape[2] != num_frames:
        raise ValueError(
            f"{type(block).__name__} was built for {num_frames} frames but was given {x.shape[2]}: "
            "its parameters depend on the number of frames (DATA.NUM_FRAMES)."
        )
