"""GCNet's global context block: one attention map for all queries, its context added to every position.

Cao et al., "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCVW 2019 (arXiv:1904.11492),
figure 4 (d): attention pooling, a bottleneck with LayerNorm and ReLU, fusion by addition.
Reference for the ratio and for starting the last layer at zero: the authors' xvjiarui/GCNet. Theirs has a bias before
the softmax, which takes it away again; this one has none.

Legend: B batch, C channel, S sets of P positions (see decoupled.py).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.attention.decoupled import gather, maps_of_units, scatter, units
from slowfast_gta.models.layers import OptionError, Projection


class _GlobalContext(nn.Module):
    """x_i + W_2 relu(LN(W_1 sum_j a_j x_j)), a = softmax(W_k x) over the positions of a set."""

    def __init__(self, over: str, dim: int, dim_inner: int):
        super().__init__()
        self.over = over
        self.key = Projection(dim, 1)
        self.squeeze = nn.Linear(dim, dim_inner)
        self.norm = nn.LayerNorm(dim_inner)
        self.out = nn.Linear(dim_inner, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def weights(self, x: Tensor) -> Tensor:
        """(B, S, P, 1), summing to 1 over P."""
        return gather(self.key(x), self.over).softmax(2)

    def forward(self, x: Tensor) -> Tensor:
        context = self.weights(x).to(x.dtype).transpose(2, 3) @ gather(x, self.over)  # (B, S, 1, C)
        added = self.out(F.relu(self.norm(self.squeeze(context))))
        return x + scatter(added, self.over, x).to(x.dtype)


@ATTENTION_REGISTRY.register()
class GCNet(nn.Sequential):
    """Global context block, over space-time or `decoupled`: over each frame, then along time.

    ratio: C over the channels of the bottleneck.
    """

    time_permutation_equivariant = True

    def __init__(self, dim: int, num_frames: int, decoupled: bool = False, ratio: int = 16):
        if ratio < 1 or dim // ratio < 2:
            raise OptionError(
                f"RATIO is {ratio}; it must leave at least 2 of the {dim} channels: a LayerNorm of one is a constant.",
                "RATIO",
            )
        super().__init__(units(lambda over: _GlobalContext(over, dim, dim // ratio), decoupled))

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"context_spacetime": (B, T, H, W)}, or {"context_spatial", "context_temporal"} of that shape."""
        return {name: weights[:, 0] for name, weights in maps_of_units(self, x, "context").items()}
