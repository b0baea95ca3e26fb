"""The losses of A2Summ: classification, runs and centerness (after DSNet), and the two contrastive ones.

B batch, T frame, M sentence, N either of them, C channel.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from a2summ.model import Outputs, Scores
from a2summ.samples import Batch

_START = math.log(1 / 0.07)  # where the learned scales start
_DILATION = 4  # tokens each side of a key token that are no negatives


class SummaryLoss(nn.Module):
    """forward: (Outputs, Batch) -> {name: scalar}, "loss" their weighted sum. Has the learned scales of the contrasts.

    `inter_weight` and `intra_weight` are the paper's lambda_1 and lambda_2; `negatives_ratio` is the number of valid
    tokens for each hard negative, None for no intra-sample loss. `intra_scale_exp` False uses that scale as it is, as
    the authors' release does (it then starts at 2.66, not at 14.3).
    """

    def __init__(
        self,
        inter_weight: float = 0.0,
        intra_weight: float = 0.0,
        negatives_ratio: int | None = None,
        intra_scale_exp: bool = True,
    ):
        super().__init__()
        self.inter_weight, self.intra_weight = inter_weight, intra_weight
        self.negatives_ratio, self.intra_scale_exp = negatives_ratio, intra_scale_exp
        self.inter_scale = nn.Parameter(torch.tensor(_START))
        self.intra_scale_video = nn.Parameter(torch.tensor(_START))
        self.intra_scale_text = nn.Parameter(torch.tensor(_START))

    def forward(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts = self._supervised(outputs, batch)
        if self.inter_weight:
            inter = inter_sample_loss(outputs.video.cls, outputs.text.cls, self.inter_scale.exp())
            parts["loss_inter"] = self.inter_weight * inter
        if self.intra_weight and self.negatives_ratio and batch.frame_labels is not None:
            parts["loss_intra"] = self.intra_weight * self._intra(outputs, batch)
        unused = 0.0 * (self.inter_scale + self.intra_scale_video + self.intra_scale_text)  # so that DDP finds them all
        return {"loss": sum(parts.values()) + unused, **parts}

    def _supervised(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        parts = {}
        for name, scores, labels, mask in (
            ("video", outputs.video, batch.frame_labels, batch.frame_mask),
            ("text", outputs.text, batch.sentence_labels, batch.sentence_mask),
        ):
            if labels is None:
                continue
            parts[f"loss_{name}"] = classification_loss(scores.logits, labels, mask)
            if scores.offsets is not None:
                parts[f"loss_{name}_runs"] = run_loss(scores, labels)
        return parts

    def _intra(self, outputs: Outputs, batch: Batch) -> Tensor:
        scales = [
            scale.exp() if self.intra_scale_exp else scale for scale in (self.intra_scale_video, self.intra_scale_text)
        ]
        video = KeyTokens.of(outputs.video, batch.frame_labels, batch.frame_mask, self.negatives_ratio)
        text = KeyTokens.of(outputs.text, batch.sentence_labels, batch.sentence_mask, self.negatives_ratio)
        return intra_sample_loss(video, text, *scales)


def classification_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid tokens of the batch of 0.5 (1 - q)^2 (-log q), q the probability of the right label.

    The focal loss that the release computes over two columns is this: its alpha cancels to the 0.5. No valid token: 0.
    """
    log_q = F.logsigmoid(torch.where(labels > 0.5, logits, -logits))
    losses = -0.5 * (1 - log_q.exp()).square() * log_q
    return torch.where(mask, losses, 0.0).sum() / mask.sum().clamp(min=1)


