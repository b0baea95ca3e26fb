"""What the language model is given of the queries of each frame: the paper's choice, and those that it compares
with in table 8.

B batch, N queries of a frame, C channels, T frames.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ma_lmm.memory.rules import TOME_TOKENS


class Last:
    """The queries of the last frame: N tokens, however long the video."""

    def __init__(self):
        self._queries: Tensor | None = None

    def add(self, queries: Tensor) -> None:
        self._queries = queries

    def tokens(self) -> Tensor:
        return self._queries


class Average:
    """The mean over frames: N tokens, summed in at least fp32."""

    def __init__(self):
        self._sum, self._num_frames, self._dtype = None, 0, None

    def add(self, queries: Tensor) -> None:
        self._dtype = queries.dtype
        queries = queries.to(torch.promote_types(queries.dtype, torch.float32))
        self._sum = queries if self._sum is None else self._sum + queries
        self._num_frames += 1

    def tokens(self) -> Tensor:
        return (self._sum / self._num_frames).to(self._dtype)


class Concat:
    """The queries of all frames: N * T tokens."""

    def __init__(self):
        self._frames: list[Tensor] = []

    def add(self, queries: Tensor) -> None:
        self._frames.append(queries)

    def tokens(self) -> Tensor:
        return torch.cat(self._frames, dim=1)


class ToMe(Concat):
    """A few tokens of each frame (Bolya et al., "Token Merging", ICLR 2023): TOME_TOKENS * T tokens."""

    def add(self, queries: Tensor) -> None:
        super().add(merge_tokens(queries, TOME_TOKENS))


SUMMARIES = {"last": Last, "average": Average, "concat": Concat, "tome": ToMe}


def merge_tokens(tokens: Tensor, num_left: int) -> Tensor:
    """Bipartite soft matching until `num_left` of the tokens (B, N, C) are left: (B, num_left, C).

    A round splits the tokens by turns into two sets, joins the most alike pairs across them, at most half of all
    tokens, and replaces them by their mean, weighted by the tokens merged so far.
    """
    sizes = tokens.new_ones(*tokens.shape[:2], 1)
    while tokens.shape[1] > num_left:
        num_merged = min(tokens.shape[1] // 2, tokens.shape[1] - num_left)
        tokens, sizes = _merge_round(tokens, sizes, num_merged)
    return tokens


def _merge_round(tokens: Tensor, sizes: Tensor, num_merged: int) -> tuple[Tensor, Tensor]:
    unit = normalize(tokens.detach().float(), dim=-1)
    best = (unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)).max(dim=-1)
    order = best.values.argsort(dim=1, descending=True, stable=True)[..., None]  # of the first set, most alike first
    merged, kept = order[:, :num_merged], order[:, num_merged:]
    target = best.indices[..., None].gather(1, merged)

    weighted = torch.cat([tokens * sizes, sizes], dim=-1)  # sums of tokens, and how many: both add up
    first, second = weighted[:, ::2], weighted[:, 1::2]
    wide = (-1, -1, weighted.shape[-1])
    second = second.scatter_add(1, target.expand(wide), first.gather(1, merged.expand(wide)))
    left = torch.cat([first.gather(1, kept.expand(wide)), second], dim=1)
    return left[..., :-1] / left[..., -1:], left[..., -1:]
