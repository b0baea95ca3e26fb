"""TAPE, temporal attention with positional embedding, with one head or cross-channel heads.

He et al., "GTA: Global Temporal Attention for Video Action Understanding", BMVC 2021 (arXiv:2012.08510): equation 4
with an embedding; table 12 gives it GTA's cross-channel heads (equations 7 and 8), of which the paper says no more.

The reading of table 12 here: equations 7 and 8 hold as they stand, but that the T x T matrix of group g and head k,
which GTA learns, is attention: M_g^k = softmax(Q_k K_g^T / sqrt(D)), Q and K split into G groups as V is. So each of
the G x G pairs has a matrix of its own, every head reads every group, and no parameter is added to TAPE's. With
"multi_head" only M_g = softmax(Q_g K_g^T / sqrt(D)) remains, which is ordinary multi-head attention.

Legend: B batch, C channel, T frame, H W space, N = H*W, E channels inside, G groups (and heads), D = E/G.
"""

import torch
from torch import Tensor, nn

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.attention.gta import check_groups
from slowfast_gta.models.attention.self_attention import SA, TA, _DotProductAttention, check_num_frames, unrows


class _PositionedTA(TA):
    """TA whose Q, K and V carry a learned embedding of the frame's position in time; in one head or several."""

    time_permutation_equivariant = False
    time_axes = {"embedding": (0,)}

    def __init__(self, dim: int, num_frames: int, dim_inner: int | None, heads: str, groups: int):
        super().__init__(dim, num_frames, dim_inner)
        self.heads = heads
        self.groups = check_groups(heads, groups, self.query.out_channels)
        # N(0, 1), as large as the projections it is added to: started at 0.02 it is drowned by them.
        self.embedding = nn.Parameter(torch.randn(num_frames, self.query.out_channels))

    def project(self, x: Tensor, by: _DotProductAttention | None = None) -> tuple[Tensor, Tensor, Tensor]:
        check_num_frames(self, x, len(self.embedding))
        position = self.embedding.t()[:, :, None, None]  # (E, T, 1, 1)
        query, key, value = (part + position.to(part.dtype) for part in super().project(x, by))
        return query, key, value

    def arrange(self, projected: Tensor) -> Tensor:
        rows_BNTE = super().arrange(projected)
        if self.heads == "single":
            return rows_BNTE
        rows_BNGTD = rows_BNTE.unflatten(3, (self.groups, -1)).transpose(2, 3)
        # Equations 7 and 8 together are one attention from (head, frame) to (group, frame).
        return rows_BNGTD.flatten(2, 3) if self.heads == "ccmh" else rows_BNGTD

    def rearrange(self, attended: Tensor, x: Tensor) -> Tensor:
        if self.heads == "single":
            return super().rearrange(attended, x)
        attended_BNGTD = attended.unflatten(2, (self.groups, -1)) if self.heads == "ccmh" else attended
        return unrows(attended_BNGTD.permute(0, 3, 1, 2, 4).flatten(3), x)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.heads == "ccmh":
            return self.matrices(query, key) @ value
        if self.heads == "multi_head":  # positions and heads in one axis: fused kernels and ONNX take four axes
            attended = super().attend(query.flatten(1, 2), key.flatten(1, 2), value.flatten(1, 2))
            return attended.unflatten(1, query.shape[1:3])
        return super().attend(query, key, value)

    def matrices(self, query: Tensor, key: Tensor) -> Tensor:
        """CCMH's (B, N, G*T, G*T): row (k, t) has M_1^k .. M_G^k side by side, each with a softmax of its own."""
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        return scores.unflatten(-1, (self.groups, -1)).softmax(-1).flatten(-2)

    def weights(self, x: Tensor, by: _DotProductAttention | None = None) -> Tensor:
        """(B, N, T, T), averaged over heads and groups where there are several."""
        if self.heads == "single":
            return super().weights(x, by)
        if self.heads == "multi_head":
            return super().weights(x, by).mean(2)
        query, key, _ = (self.arrange(part) for part in self.project(x, by))
        matrices = self.matrices(query, key)
        return matrices.unflatten(3, (self.groups, -1)).unflatten(2, (self.groups, -1)).mean((2, 4))


@ATTENTION_REGISTRY.register()
class TAPE(nn.Module):
    """Temporal attention with positional embedding, alone or (`spatial`) after SA. E = C/4 in each.

    heads: "single", "ccmh" (cross-channel multi-head) or "multi_head", with `groups` groups: see the top of the file.
    """

    fixed_num_frames = True

    def __init__(
        self,
        dim: int,
        num_frames: int,
        spatial: bool = False,
        dim_inner: int | None = None,
        pool: str = "after",
        heads: str = "single",
        groups: int = 8,
    ):
        super().__init__()
        self.spatial = SA(dim, num_frames, dim_inner, pool) if spatial else None
        self.temporal = _PositionedTA(dim, num_frames, dim_inner, heads, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.temporal(x if self.spatial is None else self.spatial(x))

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"temporal": (B, H*W, T, T)}, and {"spatial": (B, T, N, M)} with SA."""
        if self.spatial is None:
            return self.temporal.attention_maps(x)
        return self.spatial.attention_maps(x) | self.temporal.attention_maps(self.spatial(x))
