"""Samples to batches: which ones is a function of (seed, epoch, step), and nothing of it needs saving."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from a2summ.data.summe_tvsum import even_spans
from a2summ.samples import Batch, Sample, collate


class SampleLoader:
    """Training: batches of `batch_size` over all processes, in a new order each epoch, the last one smaller.
    Evaluation: every sample alone, so that no result can depend on its companions."""

    def __init__(self, samples: Sequence[Sample], batch_size: int, seed: int, rank: int = 0, world_size: int = 1):
        self.samples, self.batch_size, self.seed = list(samples), batch_size, seed
        self._rank, self._world_size = rank, world_size

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.samples))
        for step in range(start_step, len(self)):
            wanted = order[step * self.batch_size : (step + 1) * self.batch_size]
            share = np.array_split(wanted, self._world_size)[self._rank]
            yield collate([self.samples[index] for index in share]) if len(share) else self._blank()

    def __iter__(self) -> Iterator[tuple[Sample, Batch]]:
        for sample in self.samples[self._rank :: self._world_size]:
            yield sample, collate([sample])

    def _blank(self) -> Batch:
        """What a process without a sample of its own in a step runs the network on; it counts no sample."""
        return replace(collate([self.samples[0]]), ids=[])

    @property
    def digest(self) -> str:
        """SHA-256 of names, features and labels, in their order."""
        content = hashlib.sha256()
        for sample in self.samples:
            content.update(sample.id.encode())
            for values in (sample.frames, sample.sentences, sample.frame_labels, sample.sentence_labels):
                if isinstance(values, torch.Tensor):
                    content.update(values.contiguous().numpy().tobytes())
        return content.hexdigest()


def hold_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """(for training, for validation): `share` of the samples, one at least, drawn with `seed`; 0: none."""
    if share == 0:
        return list(samples), []
    number = min(len(samples) - 1, max(1, round(share * len(samples))))
    held = set(np.random.default_rng((seed, 7)).permutation(len(samples))[:number].tolist())
    kept = [sample for index, sample in enumerate(samples) if index not in held]
    return kept, [samples[index] for index in sorted(held)]


def with_shuffled_text(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Every video with another one's sentences, spread evenly over its own frames."""
    order = np.random.default_rng((seed, 11)).permutation(len(samples))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    out = []
    for sample, other in zip(samples, partner, strict=True):
        sentences = samples[other].sentences
        spans = even_spans(len(sample.frames), len(sentences))
        labels = torch.tensor([float(sample.frame_labels[start:stop].any()) for start, stop in spans])
        out.append(replace(sample, sentences=sentences, spans=spans, sentence_labels=labels))
    return out
