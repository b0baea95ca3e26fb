"""NL, the non-local block: every position of the clip attends to every other.

Wang et al., "Non-local Neural Networks", CVPR 2018 (arXiv:1711.07971); equations 1 and 2 of He et al. (GTA).
Parameter names, the pooling and the dot-product form are PySlowFast's, so its checkpoints load.

Legend: B batch, C channel, T frame, H W space, N = T*H*W, M = N after pooling, E channels inside.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.attention.self_attention import POOL_PLACES, max_pool, rows, unrows, zero_batch_norm
from slowfast_gta.models.layers import OptionError, Projection, add, project


@ATTENTION_REGISTRY.register()
class NL(nn.Module):
    """Non-local block. E = C/2.

    instantiation: "softmax" (scaled, equation 1) or "dot_product" (divided by M).
    pool: K and V are max-pooled by `pool_size` "after" their projections, "before" them (PySlowFast), or "none".
    group: the clip is attended in this many consecutive parts in time (PySlowFast's NONLOCAL.GROUP).
    bias: biases in the projections, as PySlowFast has them.
    """

    time_permutation_equivariant = True  # with group 1 and no temporal pooling

    def __init__(
        self,
        dim: int,
        num_frames: int,
        dim_inner: int | None = None,
        instantiation: str = "softmax",
        pool: str = "after",
        pool_size: tuple[int, int, int] = (1, 2, 2),
        group: int = 1,
        bias: bool = False,
    ):
        super().__init__()
        if instantiation not in ("softmax", "dot_product"):
            raise OptionError(
                f"INSTANTIATION is {instantiation!r}; it must be softmax or dot_product.", "INSTANTIATION"
            )
        if pool not in POOL_PLACES:
            raise OptionError(f"POOL is {pool!r}; it must be one of {', '.join(POOL_PLACES)}.", "POOL")
        if group < 1 or num_frames % group:
            raise OptionError(f"GROUP is {group}; it must divide the {num_frames} frames at this block.", "GROUP")
        if len(pool_size) != 3 or min(pool_size) < 1:
            raise OptionError(
                f"POOL_SIZE is {list(pool_size)}; it must be three numbers, each at least 1: frames, height, width.",
                "POOL_SIZE",
            )
        dim_inner = dim // 2 if dim_inner is None else dim_inner
        self.instantiation = instantiation
        self.pool = pool
        self.pool_size = tuple(pool_size)
        self.group = group
        self.conv_theta = Projection(dim, dim_inner, bias)
        self.conv_phi = Projection(dim, dim_inner, bias)
        self.conv_g = Projection(dim, dim_inner, bias)
        self.conv_out = Projection(dim_inner, dim, bias)
        self.bn = zero_batch_norm(dim)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Q (B, N, E) and K, V (B, M, E)."""
        if self.pool == "before":
            key, value = project(max_pool(x, self.pool_size), self.conv_phi, self.conv_g)
            query = self.conv_theta(x)
        else:
            key, value, query = project(x, self.conv_phi, self.conv_g, self.conv_theta)
        if self.pool == "after":
            key, value = max_pool(key, self.pool_size), max_pool(value, self.pool_size)
        query, key, value = (rows(part).flatten(1, 2) for part in (query, key, value))
        return query, key, value

    def attend(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> what is added to it."""
        query, key, value = self.project(x)
        if self.instantiation == "softmax":
            # A head axis of 1: the fused kernels, whose memory is linear in N, take four axes.
            attended = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        else:
            attended = (query @ key.transpose(1, 2) / key.shape[1]) @ value
        return self.bn(self.conv_out(unrows(attended.unflatten(1, (x.shape[2], -1)), x)))

    def forward(self, x: Tensor) -> Tensor:
        if self.group == 1:
            return add(x, self.attend(x))
        batch, dim, frames, height, width = x.shape
        parts = x.transpose(1, 2).reshape(batch * self.group, frames // self.group, dim, height, width).transpose(1, 2)
        attended = self.attend(parts).transpose(1, 2).reshape(batch, frames, dim, height, width).transpose(1, 2)
        return x + attended.to(x.dtype)

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"spacetime": (B, N, M)}, for the whole clip as one group."""
        query, key, _ = self.project(x)
        if self.instantiation == "softmax":
            return {"spacetime": (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).softmax(-1)}
        return {"spacetime": query @ key.transpose(1, 2) / key.shape[1]}
