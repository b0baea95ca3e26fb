"""Streams without a file: frames whose pixels say their number, with whatever is missing."""

import numpy as np

from slowfast_gta.video.stream import StreamedFrame


class ToyStream:
    """Frames `indices`, shown at `times`; each is (2, 2, 3) of its number."""

    path, fault, num_missing, num_broken = "toy", None, 0, 0

    def __init__(self, indices, fps: float | None = 25.0, times=None, num_frames: int | None = None):
        self.indices, self.fps, self.num_frames = list(indices), fps, num_frames
        self.times = [index / fps for index in self.indices] if times is None else list(times)

    def __iter__(self):
        for index, time in zip(self.indices, self.times, strict=True):
            yield StreamedFrame(index, time, np.full((2, 2, 3), index, np.uint8))


def as_it_is(frames: np.ndarray) -> list[np.ndarray]:
    return [frames]
