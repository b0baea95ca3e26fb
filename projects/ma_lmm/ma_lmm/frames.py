"""Which frames of a video are shown to the model, and frames -> what its vision encoder takes.

T frames, H W space.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.video.readers import open_video

__all__ = ["FrameTransform", "even_indices", "indices_at_rate", "open_video", "random_indices", "read_one_by_one"]


def even_indices(num_frames: int, num_wanted: int) -> list[int]:
    """The test-time frames of the authors' code: rint(linspace(0, n - 1, T)), the first and the last among them."""
    return np.rint(np.linspace(0, num_frames - 1, num_wanted)).astype(int).tolist()


def random_indices(num_frames: int, num_wanted: int, generator: np.random.Generator) -> list[int]:
    """The training frames: one at random in each of T parts, whose bounds are the integers of linspace(0, n, T + 1)."""
    bounds = np.linspace(0, num_frames, num_wanted + 1).astype(int)
    return [
        min(start, num_frames - 1) if stop <= start else int(generator.integers(start, stop))
        for start, stop in pairwise(bounds)
    ]


def indices_at_rate(times_sec: np.ndarray, fps: float) -> list[int]:
    """The frame that is shown at every 1 / `fps` seconds; `times_sec` (T,) is when each frame begins."""
    wanted = np.arange(0.0, times_sec[-1] + 1e-6, 1.0 / fps)
    shown = np.searchsorted(times_sec, wanted + 1e-6, side="right") - 1
    return list(dict.fromkeys(shown.tolist()))


def frame_times(video, path: str | Path, folder_fps: float | None = None) -> np.ndarray:
    """float64 (T,): when each frame of an open `video` is shown, in seconds."""
    times = video.times_sec
    if times is not None:
        return times
    fps = folder_fps or video.fps
    if not fps:
        raise ConfigError(f"{path}: the times of its frames are not known. Use --frames N instead of --fps.")
    return np.arange(video.num_frames) / fps


def read_one_by_one(video, indices: list[int]) -> Iterator[np.ndarray]:
    """The frames `indices` (ascending, repeats allowed) of an open video, uint8 (H, W, 3), never two in memory."""
    if hasattr(video, "frames"):
        last_index, frame, frames = None, None, video.frames(indices)
        for index in indices:
            if index != last_index:
                frame = next(frames)
            last_index = index
            yield frame
    else:  # a folder of images: any one is read at once
        for index in indices:
            yield video.read([index])[0]


class FrameTransform:
    """Frames as the processor of the model's folder would make them: squared to `image_px`, bicubic, normalised."""

    def __init__(self, processor):
        size = processor.size
        height, width = (size["height"], size["width"]) if "height" in size else (size["shortest_edge"],) * 2
        if height != width:
            raise ConfigError(f"The model's frames are {height} x {width} pixels; only square ones are supported.")
        self.image_px = height
        self._resample = processor.resample
        mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
        self._scale, self._shift = processor.rescale_factor / std, mean / std

    def __call__(self, frame: np.ndarray) -> Tensor:
        """uint8 (H, W, 3) -> float32 (3, image_px, image_px)."""
        return self.normalise(self.resize(frame))

    def resize(self, frame: np.ndarray, box: tuple[float, ...] | None = None, flip: bool = False) -> Tensor:
        """uint8 (H, W, 3) -> uint8 (3, image_px, image_px); `box` (left, top, right, bottom) is what is cut out."""
        image = Image.fromarray(frame).resize((self.image_px, self.image_px), self._resample, box=box)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels.flip(-1) if flip else pixels.contiguous()

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (..., 3, H, W) -> float32."""
        return pixels.float().mul_(self._scale.to(pixels.device)).sub_(self._shift.to(pixels.device))


def random_box(height: int, width: int, generator: np.random.Generator) -> tuple[float, ...]:
    """A training crop: 0.5 to 1 of the area, an aspect ratio of 3/4 to 4/3 (RandomResizedCrop)."""
    for _ in range(10):
        area = height * width * generator.uniform(0.5, 1.0)
        ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(generator.integers(width - w + 1)), int(generator.integers(height - h + 1))
            return (left, top, left + w, top + h)
    return (0, 0, width, height)


def no_frames(path: str | Path) -> DataError:
    return DataError(f"{path}: the video contains no frames.")
