"""The network: multiple-instance learning over snippets (E1 to E5's scores), with or without segments (E6 to E8)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from slowfast_gta.errors import ConfigError, counted

from .attention import InterAttention, IntraAttention, Proposals
from .settings import NetworkSettings


class Outputs(NamedTuple):
    """The outputs of the network for B videos of R rows; class K is the background."""

    foreground: Tensor  # p_f (B, K + 1): which classes the video shows
    background: Tensor  # p_b (B, K + 1): the same, of its background rows
    attention: Tensor  # A (B, R, 2): foreground and background, adding up to 1
    cas: Tensor  # (B, R, K + 1): class activation sequence, softmax of P A_f
    snippet: Tensor  # S (B, R, K + 1): softmax of P, what pseudo labels teach
    uncertainty: Tensor | None  # U (B, R), unbounded; None in the base network


class ASMLoc(nn.Module):
    """ASM-Loc for features of `dim` channels; `with_segments` False is the base network of step 0."""

    def __init__(
        self, dim: int, num_classes: int, with_segments: bool, settings: NetworkSettings | None = None
    ) -> None:
        super().__init__()
        self.settings = settings = settings or NetworkSettings()
        if dim % settings.num_heads:
            raise ConfigError(
                f"Features of {counted(dim, 'channel')} cannot be split among "
                f"{counted(settings.num_heads, 'attention head')}: set the number of heads to a divisor of the "
                "number of channels."
            )
        self.num_classes, self.with_segments = num_classes, with_segments
        self.embed = nn.Conv1d(dim, dim, 3, padding=1)
        if with_segments:
            self.intra = IntraAttention(dim, settings.num_heads) if settings.intra else None
            self.inter = InterAttention(dim, settings.num_heads) if settings.inter else None
            self.uncertainty = nn.Conv1d(dim, 1, 1, bias=False) if settings.uncertainty else None
            if settings.uncertainty:
                nn.init.normal_(self.uncertainty.weight, 0.0, 1e-4)
        self.attention = nn.Conv1d(dim, 2, 1)
        self.classifier = nn.Linear(dim, num_classes + 1)
        self.dropout = nn.Dropout(settings.dropout)
        self.branch_dropout = nn.Dropout(settings.dropout if settings.embed_dropout else 0.0)

    def forward(self, features: Tensor, proposals: Proposals | None = None) -> Outputs:
        """Features (B, R, C) -> Outputs. The full network needs the rows of the proposals; the base ignores them."""
        x = self.embed(self.branch_dropout(features.transpose(1, 2))).relu()
        uncertainty = None
        if self.with_segments:
            x = self._with_segments(x, proposals)
            if self.uncertainty is not None:
                uncertainty = self.uncertainty(self.branch_dropout(x)).squeeze(1)
        attention = _softmax(self.attention(self.branch_dropout(x)).transpose(1, 2), 2)
        return self._scores(x.transpose(1, 2), attention, uncertainty)

    def _with_segments(self, x: Tensor, proposals: Proposals | None) -> Tensor:
        if proposals is None:
            raise ValueError("the full network needs the proposals of its videos, be they empty")
        membership = proposals.membership(x.shape[2])
        if self.intra is not None:
            x = self.intra(x, membership)
        if self.inter is not None:
            x = self.inter(x, membership)
        return x

    def _scores(self, x: Tensor, attention: Tensor, uncertainty: Tensor | None) -> Outputs:
        """E3, E4: x (B, R, C)."""
        whole_rows = self.dropout(torch.ones_like(x[:, :, :1]))
        logits = self.classifier(self.dropout(x * whole_rows))
        foreground, background = logits * attention[..., :1], logits * attention[..., 1:]
        return Outputs(
            foreground=_softmax(_top_mean(foreground, self.settings.foreground_share), 1),
            background=_softmax(_top_mean(background, self.settings.background_share), 1),
            attention=attention,
            cas=_softmax(foreground, 2),
            snippet=_softmax(logits, 2),
            uncertainty=uncertainty,
        )


def _top_mean(logits: Tensor, share: int) -> Tensor:
    """(B, R, K + 1) -> (B, K + 1): mean of the max(R // share, 1) largest over the rows, class by class."""
    num = max(logits.shape[1] // share, 1)
    return logits.topk(num, dim=1).values.mean(1)


def _softmax(logits: Tensor, dim: int) -> Tensor:
    """In float32 where mixed precision has less: losses take the logarithm of it."""
    return logits.softmax(dim, dtype=torch.promote_types(logits.dtype, torch.float32))
