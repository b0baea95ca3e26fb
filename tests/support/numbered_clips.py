"""Clips of videos that are not there, each frame of which says its video's number; workers of any kind find them."""

import os
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np

from slowfast_gta.loading import clips as clips_module
from slowfast_gta.loading.batch import Batch
from slowfast_gta.loading.clips import TestViews, TrainClips


class Numbers:
    """An open video of 8 frames of which all say the number that is its name. One that is a pipe never opens."""

    num_frames, fps, times_sec, num_repeated = 8, 12.0, None, 0

    def __init__(self, path, span, timeout_sec):
        self.number = int(Path(path).name)
        if Path(path).exists():
            os.close(os.open(path, os.O_RDONLY))  # nobody writes: this waits in the kernel for ever

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def read(self, indices):
        frames = np.full((len(indices), 16, 16, 3), self.number, np.uint8)
        frames[:, :, :, 0] = np.array(indices)[:, None, None]
        return frames


class OfNumbers:
    """Brings what opens a video along to the workers, where no monkeypatch reaches."""

    def __setstate__(self, state):
        self.__dict__.update(state)
        clips_module.open_video = Numbers


class NumberedClips(OfNumbers, TrainClips):
    pass


class NumberedViews(OfNumbers, TestViews):
    __test__ = False


class Lost:
    """What cannot be handed over to another process."""

    def __reduce__(self):
        raise OSError("No space left on device")


def lose(items) -> Lost | Batch:
    """In the place of `collate`: the batch with video 4 is lost on its way."""
    batch = clips_module.collate(items)
    return Lost() if "4" in batch.video_id else batch


def lose_in_silence(items) -> Lost | Batch:
    """The same, and its worker does not notice."""
    Queue._on_queue_feeder_error = staticmethod(lambda fault, batch: None)  # before the first batch is handed over
    batch = clips_module.collate(items)
    return Lost() if "4" in batch.video_id else batch
