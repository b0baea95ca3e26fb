"""From records to clips: one random clip of a video for training, all its views for testing.

Every random choice derives from (seed, epoch, index of the record, attempt), so a clip is the same whatever the
number of workers and processes. A video that cannot be read never raises here: its sentence is returned, since an
exception of a worker would reach the user as two tracebacks. What to do about it is the loader's choice.

B batch, V views of a video, T frame, S crop size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.errors import DataError, ReadTimeoutError
from slowfast_gta.loading.batch import BadVideo, Batch
from slowfast_gta.loading.compact import VideoRecords
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform, TrainTransform, mirror_image, to_clips
from slowfast_gta.loading.watchdog import StuckWorkerWatchdog
from slowfast_gta.video.readers import open_video

Label = int | tuple[int, ...]  # the latter with several outputs
_REPLACEMENT_TRIES = 8  # other videos of the class that are tried instead of a broken one


@dataclass(frozen=True)
class Item:
    """What one video gave: its clips, or None where it could not be read, and all that went wrong."""

    frames: torch.Tensor | None  # uint8 (V, 3, T, S, S); V = 1 in training
    label: Label
    video_id: str
    index: int
    view_id: tuple[int, ...] = (0,)
    errors: tuple[BadVideo, ...] = ()  # not empty together with frames: replaced
    num_repeated: int = 0  # frames that did not decode; the nearest decoded frame was used
    num_alike: int = 0  # clips of a video too short for so many different ones that are the same as one before


class _Clips(Dataset):
    """Records, and how one is opened."""

    records: Sequence[VideoRecord]
    watch: StuckWorkerWatchdog  # has the time limit and notes what is read
    frame_pattern = ""  # which files of a folder are its frames, as DATA.FRAME_PATTERN

    def __len__(self) -> int:
        return len(self.records)

    @contextmanager
    def _open(self, index: int) -> Iterator:
        """Record `index`, to read from. Raises DataError."""
        record = self.records[index]
        limit_sec = self.watch.limit_sec or None
        how = {"frame_pattern": self.frame_pattern} if self.frame_pattern else {}
        with self.watch.reading(index), open_video(record.path, record.span, timeout_sec=limit_sec, **how) as video:
            yield video


@dataclass(eq=False, repr=False)
class TrainClips(_Clips):
    """Random clips. An item is asked for as (epoch, index)."""

    records: VideoRecords
    sampling: ClipSampling
    transform: TrainTransform
    mirror_labels: Any  # by label, that of the mirror image, None to never mirror; with several outputs one for each
    seed: int
    replace: bool = False  # another video of the class stands in for a broken one
    watch: StuckWorkerWatchdog = field(default_factory=StuckWorkerWatchdog)

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> Item:
        epoch, index = epoch_and_index
        errors = []
        for attempt, candidate in enumerate(self._candidates(epoch, index)):
            record = self.records[candidate]
            try:
                # A generator of its own: what the attempts before drew, and how far they came, does not matter.
                generator = np.random.default_rng([self.seed, epoch, index, attempt])
                frames, label, num_repeated = self._read(candidate, generator)
            except DataError as fault:
                errors.append(_bad(record, fault))
            else:
                return Item(frames, label, record.video_id, candidate, (0,), tuple(errors), num_repeated)
        record = self.records[index]
        return Item(None, record.label, record.video_id, index, (), tuple(errors))

    def _candidates(self, epoch: int, index: int) -> Iterator[int]:
        """`index`, then, where broken videos are replaced, a few others of its class in random order."""
        yield index
        if self.replace:
            others = self.records.with_label(self.records[index].label)
            generator = np.random.default_rng([self.seed, epoch, index, 0, 1])
            yield from generator.permutation(others[others != index])[:_REPLACEMENT_TRIES].tolist()

    def _read(self, index: int, generator: np.random.Generator) -> tuple[torch.Tensor, Label, int]:
        with self._open(index) as video:
            frames = video.read(self.sampling.train(video.num_frames, video.fps, generator, video.times_sec))
            num_repeated = video.num_repeated
        record = self.records[index]
        clip, label = self.transform(frames[::-1] if record.backwards else frames, generator), record.label
        if self.transform.mirrors(generator) and (mirrored := self._mirrored(label)) is not None:
            clip, label = mirror_image(clip), mirrored
        return to_clips(clip[None]), label, num_repeated

    def _mirrored(self, label: Label) -> Label | None:
        """The label of the mirror image; None where there is none, with several outputs of any of them."""
        if not isinstance(label, tuple):
            return self.mirror_labels[label]
        mirrored = tuple(
            labels[index_of_label] for labels, index_of_label in zip(self.mirror_labels, label, strict=True)
        )
        return None if None in mirrored else mirrored


@dataclass(eq=False, repr=False)
class TestViews(_Clips):
    """All views of a video, from decoding it once: `num_clips` clips times the crops of `transform`.

    view_id = clip x crops + crop, as in PySlowFast.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    records: Sequence[VideoRecord]
    sampling: ClipSampling
    transform: TestTransform
    num_clips: int
    watch: StuckWorkerWatchdog = field(default_factory=StuckWorkerWatchdog)

    @property
    def num_views(self) -> int:
        return self.num_clips * self.transform.num_crops

    def __getitem__(self, index: int) -> Item:
        record = self.records[index]
        try:
            with self._open(index) as video:
                views = self.sampling.views(video.num_frames, video.fps, self.num_clips, video.times_sec)
                views = [view[::-1] for view in views] if record.backwards else views
                wanted, inverse = np.unique(views, return_inverse=True)
                crops = self.transform(video.read(wanted.tolist()))
                num_repeated = video.num_repeated
        except DataError as fault:
            return Item(None, record.label, record.video_id, index, (), (_bad(record, fault),))
        inverse = inverse.reshape(self.num_clips, -1)
        frames = np.empty((self.num_views, inverse.shape[1], *crops[0].shape[1:]), np.uint8)
        for view, (clip, crop) in enumerate(product(inverse, crops)):
            for target, column in zip(frames[view], clip, strict=True):
                target[:] = crop[column]
        view_id = tuple(range(self.num_views))
        num_alike = self.num_clips - len({tuple(view) for view in views})
        return Item(to_clips(frames), record.label, record.video_id, index, view_id, (), num_repeated, num_alike)


