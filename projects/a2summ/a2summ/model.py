"""A2Summ (He et al., CVPR 2023, arXiv 2303.07284): one transformer over a video's frames and its sentences.

B batch, T frame, M sentence, C channel. Facts of the authors' release (github.com/boheumd/A2Summ) were read; two of
its slips are arguments here, off by default: `shared_layers` (its layers are one module, listed L times) and
`segment_shift` (sentence j uses segment row j + 1 while its frames use row j).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from a2summ.layers import Layer
from a2summ.mask import attention_mask
from a2summ.samples import Batch
from slowfast_gta.errors import DataError

Head = Literal["anchor_free", "logit"]


@dataclass
class Scores:
    """The outputs of the network for one modality. N is T or M; rows of padding are meaningless."""

    logits: Tensor  # (B, N)
    embeddings: Tensor  # (B, N, C), what the intra-sample loss compares
    cls: Tensor  # (B, C)
    offsets: Tensor | None = None  # (B, N, 2), tokens to the left and to the right that belong to the same run
    centerness: Tensor | None = None  # (B, N), 0 to 1


@dataclass
class Outputs:
    video: Scores
    text: Scores


class A2Summ(nn.Module):
    """forward: Batch -> Outputs. Labels are never looked at.

    `use_mask` lets a frame and a sentence see each other only where they are aligned in time, `use_segments` gives
    both the same learned row; CNN and Daily Mail have no times and use neither. `head` is "anchor_free" (SumMe,
    TVSum: score, run and centerness, after DSNet) or "logit".
    """

    def __init__(
        self,
        dim_video: int,
        dim_text: int,
        dim: int = 128,
        num_layers: int = 2,
        head: Head = "logit",
        use_mask: bool = True,
        use_segments: bool = True,
        *,
        num_heads: int = 8,
        dropout_input: float = 0.1,
        dropout_attn: float = 0.1,
        dropout_head: float = 0.5,
        max_tokens: int = 5000,
        max_segments: int = 5000,
        shared_layers: bool = False,
        segment_shift: bool = False,
        init_std: float = 0.02,
    ):
        """`init_std`: of a truncated normal, of all weights of Linear (the release's); 0: as torch begins them. Small
        weights make a long plateau: a frame first sees its one sentence among all frames only faintly."""
        super().__init__()
        self.num_layers, self.use_mask, self.segment_shift = num_layers, use_mask, segment_shift
        self.project_video, self.project_text = nn.Linear(dim_video, dim), nn.Linear(dim_text, dim)
        self.dropout = nn.Dropout(dropout_input)
        self.position_video, self.position_text = (nn.Parameter(torch.zeros(max_tokens, dim)) for _ in range(2))
        self.type_video, self.type_text, self.cls_video, self.cls_text = (
            nn.Parameter(torch.zeros(dim)) for _ in range(4)
        )
        self.segments = nn.Parameter(torch.zeros(max_segments, dim)) if use_segments else None
        self.layers = nn.ModuleList(
            Layer(dim, num_heads, dropout_attn) for _ in range(min(num_layers, 1) if shared_layers else num_layers)
        )
        build_head = {"anchor_free": AnchorFreeHead, "logit": LogitHead}[head]
        self.head_video, self.head_text = build_head(dim, dropout_head), build_head(dim, dropout_head)
        self.reset_parameters(init_std)

    def reset_parameters(self, init_std: float) -> None:
        """Truncated normal, 0.02, for all tables, `init_std` for all weights of Linear; biases 0."""
        for parameter in self.parameters(recurse=False):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if init_std:
                    nn.init.trunc_normal_(module.weight, std=init_std)
                else:
                    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))  # as nn.Linear does
                nn.init.zeros_(module.bias)

    def forward(self, batch: Batch) -> Outputs:
        self._check_lengths(batch)
        frames = self.dropout(self.project_video(batch.frames))
        sentences = self.dropout(self.project_text(batch.sentences))
        video = _with_cls(frames, self.cls_video, self.type_video, self.position_video)
        text = _with_cls(sentences, self.cls_text, self.type_text, self.position_text)
        if self.segments is not None:
            video, text = self._add_segments(video, text, batch.alignment)
        num_video = video.shape[1]
        sees = attention_mask(batch.frame_mask, batch.sentence_mask, batch.alignment if self.use_mask else None)
        x = torch.cat([video, text], dim=1)
        for index in range(self.num_layers):
            x = self.layers[index % len(self.layers)](x, sees, num_video)
        return Outputs(self.head_video(frames, x[:, :num_video]), self.head_text(sentences, x[:, num_video:]))

    def _add_segments(self, video: Tensor, text: Tensor, alignment: Tensor) -> tuple[Tensor, Tensor]:
        """Sentence j and all frames of its span get the same row; frames of two spans get the sum, of none nothing."""
        num_sentences = alignment.shape[2]
        rows = self.segments[:num_sentences]
        video = torch.cat([video[:, :1], video[:, 1:] + alignment.to(rows.dtype) @ rows], dim=1)
        if self.segment_shift:
            return video, text + self.segments[: num_sentences + 1]
        return video, torch.cat([text[:, :1], text[:, 1:] + rows], dim=1)

    def _check_lengths(self, batch: Batch) -> None:
        """Raises DataError for what is longer than the tables, or has no times where they are needed."""
        num_frames, num_sentences = batch.frames.shape[1], batch.sentences.shape[1]
        limits = [(num_frames, len(self.position_video) - 1, "frames")]
        limits += [(num_sentences, len(self.position_text) - 1, "sentences")]
        if self.segments is not None:
            limits += [(num_sentences, len(self.segments) - self.segment_shift, "sentences with a time")]
        for number, limit, what in limits:
            if number > limit:
                raise DataError(
                    f"{', '.join(batch.ids[:3])}: {number} {what}, but the positional tables of this network "
                    f"end at {limit}. Cut the video into pieces."
                )
        if batch.alignment is None and (self.use_mask or self.segments is not None):
            raise DataError(
                f"{', '.join(batch.ids[:3])}: the sentences have no times, but this network aligns by them. "
                "Use a network without alignment (A2SUMM.USE_MASK False, A2SUMM.USE_SEGMENTS False)."
            )


def _with_cls(tokens: Tensor, cls: Tensor, type_row: Tensor, positions: Tensor) -> Tensor:
    """(B, N, C) -> (B, 1 + N, C): the CLS token first, position (index 0 is CLS) and type added."""
    first = cls.expand(len(tokens), 1, -1)
    return torch.cat([first, tokens], dim=1) + positions[: tokens.shape[1] + 1] + type_row


class LogitHead(nn.Module):
    """LN, then Linear C-C, ReLU, Dropout, Linear C-1 (CNN, Daily Mail, BLiSS)."""

    def __init__(self, dim: int, dropout_prob: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout_prob))
        self.score = nn.Linear(dim, 1)

    def forward(self, projected: Tensor, x: Tensor) -> Scores:
        """`projected` (B, N, C) is not used here; `x` (B, 1 + N, C) has the CLS token first."""
        x = self.norm(x)
        embeddings = x[:, 1:]
        return Scores(self.score(self.hidden(embeddings)).squeeze(-1), embeddings, x[:, 0])


class AnchorFreeHead(nn.Module):
    """h = LN(projected + out), f = LN(Dropout(ReLU(Linear h))); score, run to both sides and centerness from f."""

    def __init__(self, dim: int, dropout_prob: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout_prob), nn.LayerNorm(dim))
        self.score, self.offsets, self.centerness = nn.Linear(dim, 1), nn.Linear(dim, 2), nn.Linear(dim, 1)

    def forward(self, projected: Tensor, x: Tensor) -> Scores:
        """`projected` (B, N, C): the tokens before position, type and segment. `x` (B, 1 + N, C): CLS token first."""
        hidden = self.hidden(self.norm(projected + x[:, 1:]))
        return Scores(
            logits=self.score(hidden).squeeze(-1),
            embeddings=hidden,
            cls=x[:, 0],
            offsets=self.offsets(hidden).exp(),
            centerness=self.centerness(hidden).squeeze(-1).sigmoid(),
        )
