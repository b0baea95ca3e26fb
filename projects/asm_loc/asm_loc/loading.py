"""Batches of videos as a pure function of (seed, epoch, step), shared by any number of processes."""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.loading.batch import BadVideo

from .batches import Batch, Example, collate, make_example
from .datasets import VideoSet
from .segments import Segments
from .settings import Settings

LOOK_AHEAD = 2  # steps that are read while one is computed


class TrainLoader:
    """Every training video once an epoch, in an order of its own; the last batch may be smaller.

    `proposals`: {video: Segments} of the step before, None in step 0. A video that cannot be read is in a batch's
    `errors`.
    """

    def __init__(
        self,
        videos: VideoSet,
        proposals: dict[str, Segments] | None,
        settings: Settings,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        num_threads: int = 1,
    ) -> None:
        """`batch_size` is over all processes."""
        self.videos, self.proposals, self.settings = videos, proposals, settings
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world_size, self.num_threads = rank, world_size, max(1, num_threads)
        self.labels = videos.labels()

    def __len__(self) -> int:
        return -(-len(self.videos) // self.batch_size)

    @property
    def digest(self) -> str:
        """Of the names and labels of the videos, in order."""
        text = repr([(a.video, a.labels) for a in self.videos.videos])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from `start_step` on, read ahead by threads."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.videos))
        with ThreadPoolExecutor(self.num_threads) as pool:
            waiting: deque = deque()
            for step in range(start_step, len(self)):
                batch = order[step * self.batch_size : (step + 1) * self.batch_size]
                share = slice(
                    self.rank * len(batch) // self.world_size, (self.rank + 1) * len(batch) // self.world_size
                )
                indices = batch[share].tolist()
                waiting.append((indices, [pool.submit(self._read, epoch, index) for index in indices]))
                if len(waiting) > LOOK_AHEAD:
                    yield self._batch(*waiting.popleft())
            while waiting:
                yield self._batch(*waiting.popleft())

    def __iter__(self) -> Iterator[Batch]:
        raise TypeError("a TrainLoader has epochs; evaluation goes through a TestLoader")

    def _read(self, epoch: int, index: int) -> Example | BadVideo:
        name = self.videos.videos[index].video
        try:
            features = self.videos.features(index)
        except (DataError, OSError) as error:
            return BadVideo(name, str(error), name, timed_out=False)
        given = None if self.proposals is None else self.proposals[name]
        # Of its own: how many threads and processes read has no influence.
        generator = np.random.default_rng([self.seed, epoch, index])
        return make_example(features, given, self.settings, self.labels.shape[1], generator)

    def _batch(self, indices: list[int], futures: list) -> Batch:
        found = [future.result() for future in futures]
        good = [i for i, item in enumerate(found) if isinstance(item, Example)]
        bad = [item for item in found if isinstance(item, BadVideo)]
        counts = {"num_requested": len(found), "num_decoded": len(good), "num_skipped": len(bad)}
        names = [self.videos.videos[indices[i]].video for i in good]
        return collate(names, [found[i] for i in good], self.labels[[indices[i] for i in good]], bad, counts)


class TestLoader:
    """The indices of a split's videos, every `world_size`-th of them: each process reads its own."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    def __init__(self, videos: VideoSet, rank: int = 0, world_size: int = 1) -> None:
        self.videos, self.rank, self.world_size = videos, rank, world_size

    def __len__(self) -> int:
        return len(range(self.rank, len(self.videos), self.world_size))

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[int]:
        yield from range(self.rank + start_step * self.world_size, len(self.videos), self.world_size)

    def __iter__(self) -> Iterator[int]:
        return self.epoch(0)
