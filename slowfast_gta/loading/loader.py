"""From clips to batches: who reads which video, when, and what becomes of those that cannot be read.

The order of an epoch is a permutation that derives from (seed, epoch). The processes of a run share each batch of
it, so that a batch holds the same videos however many they are. In testing every video comes exactly once.
"""

import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch.utils.data import DataLoader, get_worker_info

from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.mirror import directed_names, exchanged_names, without_exchange
from slowfast_gta.datasets.records import VideoDataset
from slowfast_gta.distributed import get_rank, get_world_size
from slowfast_gta.errors import ConfigError, DataError, RunError, counted
from slowfast_gta.loading.batch import Batch
from slowfast_gta.loading.clips import TestViews, TrainClips, collate
from slowfast_gta.loading.compact import VideoRecords
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.shared_memory import lost_batch_fault
from slowfast_gta.loading.transforms import TestTransform, TrainTransform
from slowfast_gta.loading.watchdog import StuckWorkerWatchdog
from slowfast_gta.processes.workers import signals_blocked, start_method, start_worker
from slowfast_gta.video.frame_names import parse_pattern

logger = logging.getLogger(__name__)


class TrainBatchSampler:
    """The batches of one epoch for one process: lists of (epoch, index).

    The last batch, where it is incomplete, is dropped, or else shared as the others are: of one with fewer clips than
    there are processes, some have none.
    """

    def __init__(self, num_videos: int, batch_size: int, seed: int, rank: int, world_size: int, drop_last: bool = True):
        """`batch_size` is over all processes."""
        self.num_videos, self.batch_size, self.seed = num_videos, batch_size, seed
        self.rank, self.world_size, self.drop_last = rank, world_size, drop_last
        self.epoch = self.start_step = 0

    def __len__(self) -> int:
        return self.num_videos // self.batch_size if self.drop_last else -(-self.num_videos // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_videos)
        for step in range(self.start_step, len(self)):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            share = slice(self.rank * len(batch) // self.world_size, (self.rank + 1) * len(batch) // self.world_size)
            yield [(self.epoch, index) for index in batch[share].tolist()]


class TestBatchSampler:
    """The batches of a test for one process: every `world_size`-th of the list's.

    They hold the same videos however many processes share them: a batch of another size may round differently.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    def __init__(self, num_videos: int, videos_per_batch: int, rank: int, world_size: int):
        batches = [range(first, num_videos)[:videos_per_batch] for first in range(0, num_videos, videos_per_batch)]
        self.batches = [list(batch) for batch in batches[rank::world_size]]
        self.epoch = self.start_step = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches[self.start_step :]


@dataclass(eq=False, repr=False)
class ClipLoader:
    """Reads the batches of `order` from `clips`, in `num_workers` processes that live as long as the loader.

    Videos that cannot be read are in a batch's `errors`. A worker that is stuck in a video is ended, and the video is
    one that cannot be read.
    """

    clips: TrainClips | TestViews
    order: TrainBatchSampler | TestBatchSampler
    num_workers: int
    pin_memory: bool = False
    _batches: DataLoader[Batch] | None = field(default=None, init=False)

    @property
    def digest(self) -> str:
        """Of the list that is read: its videos in order, their labels and spans."""
        records = self.clips.records
        return records.digest() if isinstance(records, VideoRecords) else ""

    def __len__(self) -> int:
        """Batches in an epoch of this process."""
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from `start_step` on. Raises RunError when a worker dies."""
        step = start_step
        while step < len(self):
            for batch in self._watched(epoch, step):
                step += 1
                yield batch

    def _start(self) -> DataLoader:
        """The torch loader. Its workers are forked from a clean server process: a fork of this one would inherit
        the locks of its threads (OpenCV's, OpenMP's, CUDA's), and could wait for them for ever."""
        in_workers = self.num_workers > 0
        self.clips.watch.begin()
        return DataLoader(
            self.clips,
            batch_sampler=self.order,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
            worker_init_fn=_start_worker if in_workers else None,
            multiprocessing_context=start_method() if in_workers else None,
            persistent_workers=in_workers,
        )

    def _watched(self, epoch: int, start_step: int) -> Iterator[Batch]:
        """The batches of the torch loader from `start_step` on.

        They end early where a worker was stuck. The next call starts new workers, for which the record is a broken
        one; all else follows from its number, and is what it would have been.

        The death of a worker is noticed here, as a sentence, not anywhere in the program: torch would raise from a
        signal handler.
        """
        self.order.epoch, self.order.start_step = epoch, start_step
        self._batches = self._batches or self._start()
        watch = self.clips.watch
        num_given_up = len(watch.given_up)
        handler = signal.getsignal(signal.SIGCHLD)
        try:
            with watch.ending_stuck_workers(self.clips.records):
                with signals_blocked():
                    batches = without_the_lock_of_the_dead(iter(self._batches))
                if signal.getsignal(signal.SIGCHLD) is not handler:  # torch has set one that raises
                    signal.signal(signal.SIGCHLD, handler)
                while (batch := self._next(batches)) is not None:
                    yield batch
        except (RuntimeError, ConnectionError, EOFError) as fault:
            # Without its sender, a batch on the way cannot be taken up: that is the death of a worker too.
            if isinstance(fault, RuntimeError) and "DataLoader worker" not in str(fault):
                raise
            self._batches = None
            if watch.lost_after_sec:
                raise lost_batch_fault(self.num_workers, watch.lost_after_sec) from None
            if len(watch.given_up) == num_given_up:
                raise RunError(
                    "A process that reads videos was killed. Usually the memory, or /dev/shm, was full: lower "
                    f"DATA_LOADER.NUM_WORKERS (now {self.num_workers}) or the batch size."
                ) from None

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        with self.clips.watch.waiting():
            return next(batches, None)


class EndOfWorkers:
    """In this process, the event by which torch tells workers of the end.

    Workers look at it under its lock. One that was killed meanwhile holds the lock for ever, and torch, asking or
    setting the event, would wait for it for ever: here it is asked without the lock, and where the lock is not to be
    had the workers are killed.
    """

    def __init__(self, event: Any, workers: list, patience_sec: float = 5.0):
        self._event, self._workers, self._patience_sec = event, workers, patience_sec
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if self._event._cond.acquire(timeout=self._patience_sec):
            self._event._cond.release()
            self._event.set()
            return
        for worker in self._workers:
            worker.kill()


def without_the_lock_of_the_dead(batches: Any) -> Any:
    """The iterator of a torch loader, whose end no killed worker can hold up."""
    event = getattr(batches, "_workers_done_event", None)
    if event is not None and not isinstance(event, EndOfWorkers):
        batches._workers_done_event = EndOfWorkers(event, batches._workers)
    return batches


def _start_worker(number: int) -> None:
    start_worker(number)
    clips: Any = get_worker_info().dataset  # type: ignore[union-attr]  # torch calls this in a worker, which has one
    clips.watch.started(number)


def build_train_loader(cfg: CfgNode, dataset: VideoDataset | None = None) -> ClipLoader:
    """Random clips of the training videos, this process's share of each TRAIN.BATCH_SIZE."""
    dataset = dataset or build_dataset(cfg, "train")
    records = VideoRecords(dataset.records("train"))
    batch_size, world_size = cfg.TRAIN.BATCH_SIZE, get_world_size()
    if batch_size < world_size:
        raise ConfigError(f"TRAIN.BATCH_SIZE is {batch_size}, less than the number of processes, {world_size}.")
    if len(records) < batch_size and cfg.TRAIN.DROP_LAST:
        raise DataError(
            f"The training list has {counted(len(records), 'video')}, fewer than TRAIN.BATCH_SIZE {batch_size}: "
            f"an epoch would have no steps. Set TRAIN.BATCH_SIZE to {len(records)} at most, or TRAIN.DROP_LAST False."
        )
    transform = TrainTransform.from_cfg(cfg)
    mirror_labels = build_mirror_labels(cfg, dataset)
    replace = cfg.DATA.ON_ERROR == "replace"
    clips = TrainClips(
        records, ClipSampling.from_cfg(cfg), transform, mirror_labels, cfg.RNG_SEED, replace, build_watchdog(cfg)
    )
    clips.frame_pattern = build_frame_pattern(cfg)
    if num_left := len(records) % batch_size:
        if cfg.TRAIN.DROP_LAST:
            logger.info(
                f"Dropping the incomplete last batch: {num_left} of {counted(len(records), 'video')}, different "
                f"ones each epoch (TRAIN.BATCH_SIZE {batch_size}, TRAIN.DROP_LAST True)."
            )
        else:
            logger.info(
                f"The last batch of an epoch has {counted(num_left, 'video')} instead of {batch_size} "
                "(TRAIN.DROP_LAST False)."
            )
    order = TrainBatchSampler(len(records), batch_size, cfg.RNG_SEED, get_rank(), world_size, cfg.TRAIN.DROP_LAST)
    return ClipLoader(clips, order, cfg.DATA_LOADER.NUM_WORKERS, cfg.DATA_LOADER.PIN_MEMORY)


def build_test_loader(cfg: CfgNode, split: str, dataset: VideoDataset | None = None) -> ClipLoader:
    """All views of the videos of `split`: one centre view for "val", TEST's views for "test"."""
    dataset = dataset or build_dataset(cfg, split)
    records = VideoRecords(dataset.records(split))
    num_clips, num_crops = (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS) if split == "test" else (1, 1)
    if num_crops == 10 and (names := directed_classes(dataset)):
        raise ConfigError(
            f"TEST.NUM_SPATIAL_CROPS 10 has mirrored crops, which would turn {counted(len(names), 'class')} into "
            f"others ({'; '.join(names[:3])} ...). It must be 1 or 3."
        )
    sampling = ClipSampling.from_cfg(cfg)
    if split != "test":
        sampling = sampling.centred()
    clips = TestViews(records, sampling, TestTransform.from_cfg(cfg, num_crops), num_clips, build_watchdog(cfg))
    clips.frame_pattern = build_frame_pattern(cfg)
    videos_per_batch = max(1, cfg.TEST.BATCH_SIZE // clips.num_views)
    if cfg.TEST.FULL_RESOLUTION:
        videos_per_batch = 1  # each may have a shape of its own
    order = TestBatchSampler(len(records), videos_per_batch, get_rank(), get_world_size())
    return ClipLoader(clips, order, cfg.DATA_LOADER.NUM_WORKERS, cfg.DATA_LOADER.PIN_MEMORY)


def build_frame_pattern(cfg: CfgNode) -> str:
    """DATA.FRAME_PATTERN, which is logged. Raises ConfigError where it is none."""
    if pattern := parse_pattern(cfg.DATA.FRAME_PATTERN):
        logger.info(f"Frames of folders are {pattern} (DATA.FRAME_PATTERN); other files in them are ignored.")
    return cfg.DATA.FRAME_PATTERN


def build_watchdog(cfg: CfgNode) -> StuckWorkerWatchdog:
    """The time limit of DATA_LOADER, for its workers."""
    return StuckWorkerWatchdog(cfg.DATA_LOADER.NUM_WORKERS, cfg.DATA_LOADER.SAMPLE_TIMEOUT_SEC)


def build_mirror_labels(cfg: CfgNode, dataset: VideoDataset) -> list[int | None] | list[list[int | None]]:
    """For every class, the label that a mirrored clip of it has, or None to never mirror it, by DATA.RANDOM_FLIP."""
    by_output = _mirrored_by_output(dataset)
    if cfg.DATA.RANDOM_FLIP != "swap-labels":
        by_output = [(names, without_exchange(labels)) for names, labels in by_output]
    exchanged = [pair for output in by_output for pair in exchanged_names(*output)]
    never = [name for names, labels in by_output for name, label in zip(names, labels, strict=True) if label is None]
    if cfg.DATA.RANDOM_FLIP and exchanged:
        pairs = "1 pair of classes is" if len(exchanged) == 1 else f"{len(exchanged)} pairs of classes are"
        logger.info(f"{pairs} flipped with labels exchanged: {'; '.join(exchanged)}.")
    if cfg.DATA.RANDOM_FLIP and never:
        classes = "class is" if len(never) == 1 else "classes are"
        logger.info(f"{len(never)} direction-sensitive {classes} never flipped: {'; '.join(never)}.")
    labels = [labels for _, labels in by_output]
    return labels if dataset.outputs else labels[0]


def directed_classes(dataset: VideoDataset) -> list[str]:
    """The names of the classes whose mirror image is not of the class."""
    return [name for output in _mirrored_by_output(dataset) for name in directed_names(*output)]


def _mirrored_by_output(dataset: VideoDataset) -> list[tuple[list[str], list[int | None]]]:
    """[(names, mirror labels)], one for each output."""
    names = dataset.class_names()
    labels: Any = dataset.mirror_labels()  # a list for each output, where there are several
    return list(zip(names.values(), labels, strict=True)) if isinstance(names, dict) else [(names, labels)]
