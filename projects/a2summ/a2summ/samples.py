"""One video and its text as numbers, and several of them padded to one batch.

B batch, T frame (sampled), M sentence, C channel. Sentence j spans the frames [start_j, stop_j).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from slowfast_gta.errors import DataError, counted


@dataclass(frozen=True)
class Sample:
    """A video's frames and its sentences; `reference` is what a metric compares with, and no network sees it."""

    id: str
    frames: Tensor  # float32 (T, Cv)
    sentences: Tensor  # float32 (M, Ct); M may be 0
    spans: np.ndarray | None = None  # int64 (M, 2), frames; None where nobody knows the times
    frame_labels: Tensor | None = None  # float32 (T,), 1 is in the summary; None where there is no target
    sentence_labels: Tensor | None = None  # float32 (M,)
    reference: object = None

    def __post_init__(self):
        check_sample(self)


def check_sample(sample: Sample) -> None:
    """Raises DataError where lengths or values do not fit together."""
    num_frames, num_sentences = len(sample.frames), len(sample.sentences)
    if num_frames == 0:
        raise DataError(f"{sample.id}: the sample has no frames. It needs at least one; its text may be empty.")
    for name, values in (("frames", sample.frames), ("sentences", sample.sentences)):
        if values.ndim != 2:
            raise DataError(f"{sample.id}: {name} must be (number, channels), not {tuple(values.shape)}.")
        if not torch.isfinite(values).all():
            raise DataError(f"{sample.id}: the features of its {name} contain non-finite values (NaN or Inf).")
    for name, labels, length in (
        ("frame_labels", sample.frame_labels, num_frames),
        ("sentence_labels", sample.sentence_labels, num_sentences),
    ):
        if labels is not None and tuple(labels.shape) != (length,):
            raise DataError(
                f"{sample.id}: {name} must have {counted(length, 'value')}, but has shape {tuple(labels.shape)}."
            )
    if sample.spans is not None:
        _check_spans(sample.id, sample.spans, num_sentences)


def _check_spans(sample_id: str, spans: np.ndarray, num_sentences: int) -> None:
    if spans.shape != (num_sentences, 2):
        raise DataError(
            f"{sample_id}: {counted(num_sentences, 'sentence')} must have as many pairs (start, stop), but "
            f"their shape is {spans.shape}."
        )
    if num_sentences and (spans.min() < 0 or (spans[:, 0] > spans[:, 1]).any()):
        row = int(np.flatnonzero((spans < 0).any(1) | (spans[:, 0] > spans[:, 1]))[0])
        raise DataError(
            f"{sample_id}: sentence {row} spans frames {spans[row].tolist()}; it must be 0 <= start <= stop."
        )


@dataclass
class Batch:
    """Samples side by side, padded with zeros. Nothing that a sample's result is made of depends on its companions."""

    ids: list[str]
    frames: Tensor  # (B, T, Cv)
    sentences: Tensor  # (B, M, Ct)
    frame_mask: Tensor  # bool (B, T), False where padded
    sentence_mask: Tensor  # bool (B, M)
    alignment: Tensor | None  # bool (B, T, M): frame t belongs to sentence j; None where a sample has no times
    frame_labels: Tensor | None = None  # (B, T)
    sentence_labels: Tensor | None = None  # (B, M)
    errors: list = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def num_samples(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Batch":
        """On `device`; with `dtype`, everything that is not a mask in it."""

        def moved(value):
            if not isinstance(value, Tensor):
                return value
            return value.to(device, dtype if value.is_floating_point() else None)

        return replace(self, **{item.name: moved(getattr(self, item.name)) for item in fields(self)})

    def split(self, num_parts: int) -> list["Batch"]:
        """In parts of almost equal size, at most one for each sample; the first reports what could not be read."""
        num_parts = min(num_parts, self.num_samples)
        if num_parts <= 1:
            return [self]
        parts = np.array_split(np.arange(self.num_samples), num_parts)
        return [self.take(indices, with_errors=part == 0) for part, indices in enumerate(parts)]

    def take(self, indices: Sequence[int], with_errors: bool = False) -> "Batch":
        """The samples at `indices`; only one part reports what could not be read."""
        chosen = torch.as_tensor(np.asarray(indices, np.int64), device=self.frames.device)
        tensors = {
            item.name: getattr(self, item.name)[chosen]
            for item in fields(self)
            if isinstance(getattr(self, item.name), Tensor)
        }
        errors, counts = (self.errors, self.counts) if with_errors else ([], {})
        return replace(self, ids=[self.ids[index] for index in indices], errors=errors, counts=counts, **tensors)


def collate(samples: Sequence[Sample]) -> Batch:
    """Pad `samples` to one batch. Labels and alignment are there when every sample has them."""
    dims = {(sample.frames.shape[1], sample.sentences.shape[1]) for sample in samples}
    if len(dims) != 1:
        raise DataError(
            f"{samples[0].id} and {len(samples) - 1} more: features of several widths (frame, sentence): "
            f"{sorted(dims)}. A network supports only one."
        )
    lengths = torch.tensor([len(sample.frames) for sample in samples])
    num_sentences = torch.tensor([len(sample.sentences) for sample in samples])
    longest, most = int(lengths.max()), int(num_sentences.max())
    aligned = all(sample.spans is not None for sample in samples)
    return Batch(
        ids=[sample.id for sample in samples],
        frames=pad_sequence([sample.frames for sample in samples], batch_first=True),
        sentences=pad_sequence([sample.sentences for sample in samples], batch_first=True),
        frame_mask=torch.arange(longest) < lengths[:, None],
        sentence_mask=torch.arange(most) < num_sentences[:, None],
        alignment=torch.stack([_padded_alignment(sample, longest, most) for sample in samples]) if aligned else None,
        frame_labels=_padded([sample.frame_labels for sample in samples]),
        sentence_labels=_padded([sample.sentence_labels for sample in samples]),
    )


def _padded(labels: Sequence[Tensor | None]) -> Tensor | None:
    if any(values is None for values in labels):
        return None
    return pad_sequence(list(labels), batch_first=True)


def _padded_alignment(sample: Sample, longest: int, most: int) -> Tensor:
    out = torch.zeros(longest, most, dtype=torch.bool)
    out[: len(sample.frames), : len(sample.sentences)] = alignment_of(sample.spans, len(sample.frames))
    return out


def alignment_of(spans: np.ndarray, num_frames: int) -> Tensor:
    """bool (T, M): frame t belongs to sentence j exactly when start_j <= t < stop_j. `spans` (M, 2) may overlap."""
    frame = torch.arange(num_frames)[:, None]
    bounds = torch.as_tensor(np.asarray(spans, np.int64).reshape(-1, 2))
    return (bounds[:, 0] <= frame) & (frame < bounds[:, 1])
