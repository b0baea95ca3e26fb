"""GloRe, the global reasoning unit: positions are projected onto the nodes of a graph, mixed there, projected back.

Chen et al., "Graph-Based Global Reasoning Networks", CVPR 2019 (arXiv:1811.12814). Reference for the sizes, the biases
and the ReLU inside the graph convolution: the authors' facebookresearch/GloRe. Nodes are means over positions, not
sums: their `normalize`, which they advise where the size varies, as it does between training and test crops here.

Legend: B batch, C channel, S sets of P positions (see decoupled.py), K nodes, D channels (the state) of a node.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.attention.decoupled import gather, maps_of_units, scatter, units
from slowfast_gta.models.attention.self_attention import zero_batch_norm
from slowfast_gta.models.layers import OptionError, Projection, project


class _GlobalReasoning(nn.Module):
    """V = B^T state / P, Z = relu(V + A V) W_g, Y = B Z; B (P, K) from X, A (K, K) and W_g learned for all videos."""

    def __init__(self, over: str, dim: int, dim_inner: int, num_nodes: int):
        super().__init__()
        self.over = over
        self.state = Projection(dim, dim_inner, bias=True)
        self.assign = Projection(dim, num_nodes, bias=True)
        self.adjacency = nn.Linear(num_nodes, num_nodes)
        self.update = nn.Linear(dim_inner, dim_inner, bias=False)
        self.out = Projection(dim_inner, dim)
        self.bn = zero_batch_norm(dim)

    def weights(self, x: Tensor) -> Tensor:
        """How much of each position goes to each node and comes back: B, as (B, S, P, K)."""
        return gather(self.assign(x), self.over)

    def forward(self, x: Tensor) -> Tensor:
        assign, state = (gather(part, self.over) for part in project(x, self.assign, self.state))
        nodes = assign.transpose(2, 3) @ state / assign.shape[2]  # (B, S, K, D)
        # The paper's (I - A) V; A's sign is learned.
        nodes = nodes + self.adjacency(nodes.transpose(2, 3)).transpose(2, 3)
        mixed = assign @ self.update(F.relu(nodes))
        return x + self.bn(self.out(scatter(mixed, self.over, x))).to(x.dtype)


@ATTENTION_REGISTRY.register()
class GloRe(nn.Sequential):
    """Global reasoning unit, over space-time or `decoupled`: over each frame, then along time. K = C/4, D = C/2."""

    time_permutation_equivariant = True

    def __init__(
        self,
        dim: int,
        num_frames: int,
        decoupled: bool = False,
        dim_inner: int | None = None,
        num_nodes: int | None = None,
    ):
        dim_inner = dim // 2 if dim_inner is None else dim_inner
        num_nodes = dim // 4 if num_nodes is None else num_nodes
        if num_nodes < 1:
            raise OptionError(f"NUM_NODES is {num_nodes}; it must be at least 1.", "NUM_NODES")
        super().__init__(units(lambda over: _GlobalReasoning(over, dim, dim_inner, num_nodes), decoupled))

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"nodes_spacetime": (B, K, T, H, W)}, or {"nodes_spatial", "nodes_temporal"} of that shape."""
        return maps_of_units(self, x, "nodes")
