"""Memory banks of fixed length: what a model keeps of the frames that it has seen.

He et al., "MA-LMM: Memory-Augmented Large Multimodal Model for Long-Term Video Understanding", CVPR 2024,
arXiv 2404.05726, section 3; equations 2-7. Where the paper and the authors' code differ, rules.py names the option.

A bank belongs to one batch of videos and is thrown away with it: nothing of a video can reach the next one.

B batch, K entries (at most M), P token positions, C channels.
"""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ma_lmm.memory.rules import MemoryRule


class MemoryBank:
    """Entries in the order of time, at most `rule.length`; each is the mean of consecutive frames' features.

    entries: (B, K, P, C), at least fp32: a running mean over an hour is wrong in the first digit in bf16.
    sizes: (B, K, P), how many frames each entry holds.
    """

    def __init__(self, rule: MemoryRule):
        self._rule = rule
        self.entries: Tensor | None = None
        self.sizes: Tensor | None = None
        self.num_frames = 0
        self.num_dropped = 0

    def __len__(self) -> int:
        return 0 if self.entries is None else self.entries.shape[1]

    def append(self, features: Tensor) -> None:
        """Add a frame's `features` (B, P, C), detached; a bank that is then longer than M gives up one entry."""
        features = features.detach()[:, None].to(torch.promote_types(features.dtype, torch.float32))
        size = features.new_ones(features.shape[:3])
        if self.entries is None:
            self.entries, self.sizes = features, size
        else:
            self.entries = torch.cat([self.entries, features], dim=1)
            self.sizes = torch.cat([self.sizes, size], dim=1)
        self.num_frames += 1
        if len(self) > self._rule.length:
            self._shorten()

    def before(self, features: Tensor) -> Tensor:
        """[bank; `features`], what a frame attends to (eq. 2-4): (B, K * P + S, C) of `features` (B, S, C)."""
        if self.entries is None:
            return features
        return torch.cat([self.entries.flatten(1, 2).to(features.dtype), features], dim=1)

    def spans(self, token: int = 0, member: int = 0) -> list[tuple[int, int]]:
        """The frames that each entry holds at a `token` position of a batch `member`, (first, last)."""
        if self.sizes is None:
            return []
        ends = (self.num_dropped + self.sizes[member, :, token].cumsum(0)).long().tolist()
        return list(zip([self.num_dropped, *ends[:-1]], [end - 1 for end in ends], strict=True))

    def _shorten(self) -> None:
        if self._rule.update == "fifo":
            self.entries, self.sizes = self.entries[:, 1:], self.sizes[:, 1:]
            self.num_dropped += 1
        else:
            self.entries, self.sizes = compress(self.entries, self.sizes, self._rule.level, self._rule.mean)


def compress(entries: Tensor, sizes: Tensor, level: str = "token", mean: str = "weighted") -> tuple[Tensor, Tensor]:
    """Merge the two neighbours in time that are most alike, the first such pair (eq. 5-7).

    entries (B, K, P, C), sizes (B, K, P) -> (B, K - 1, P, C), (B, K - 1, P); the order is kept.
    """
    similarity = cosine_similarity(entries[:, :-1], entries[:, 1:], dim=-1)  # (B, K - 1, P), eq. 5
    if level == "frame":
        similarity = similarity.mean(dim=-1, keepdim=True).expand_as(similarity)
    pair = similarity.argmax(dim=1, keepdim=True)  # (B, 1, P), the first of equal ones, eq. 6
    sizes_left, sizes_right = sizes.gather(1, pair), sizes.gather(1, pair + 1)
    if mean == "weighted":
        share = sizes_right / (sizes_left + sizes_right)
    else:
        share = torch.full_like(sizes_right, 0.5)  # eq. 7
    wide = pair[..., None].expand(*pair.shape, entries.shape[-1])
    merged = torch.lerp(entries.gather(1, wide), entries.gather(1, wide + 1), share[..., None])

    kept = torch.arange(entries.shape[1] - 1, device=entries.device)[None, :, None]
    kept = kept + (kept > pair)  # (B, K - 1, P): entries after the pair move up by one
    entries = entries.gather(1, kept[..., None].expand(*kept.shape, entries.shape[-1])).scatter(1, wide, merged)
    return entries, sizes.gather(1, kept).scatter(1, pair, sizes_left + sizes_right)


class VideoMemory:
    """All that is remembered of one batch of videos: one visual bank, and one query bank for each Q-Former layer."""

    def __init__(self, rule: MemoryRule, num_layers: int, num_queries: int):
        self.rule = rule
        self.num_queries = num_queries
        self.visual = MemoryBank(rule) if rule.visual else None
        self.queries = [MemoryBank(rule) for _ in range(num_layers)] if rule.query else []
        self.num_frames = 0

    def check(self) -> None:
        """Every bank took in every frame; not so if the library no longer passes the memory on to its layers."""
        banks = [self.visual, *self.queries] if self.visual is not None else self.queries
        assert all(bank.num_frames == self.num_frames for bank in banks), "a memory bank missed a frame"

    @property
    def num_bytes(self) -> int:
        banks = [self.visual, *self.queries] if self.visual is not None else self.queries
        tensors = [tensor for bank in banks for tensor in (bank.entries, bank.sizes) if tensor is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
