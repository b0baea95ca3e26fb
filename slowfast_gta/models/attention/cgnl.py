"""CGNL, compact generalized non-local: every channel at every position attends to every other such pair.

Yue et al., "Compact Generalized Non-local Network", NeurIPS 2018 (arXiv:1810.13125); the dot-product kernel.
Reference for E and the number of groups: the authors' KaiyuYue/cgnl-network.pytorch. Its PyTorch file ends in a
GroupNorm over W_z's own groups, which divides the attention out again (but for its sign); the paper and its Caffe
files have a BatchNorm, and so has this one.

Legend: B batch, C channel, S sets of P positions (see decoupled.py), E channels inside, G groups, D = E/G.
"""

from collections.abc import Callable

from torch import Tensor, nn

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.attention.decoupled import gather, maps_of_units, scatter, units
from slowfast_gta.models.attention.self_attention import zero_batch_norm
from slowfast_gta.models.layers import OptionError, Projection, in_full_range, not_to_float16, project


class _CompactNonLocal(nn.Module):
    """vec(Y_g) = theta (phi^T g) in each group of channels: over P*D entries, so phi^T g is one number."""

    full_range = ("out", "bn")  # what forward computes in float32 where clips are float16

    def __init__(self, over: str, dim: int, dim_inner: int, groups: int):
        super().__init__()
        self.over = over
        self.groups = groups
        self.query = Projection(dim, dim_inner)
        self.key = Projection(dim, dim_inner)
        self.value = Projection(dim, dim_inner)
        self.out = nn.Conv3d(dim_inner, dim, 1, groups=groups, bias=False)
        self.bn = zero_batch_norm(dim)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "_CompactNonLocal":
        """`.half()` and its like are for the projections: what is behind them is computed in float32."""
        super()._apply(not_to_float16(fn), recurse)
        for projection in (self.query, self.key, self.value):
            projection._apply(fn, recurse)
        return self

    def grouped(self, x: Tensor, *projections: Projection) -> list[Tensor]:
        """[(B, S, P, G, D)]."""
        return [gather(part, self.over).unflatten(3, (self.groups, -1)) for part in project(x, *projections)]

    def weights(self, x: Tensor) -> Tensor:
        """What each position adds to its set's phi^T g: (B, S, P, G)."""
        key, value = self.grouped(x, self.key, self.value)
        return (key * value).sum(4)

    def forward(self, x: Tensor) -> Tensor:
        projected = self.grouped(x, self.query, self.key, self.value)
        return x + in_full_range(lambda *parts: self._attended(x, *parts), *projected).to(x.dtype)

    def _attended(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # theta (phi^T g), not (theta phi^T) g: the matrix of P*D x P*D pairs is never made.
        weight = (key * value).sum((2, 4), keepdim=True)
        mixed = (query * weight).flatten(3)
        return self.bn(self.out(scatter(mixed, self.over, x)))


@ATTENTION_REGISTRY.register()
class CGNL(nn.Sequential):
    """Compact generalized non-local block, over space-time or `decoupled`: over each frame, then along time. E = C/2.

    groups: the channels are attended, and projected back, in this many groups.
    """

    time_permutation_equivariant = True

    def __init__(
        self, dim: int, num_frames: int, decoupled: bool = False, dim_inner: int | None = None, groups: int = 8
    ):
        dim_inner = dim // 2 if dim_inner is None else dim_inner
        if groups < 1 or dim_inner % groups or dim % groups:
            raise OptionError(
                f"GROUPS is {groups}; it must divide the {dim_inner} channels inside the block and the {dim} outside.",
                "GROUPS",
            )
        super().__init__(units(lambda over: _CompactNonLocal(over, dim, dim_inner, groups), decoupled))

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"pairs_spacetime": (B, G, T, H, W)}, or {"pairs_spatial", "pairs_temporal"} of that shape.

        The more a position has there, positive or negative, the more every position of its set attends to it.
        """
        return maps_of_units(self, x, "pairs")
