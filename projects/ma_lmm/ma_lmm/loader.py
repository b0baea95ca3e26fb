"""From samples to batches: which frames, cut and flipped how, by (seed, epoch, index) alone.

B samples, T frames, S pixels of a side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ma_lmm.frames import (
    FrameTransform,
    frame_times,
    no_frames,
    open_video,
    random_box,
    random_indices,
    read_one_by_one,
)
from ma_lmm.tasks.samples import Sample
from slowfast_gta.errors import DataError, ReadTimeoutError
from slowfast_gta.loading.batch import VIDEO_COUNTS, BadVideo
from slowfast_gta.loading.loader import TestBatchSampler, TrainBatchSampler
from slowfast_gta.processes.workers import start_method, start_worker

COUNTS = (*VIDEO_COUNTS, "repeated_frames")


class Item(NamedTuple):
    """What became of a sample: its frames (T, 3, S, S), uint8, or why there are none."""

    index: int
    found: Tensor | BadVideo
    num_repeated: int = 0  # frames that could not be decoded; the nearest decoded one was used


@dataclass(frozen=True)
class VideoBatch:
    """One process's share of a step. `frames` uint8 (B, T, 3, S, S); None: no video could be read."""

    frames: Tensor | None
    samples: list[Sample]
    errors: list[BadVideo] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def num_samples(self) -> int:
        return len(self.samples)

    @property
    def ids(self) -> list[str]:
        return [sample.id for sample in self.samples]

    def to(self, device: torch.device) -> Self:
        return self if self.frames is None else replace(self, frames=self.frames.to(device, non_blocking=True))

    def split(self, num_parts: int) -> Sequence[Self]:
        """In at most `num_parts` parts of almost equal size; what is counted stands in the first."""
        num_parts = min(num_parts, self.num_samples)
        if self.frames is None or num_parts <= 1:
            return [self]
        parts, start = [], 0
        for frames in self.frames.tensor_split(num_parts):
            counted = {} if start == 0 else {"errors": [], "counts": {}}
            parts.append(replace(self, frames=frames, samples=self.samples[start : start + len(frames)], **counted))
            start += len(frames)
        return parts


class SampleFrames(Dataset):
    """The frames of samples: one at random in each of T parts, cut and flipped alike, for (epoch, index); T even ones
    for an index alone, as in testing. A sample that cannot be read is returned as the sentence that says why."""

    def __init__(
        self,
        samples: Sequence[Sample],
        num_frames: int,
        transform: FrameTransform,
        seed: int,
        index_rule: str = "round",
        timeout_sec: float | None = None,
    ):
        self.samples, self.num_frames, self.transform, self.seed = samples, num_frames, transform, seed
        self._index_rule, self._timeout_sec = index_rule, timeout_sec

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        sample = self.samples[index]
        generator = None if epoch is None else np.random.default_rng([self.seed, epoch, index])
        try:
            return Item(index, *self._read(sample, generator))
        except DataError as fault:
            bad = BadVideo(sample.id, str(fault), sample.path, isinstance(fault, ReadTimeoutError))
            return Item(index, bad)

    def _read(self, sample: Sample, generator: np.random.Generator | None) -> tuple[Tensor, int]:
        """Frames (T, 3, S, S), and for how many of them the nearest decoded one was used."""
        with open_video(sample.path, timeout_sec=self._timeout_sec) as video:
            first, num_frames = _part(video, sample)
            if generator is not None:
                chosen = random_indices(num_frames, self.num_frames, generator)
            else:
                chosen = _even(num_frames, self.num_frames, self._index_rule)
            frames = read_one_by_one(video, [first + index for index in chosen])
            box, flip = None, generator is not None and bool(generator.random() < 0.5)
            pixels = []
            for frame in frames:
                if generator is not None and box is None:
                    box = random_box(*frame.shape[:2], generator)
                pixels.append(self.transform.resize(frame, box, flip))
            num_repeated = video.num_repeated
        return torch.stack(pixels), num_repeated

    def collate(self, items: list[Item]) -> VideoBatch:
        read = [item for item in items if isinstance(item.found, Tensor)]
        errors = [item.found for item in items if isinstance(item.found, BadVideo)]
        frames = torch.stack([item.found for item in read]) if read else None
        timed_out = sum(error.timed_out for error in errors)
        values = (len(items), len(read), len(errors), 0, timed_out)
        counts = dict(zip(VIDEO_COUNTS, values, strict=True))
        counts["repeated_frames"] = sum(item.num_repeated for item in read)
        return VideoBatch(frames, [self.samples[item.index] for item in read], errors, counts)


class SampleLoader:
    """Batches of a SampleFrames in an order that follows from (seed, epoch, step)."""

    def __init__(self, dataset: SampleFrames, order: TrainBatchSampler | TestBatchSampler, num_workers: int):
        self.dataset, self.order, self._num_workers = dataset, order, num_workers

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[VideoBatch]:
        return self.epoch(0)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[VideoBatch]:
        self.order.epoch, self.order.start_step = epoch, start_step
        workers = {"worker_init_fn": start_worker, "multiprocessing_context": start_method()}
        return iter(
            DataLoader(
                self.dataset,
                batch_sampler=self.order,
                num_workers=self._num_workers,
                collate_fn=self.dataset.collate,
                **(workers if self._num_workers else {}),
            )
        )


def _part(video, sample: Sample) -> tuple[int, int]:
    """(first frame, number of frames) of the part of an open video that is watched."""
    if sample.span_sec is None:
        part = (0, video.num_frames)
    else:
        times = frame_times(video, sample.path, sample.fps)
        first, stop = np.searchsorted(times, np.array(sample.span_sec) - 1e-6)
        part = (int(first), int(stop - first))
    if part[1] < 1:
        span = "" if sample.span_sec is None else f", from {sample.span_sec[0]:g} to {sample.span_sec[1]:g} s"
        raise no_frames(f"{sample.path}{span}")
    return part


def _even(num_frames: int, num_wanted: int, rule: str) -> list[int]:
    positions = np.linspace(0, num_frames - 1, num_wanted)
    return (np.floor(positions) if rule == "floor" else np.rint(positions)).astype(int).tolist()
