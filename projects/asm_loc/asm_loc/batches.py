"""What the network is fed: one video's rows, proposals and pseudo labels, and batches of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from slowfast_gta.loading.batch import BadVideo

from .attention import Proposals
from .features import Features
from .row_map import RowMap
from .sampling import sample
from .segments import Segments
from .settings import RELEASED, Settings
from .targets import attention_spans, pseudo_labels, sampling_weights


@dataclass(frozen=True)
class Example:
    """One video as the network sees it. In step 0 (no proposals) `first`, `last` and `target` are None."""

    features: np.ndarray  # (R, C) float32
    row_map: RowMap
    first: np.ndarray | None = None  # (N,) rows
    last: np.ndarray | None = None
    target: np.ndarray | None = None  # (R, K + 1) pseudo labels; training only
    counts: dict[str, int] = field(default_factory=dict)


def make_example(
    features: Features,
    proposals: Segments | None,
    settings: Settings,
    num_classes: int = 0,
    generator: np.random.Generator | None = None,
) -> Example:
    """Sample and mark one video: for training with a `generator` (pseudo labels of `num_classes`), for testing without.

    `proposals`: of the previous step, None in step 0; in training, of the video's own classes only.
    """
    released = settings.options.snippet_time == RELEASED
    weights = None if proposals is None else sampling_weights(proposals, features.timeline, settings)
    sampled = sample(features.rows, settings.num_rows, weights, generator, released)
    if proposals is None:
        return Example(sampled.features, sampled.rows)
    spans = attention_spans(proposals, features.timeline, sampled.rows, settings)
    counts = {"proposals_outside": spans.num_outside, "proposals_over_limit": spans.num_over_limit}
    target = None
    if generator is not None:
        target = pseudo_labels(proposals, features.timeline, sampled.rows, num_classes)
    return Example(sampled.features, sampled.rows, spans.first, spans.last, target, counts)


@dataclass(frozen=True)
class Batch:
    """Videos of equally many rows."""

    ids: list[str]
    features: Tensor  # (B, R, C)
    labels: Tensor  # (B, K)
    proposals: Proposals | None = None  # (B, N)
    target: Tensor | None = None  # (B, R, K + 1)
    errors: list[BadVideo] = field(default_factory=list)  # videos that could not be read
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def num_samples(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "Batch":
        """The same batch with its tensors on `device`."""
        return replace(
            self,
            features=self.features.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            proposals=None if self.proposals is None else self.proposals.to(device),
            target=None if self.target is None else self.target.to(device, non_blocking=True),
        )

    def split(self, num_parts: int) -> list["Batch"]:
        """For gradient accumulation: at most `num_parts` batches, in order; errors and counts go with the first."""
        if num_parts <= 1 or len(self.ids) <= 1:
            return [self]
        cuts = [part for part in np.array_split(np.arange(len(self.ids)), num_parts) if len(part)]
        return [self._part(part, first=i == 0) for i, part in enumerate(cuts)]

    def _part(self, index: np.ndarray, first: bool) -> "Batch":
        at = torch.as_tensor(index)
        old = self.proposals
        return Batch(
            ids=[self.ids[i] for i in index],
            features=self.features[at],
            labels=self.labels[at],
            proposals=None if old is None else Proposals(old.first[at], old.last[at]),
            target=None if self.target is None else self.target[at],
            errors=self.errors if first else [],
            counts=self.counts if first else {},
        )


def stack_proposals(examples: Sequence[Example]) -> Proposals | None:
    """Pad to the largest number of proposals, at least one slot; None in step 0."""
    if not examples or any(e.first is None for e in examples):
        return None
    num = max(1, *(len(e.first) for e in examples))
    first = torch.zeros(len(examples), num, dtype=torch.long)
    last = torch.full((len(examples), num), -1)
    for row, e in enumerate(examples):
        first[row, : len(e.first)] = torch.from_numpy(e.first)
        last[row, : len(e.last)] = torch.from_numpy(e.last)
    return Proposals(first, last)


def collate(
    ids: list[str],
    examples: Sequence[Example],
    labels: np.ndarray,
    errors: Sequence[BadVideo] = (),
    counts: Mapping[str, int] | None = None,
) -> Batch:
    """A batch of examples of equally many rows; of none, where no video could be read."""
    counts = dict(counts or {})
    for e in examples:
        for name, value in e.counts.items():
            counts[name] = counts.get(name, 0) + value
    with_target = bool(examples) and all(e.target is not None for e in examples)
    return Batch(
        ids=list(ids),
        features=torch.from_numpy(np.stack([e.features for e in examples])) if examples else torch.empty(0),
        labels=torch.from_numpy(np.asarray(labels, np.float32)),
        proposals=stack_proposals(examples),
        target=torch.from_numpy(np.stack([e.target for e in examples])) if with_target else None,
        errors=list(errors),
        counts=counts,
    )