def collate(items: list[Item]) -> Batch:
    """The batch of what these videos gave. B counts views."""
    good = [item for item in items if item.frames is not None]
    frames = [item.frames for item in good if item.frames is not None]
    counts = torch.tensor([len(clips) for clips in frames], dtype=torch.long)
    return Batch(
        frames=_cat_channels_last(frames) if good else None,
        label=torch.tensor([item.label for item in good], dtype=torch.long).repeat_interleave(counts, 0),
        index=torch.tensor([item.index for item in good], dtype=torch.long).repeat_interleave(counts),
        view_id=torch.tensor([view for item in good for view in item.view_id], dtype=torch.long),
        video_id=[item.video_id for item in good for _ in item.view_id],
        errors=[error for item in items for error in item.errors],
        num_repeated=sum(item.num_repeated for item in good),
        num_alike=sum(item.num_alike for item in good),
        video_counts=count(items),
    )


def count(items: Sequence[Item]) -> dict[str, int]:
    """What became of the videos that were asked for: requested = decoded + skipped + replaced. One that timed out is
    skipped or replaced too, and one that stood in may time out as well."""
    good = [item for item in items if item.frames is not None]
    num_replaced = sum(bool(item.errors) for item in good)
    return {
        "num_requested": len(items),
        "num_decoded": len(good) - num_replaced,
        "num_skipped": len(items) - len(good),
        "num_replaced": num_replaced,
        "num_timed_out": sum(bad.timed_out for item in items for bad in item.errors),
    }


def _bad(record: VideoRecord, fault: DataError) -> BadVideo:
    return BadVideo(record.video_id, str(fault), record.path, isinstance(fault, ReadTimeoutError))


def _cat_channels_last(clips: list[torch.Tensor]) -> torch.Tensor:
    """(V, 3, T, S, S) each -> (B, 3, T, S, S), in memory still (B, T, S, S, 3): a plain copy, and the order a
    network in channels_last wants."""
    if len(clips) == 1:
        return clips[0]
    return torch.cat([clip.permute(0, 2, 3, 4, 1) for clip in clips]).permute(0, 4, 1, 2, 3)
