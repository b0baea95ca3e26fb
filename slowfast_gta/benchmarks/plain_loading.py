"""Loading clips the way PySlowFast's pyav path does: what the loader benchmark measures ours against.

Every view of a video by itself: the file is opened, sought, decoded from the keyframe on, every frame from the first to
the last of the clip is converted to RGB, those of the clip are picked, made float, normalised, resized whole and
cropped; the slow pathway's frames are copied. One thread does it all, the conversion too.

T frame, H W space, S crop size.
"""

import math
from dataclasses import dataclass

import av
import numpy as np
import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast_gta.errors import DataError

_SEEK_MARGIN = 1024  # in the stream's units of time: seeking is not exact


@dataclass(frozen=True)
class PlainLoading:
    """The steps, in their order: open, decode, transform; torch's default_collate makes the batch."""

    num_frames: int
    sampling_rate: int
    target_fps: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_slow: int | None  # frames of the slow pathway, where there are two

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "PlainLoading":
        data = cfg.DATA
        num_slow = data.NUM_FRAMES // cfg.SLOWFAST.ALPHA if cfg.MODEL.ARCH == "slowfast" else None
        mean, std = tuple(data.MEAN), tuple(data.STD)
        return cls(data.NUM_FRAMES, data.SAMPLING_RATE, data.TARGET_FPS, mean, std, num_slow)

    def open(self, path: str) -> av.container.InputContainer:
        container = av.open(path)
        container.streams.video[0].thread_count = 1
        return container

    def decode(self, container: av.container.InputContainer, start: float) -> Tensor:
        """The T frames of the clip that begins at `start` (0 to 1) of the room there is: uint8 (T, H, W, 3).

        Closes `container`. Raises DataError when there is no frame."""
        stream = container.streams.video[0]
        fps = float(stream.average_rate or self.target_fps)
        length = max(self.num_frames * self.sampling_rate / self.target_fps * fps, 1.0)
        knows_its_length = bool(stream.duration and stream.frames)  # webm does not: all of it is decoded
        first_pts, last_pts = 0, math.inf
        if knows_its_length:
            span = max(math.ceil((self.num_frames - 1) * self.sampling_rate / self.target_fps * fps), 1)
            first = start * max(stream.frames - span, 0)
            first_pts, last_pts = (int(at * (stream.duration or 0) / stream.frames) for at in (first, first + span - 1))
        images = _images_between(container, first_pts, last_pts)
        begin = 0.0 if knows_its_length else start * max(len(images) - length, 0)
        positions = torch.linspace(begin, begin + length - 1, self.num_frames).clamp(0, len(images) - 1)
        return images[positions.long()]

    def test_transform(self, frames: Tensor, crop_size: int, crop: int, num_crops: int) -> list[Tensor]:
        """float (3, T, S, S), once for each pathway: the shorter side to S, the `crop`-th of 1 or 3 squares."""
        clip = _resize(self._normalise(frames), crop_size)
        room_y, room_x = clip.shape[2] - crop_size, clip.shape[3] - crop_size
        top, left = (room_y + 1) // 2, (room_x + 1) // 2
        if num_crops == 3 and room_y > room_x:
            top = (0, top, room_y)[crop]
        elif num_crops == 3:
            left = (0, left, room_x)[crop]
        return self._pathways(clip[:, :, top : top + crop_size, left : left + crop_size])

    def train_transform(
        self, frames: Tensor, jitter: tuple[int, int], crop_size: int, generator: np.random.Generator
    ) -> list[Tensor]:
        """float (3, T, S, S), once for each pathway: a random shorter side, a random square, mirrored or not."""
        clip = _resize(self._normalise(frames), round(generator.uniform(*jitter)))
        top, left = (int(generator.integers(side - crop_size + 1)) for side in clip.shape[2:])
        clip = clip[:, :, top : top + crop_size, left : left + crop_size]
        return self._pathways(clip.flip(-1) if generator.random() < 0.5 else clip)

    def _normalise(self, frames: Tensor) -> Tensor:
        """uint8 (T, H, W, 3) -> float (3, T, H, W)."""
        clip = (frames.float() / 255 - torch.tensor(self.mean)) / torch.tensor(self.std)
        return clip.permute(3, 0, 1, 2)

    def _pathways(self, clip: Tensor) -> list[Tensor]:
        if self.num_slow is None:
            return [clip]
        return [clip[:, torch.linspace(0, clip.shape[1] - 1, self.num_slow).long()], clip]


def _images_between(container: av.container.InputContainer, first_pts: int, last_pts: float) -> Tensor:
    """The frames shown between two times and the one after them, uint8 (T, H, W, 3)."""
    stream = container.streams.video[0]
    with container:
        container.seek(max(first_pts - _SEEK_MARGIN, 0), any_frame=False, backward=True, stream=stream)
        frames: dict[int, av.VideoFrame] = {}
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            if frame.pts >= first_pts:
                frames[frame.pts] = frame
            if frame.pts > last_pts:
                break
    if not frames:
        raise DataError(f"{container.name}: the benchmark's reference loading finds no frame in this video.")
    images = [frames[pts].reformat(format="rgb24", threads=1).to_ndarray() for pts in sorted(frames)]
    return torch.from_numpy(np.stack(images))


def _resize(clip: Tensor, short: int) -> Tensor:
    """`clip` (3, T, H, W) with its shorter side `short`, bilinearly."""
    height, width = clip.shape[2:]
    if min(height, width) == short:
        return clip
    size = (height * short // width, short) if width < height else (short, width * short // height)
    return F.interpolate(clip, size=size, mode="bilinear", align_corners=False)
