"""From decoded frames to clips of the crop size: uint8 (T, H, W, 3) -> uint8 (T, S, S, 3), RGB.

Nothing becomes float here. In training, resizing and cropping are one step: the box that the crop would cover is
found in the source and only that is resized. Every frame of a clip is treated alike.

S = crop size; a box is (top, left, height, width).
As tensors they are (3, T, S, S) views of the same memory: what a network in channels_last wants, and no copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from fvcore.common.config import CfgNode

Box = tuple[float, float, float, float]


def multi_scale_box(
    resize: tuple[int, int], scales: Sequence[float], crop_size: int, generator: np.random.Generator
) -> Box:
    """TSN's crop of a frame of size `resize` (H, W): height and width are each one of `scales` of the shorter
    side, at most one step apart, at one of 13 positions: a grid of quarters of the room there is."""
    sides = [int(min(resize) * scale) for scale in scales]
    sides = [crop_size if abs(side - crop_size) < 3 else side for side in sides]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    height, width = pairs[generator.integers(len(pairs))]
    row, column = _THIRTEEN_PLACES[generator.integers(len(_THIRTEEN_PLACES))]
    return (row * ((resize[0] - height) // 4), column * ((resize[1] - width) // 4), height, width)


# In quarters of the room: corners, edges and centre of the outer square, corners of the inner one.
_THIRTEEN_PLACES = [(row, column) for row in (0, 2, 4) for column in (0, 2, 4)] + [(1, 1), (1, 3), (3, 1), (3, 3)]


def short_side_box(
    size: tuple[int, int], jitter: tuple[int, int], crop_size: int, inverse: bool, generator: np.random.Generator
) -> tuple[tuple[int, int], Box]:
    """PySlowFast's crop of a frame of `size` (H, W): the shorter side is drawn from `jitter` (its inverse
    uniformly, with `inverse`), then a random square of `crop_size`. Returns the drawn (H, W), and the box in it."""
    if inverse:
        short = round(1 / generator.uniform(1 / jitter[1], 1 / jitter[0]))
    else:
        short = round(generator.uniform(*jitter))
    height, width = short_side_size(size, short)
    top = int(generator.integers(height - crop_size + 1))
    left = int(generator.integers(width - crop_size + 1))
    return (height, width), (top, left, crop_size, crop_size)


def short_side_size(size: tuple[int, int], short: int) -> tuple[int, int]:
    """`size` (H, W) scaled so that its shorter side is `short`."""
    height, width = size
    if width < height:
        return height * short // width, short
    return short, width * short // height


def crop_and_resize(frames: np.ndarray, virtual_size: tuple[int, int], box: Box, crop_size: int) -> np.ndarray:
    """What resizing `frames` (T, H, W, 3) to `virtual_size` and cropping `box` from it gives, as (T, S, S, 3)."""
    top, left, height, width = box
    scale_y, scale_x = frames.shape[1] / virtual_size[0], frames.shape[2] / virtual_size[1]
    y0, x0 = round(top * scale_y), round(left * scale_x)
    y1, x1 = round((top + height) * scale_y), round((left + width) * scale_x)
    source = frames[:, y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    return resize_frames(source, (crop_size, crop_size))


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`frames` (T, H, W, 3) with every frame resized to `size` (H, W), bilinearly."""
    if frames.shape[1:3] == size:
        return frames
    out = np.empty((len(frames), *size, 3), np.uint8)
    for source, target in zip(frames, out, strict=True):
        cv2.resize(source, (size[1], size[0]), dst=target, interpolation=cv2.INTER_LINEAR)
    return out


def mirror_image(frames: np.ndarray) -> np.ndarray:
    """`frames` (T, H, W, 3), every one with left and right exchanged."""
    return np.stack([cv2.flip(frame, 1) for frame in frames])


def jitter_colours(frames: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    """`frames`, uint8 (T, H, W, 3), RGB, with other brightness, contrast, saturation (each times 1 - strength to
    1 + strength) and hue (turned by up to strength / 4 of a circle, about the axis of greys).

    All of it is one affine map of a pixel's colour, drawn once: the frames of a clip are changed alike.
    """
    brightness, contrast, saturation = generator.uniform(1 - strength, 1 + strength, 3)
    grey = np.full((3, 3), 1 / 3)
    colours = np.eye(3) - grey
    turned = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)  # a quarter of a circle, of `colours`
    angle = generator.uniform(-strength, strength) * np.pi / 2
    saturated = grey + saturation * (np.cos(angle) * colours + np.sin(angle) * turned)
    mean = brightness * frames.mean()
    matrix = np.empty((3, 4))
    matrix[:, :3], matrix[:, 3] = contrast * brightness * saturated, (1 - contrast) * mean
    return cv2.transform(frames.reshape(1, -1, 3), matrix).reshape(frames.shape)