def run_targets(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N) of 0/1 -> offsets (B, N, 2), centerness (B, N): in a run [a, b) of ones, (t - a, b - 1 - t) and
    min / (max + 1e-8); 0 elsewhere, and for a run of one."""
    left = _steps_since_zero(labels)
    right = _steps_since_zero(labels.flip(1)).flip(1)
    offsets = torch.stack([left, right], dim=-1)
    return offsets, offsets.amin(-1) / (offsets.amax(-1) + 1e-8)


def _steps_since_zero(labels: Tensor) -> Tensor:
    """(B, N): how many ones stand directly before this one; 0 where the label is 0."""
    index = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
    if labels.shape[1] == 0:
        return labels
    last_zero = torch.where(labels > 0.5, -1, index).cummax(1).values
    return torch.where(labels > 0.5, index - last_zero - 1, 0).to(labels.dtype)


def run_loss(scores: Scores, labels: Tensor) -> Tensor:
    """-log of the IoU of the runs, and the cross-entropy of the centerness; each the mean over a sample's positives,
    then over the batch.

    A run of one frame has no extent: its IoU is 0 whatever is predicted, without a gradient, so it is left out. A
    sample without positives counts as 0.
    """
    offsets, centerness = run_targets(labels)
    positive = labels > 0.5
    shared = torch.minimum(scores.offsets, offsets).sum(-1)
    union = scores.offsets.sum(-1) + offsets.sum(-1) - shared
    iou_loss = -torch.log(shared / union.clamp(min=1e-8) + 1e-8)
    cross_entropy = F.binary_cross_entropy(scores.centerness, centerness, reduction="none")
    runs = _mean_of_each(iou_loss, positive & (offsets.sum(-1) > 0))
    return (runs + _mean_of_each(cross_entropy, positive)).mean()


def _mean_of_each(values: Tensor, chosen: Tensor) -> Tensor:
    """(B, N) -> (B,): the mean over the `chosen` ones, 0 where there are none."""
    return torch.where(chosen, values, 0.0).sum(1) / chosen.sum(1).clamp(min=1)


def inter_sample_loss(cls_video: Tensor, cls_text: Tensor, scale: Tensor) -> Tensor:
    """(B, C) each: the CLS tokens of one sample are to be nearer to each other than to those of the other samples."""
    logits = scale * F.normalize(cls_video, dim=1) @ F.normalize(cls_text, dim=1).T
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@dataclass
class KeyTokens:
    """Of each sample in a batch: its key tokens' mean (None where it has none), and its hard negatives (K, C)."""

    means: list[Tensor | None]
    negatives: list[Tensor]

    @classmethod
    def of(cls, scores: Scores, labels: Tensor, mask: Tensor, negatives_ratio: int) -> "KeyTokens":
        """Key tokens are those of label 1. Negatives are the max(1, n // ratio) tokens with the highest logits that
        are no key token and have none within 4 places; n valid tokens."""
        means, negatives = [], []
        near = dilate(labels > 0.5)
        for logits, tokens, keys, excluded, valid in zip(
            scores.logits, scores.embeddings, labels > 0.5, near, mask, strict=True
        ):
            keys = keys & valid
            means.append(tokens[keys].mean(0) if keys.any() else None)
            number = max(1, int(valid.sum()) // negatives_ratio)
            candidates = torch.where(valid & ~excluded, logits.detach(), -math.inf)
            order = candidates.argsort(descending=True, stable=True)[:number]
            negatives.append(tokens[order[candidates[order] > -math.inf]])
        return cls(means, negatives)


def dilate(keys: Tensor, steps: int = _DILATION) -> Tensor:
    """bool (B, N): True within `steps` of a True."""
    if keys.shape[1] == 0:
        return keys
    return F.max_pool1d(keys.float()[:, None], 2 * steps + 1, stride=1, padding=steps)[:, 0] > 0.5


def intra_sample_loss(video: KeyTokens, text: KeyTokens, scale_video: Tensor, scale_text: Tensor) -> Tensor:
    """The mean of a sample's key frames is to be nearer to that of its key sentences than to its hard negatives, and
    the other way round; the mean over the samples that have key tokens in both, 0 where none has."""
    losses = [
        (contrast(key_video, key_text, of_video, scale_video) + contrast(key_text, key_video, of_text, scale_text)) / 2
        for key_video, key_text, of_video, of_text in zip(
            video.means, text.means, video.negatives, text.negatives, strict=True
        )
        if key_video is not None and key_text is not None
    ]
    return torch.stack(losses).mean() if losses else 0.0 * scale_video


def contrast(query: Tensor, positive: Tensor, negatives: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of the cosines of `query` (C,) with `positive` (C,) against `negatives` (K, C), times `scale`."""
    keys = torch.cat([positive[None], negatives])
    cosines = F.normalize(keys, dim=1) @ F.normalize(query, dim=0)
    return -F.log_softmax(scale * cosines, dim=0)[0]
