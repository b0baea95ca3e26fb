"""Attention inside and between the proposals of a video (E6, E7). Shapes: x (B, C, R), proposals (B, N)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Proposals:
    """First and last row (both included) of N proposals a video: (B, N) integers; empty slots have last < first."""

    first: Tensor
    last: Tensor

    def to(self, device: torch.device) -> "Proposals":
        return Proposals(self.first.to(device, non_blocking=True), self.last.to(device, non_blocking=True))

    def membership(self, num_rows: int) -> Tensor:
        """(B, N, R) bool: row r lies in proposal n."""
        row = torch.arange(num_rows, device=self.first.device)
        return (row >= self.first[..., None]) & (row <= self.last[..., None])


class _SegmentAttention(nn.Module):
    """One layer of multi-head attention with 1x1 convolutions; its BatchNorm starts at 0: the identity."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.out = (nn.Conv1d(dim, dim, 1) for _ in range(4))
        self.bn = nn.BatchNorm1d(dim)
        nn.init.zeros_(self.bn.weight)

    def _attend(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Softmax attention over the last axis of x (B, C, L) where `allowed` (B, L, L) is true, before `out`.

        The mask is shared by the heads, and scaled_dot_product_attention keeps no B x heads x L x L array.
        """
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed[:, None])
        return y.transpose(2, 3).reshape(x.shape)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, C, L) -> (B, heads, L, C / heads)."""
        return x.unflatten(1, (self.num_heads, -1)).transpose(2, 3).contiguous()


class IntraAttention(_SegmentAttention):
    """E6: a row attends to the rows that some proposal holds together with it; rows of no proposal attend to none."""

    def forward(self, x: Tensor, membership: Tensor) -> Tensor:
        member = membership.to(torch.float32)
        covered = membership.any(1)
        # A row of no proposal attends to itself, so that its softmax is defined; what comes of it is then set to 0.
        together = torch.bmm(member.transpose(1, 2), member) > 0
        allowed = together | torch.diag_embed(~covered)
        y = self._attend(x, allowed).masked_fill(~covered[:, None], 0.0)
        return x + self.bn(self.out(y))


class InterAttention(_SegmentAttention):
    """E7: the means of a video's proposals attend to each other; each row takes the mean over its proposals."""

    def forward(self, x: Tensor, membership: Tensor) -> Tensor:
        member = membership.to(x.dtype)
        means = torch.bmm(x, (member / member.sum(2, keepdim=True).clamp(min=1)).transpose(1, 2))
        filled = membership.any(2)
        # An empty slot attends to itself alone; no row takes anything from it.
        allowed = (filled[:, None] & filled[:, :, None]) | torch.diag_embed(~filled)
        y = torch.bmm(self._attend(means, allowed), member / member.sum(1, keepdim=True).clamp(min=1))
        return x + self.bn(self.out(y))