def permute_channels(frames: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """`frames`, uint8 (T, H, W, 3), with red, green and blue in one of their six orders, the same for all frames."""
    return np.ascontiguousarray(frames[..., generator.permutation(3)])


def crop_offsets(size: tuple[int, int], crop_size: int, num_crops: int) -> list[tuple[int, int]]:
    """(top, left) of the test crops of a frame of `size` (H, W): the centre, 3 along the longer side, or 5: the
    corners and the centre."""
    room_y, room_x = size[0] - crop_size, size[1] - crop_size
    centre_y, centre_x = (room_y + 1) // 2, (room_x + 1) // 2
    if num_crops == 1:
        return [(centre_y, centre_x)]
    if num_crops == 5:
        return [(0, 0), (0, room_x), (room_y, 0), (room_y, room_x), (centre_y, centre_x)]
    if size[0] > size[1]:
        return [(0, centre_x), (centre_y, centre_x), (room_y, centre_x)]
    return [(centre_y, 0), (centre_y, centre_x), (centre_y, room_x)]


def to_clips(frames: np.ndarray) -> torch.Tensor:
    """(V, T, S, S, 3) -> (V, 3, T, S, S), without a copy."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3)


@dataclass(frozen=True)
class TrainTransform:
    """One random crop: multi-scale where `resize` is given, short-side jitter where it is None."""

    crop_size: int
    resize: tuple[int, int] | None
    scales: tuple[float, ...]
    jitter: tuple[int, int]
    inverse_jitter: bool
    flip: bool
    colour_jitter: float = 0.0
    channel_permute_prob: float = 0.0

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "TrainTransform":
        data = cfg.DATA
        return cls(
            crop_size=data.TRAIN_CROP_SIZE,
            resize=tuple(data.RESIZE) or None,
            scales=tuple(data.MULTI_SCALES),
            jitter=tuple(data.TRAIN_JITTER_SCALES),
            inverse_jitter=data.INV_UNIFORM_SAMPLE,
            flip=bool(data.RANDOM_FLIP),
            colour_jitter=data.COLOR_JITTER,
            channel_permute_prob=data.CHANNEL_PERMUTE_PROB,
        )

    def __call__(self, frames: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """uint8 (T, H, W, 3) -> uint8 (T, S, S, 3)."""
        if self.resize:
            size, box = self.resize, multi_scale_box(self.resize, self.scales, self.crop_size, generator)
        else:
            size, box = short_side_box(frames.shape[1:3], self.jitter, self.crop_size, self.inverse_jitter, generator)
        return self._with_other_colours(crop_and_resize(frames, size, box, self.crop_size), generator)

    def _with_other_colours(self, clip: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """What is switched off draws nothing, so that the clips of a config stay the same when a switch is added."""
        if self.colour_jitter:
            clip = jitter_colours(clip, self.colour_jitter, generator)
        if self.channel_permute_prob and generator.random() < self.channel_permute_prob:
            clip = permute_channels(clip, generator)
        return clip

    def mirrors(self, generator: np.random.Generator) -> bool:
        """Whether to mirror a clip: half of the time, where `flip`."""
        return self.flip and generator.random() < 0.5


@dataclass(frozen=True)
class TestTransform:
    """The deterministic crops of testing: to `resize`, or the shorter side to `crop_size`; then 1 or 3 squares, or 10:
    the corners, the centre, and their mirror images. At full resolution the shorter side is `crop_size` and nothing
    is cropped, so that each video has a shape of its own."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    crop_size: int
    resize: tuple[int, int] | None
    num_crops: int
    full_resolution: bool = False

    @classmethod
    def from_cfg(cls, cfg: CfgNode, num_crops: int) -> "TestTransform":
        data = cfg.DATA
        return cls(data.TEST_CROP_SIZE, tuple(data.RESIZE) or None, num_crops, cfg.TEST.FULL_RESOLUTION)

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        """uint8 (T, H, W, 3) -> `num_crops` views of it, resized once, each (T, S, S, 3); or one, (T, H', W', 3)."""
        size = short_side_size(frames.shape[1:3], self.crop_size)
        if self.full_resolution:
            return [resize_frames(frames, size)]
        size = self.resize or size
        frames = resize_frames(frames, size)
        side = self.crop_size
        offsets = crop_offsets(size, side, 5 if self.num_crops == 10 else self.num_crops)
        crops = [frames[:, top : top + side, left : left + side] for top, left in offsets]
        return crops + [crop[:, :, ::-1] for crop in crops] if self.num_crops == 10 else crops
