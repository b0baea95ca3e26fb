"""Videos made for timing the reading of videos.

A camera pans and zooms over a texture, things move before it, and every frame has noise of its own, so that a frame
takes the bits, and the time to decode, of real footage.

H W space.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np


@dataclass(frozen=True)
class VideoKind:
    """A kind of file: as people have Kinetics after resizing it with ffmpeg, or Something-Something v2 as published."""

    name: str
    encoder: str
    options: dict[str, str]
    height: int
    width: int
    num_frames: int
    fps: int


# FFmpeg's own settings for H.264: a keyframe every 250 frames, three B-frames between others. 560 and 620 kbit/s.
KINDS = (
    VideoKind("h264_340x256_300.mp4", "libx264", {}, 256, 340, 300, 30),
    VideoKind(
        "vp9_426x240_48.webm",
        "libvpx-vp9",
        {"crf": "30", "b:v": "0", "deadline": "good", "cpu-used": "5"},
        240,
        426,
        48,
        12,
    ),
)


def write_benchmark_video(folder: Path, kind: VideoKind) -> Path:
    """Write a video of `kind` into `folder`; always the same one. Takes one to three seconds."""
    path = folder / kind.name
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(kind.encoder, rate=kind.fps, options=kind.options)
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        stream.codec_context.thread_count = 1
        for image in _footage(kind.num_frames, kind.height, kind.width, np.random.default_rng(0)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _footage(num_frames: int, height: int, width: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """The frames, uint8 (H, W, 3)."""
    ground = _texture(2 * height, 2 * width, generator)
    side = height // 2
    things = [(_texture(side, side, generator), *generator.uniform(0, 2 * np.pi, 2)) for _ in range(4)]
    for phase in np.linspace(0, 2 * np.pi, num_frames, endpoint=False):
        camera = cv2.getRotationMatrix2D((width, height), 8 * np.sin(2 * phase), 1 + 0.15 * np.sin(phase))
        camera[:, 2] += width * (np.sin(phase) / 4 - 0.5), height * (np.cos(1.3 * phase) / 4 - 0.5)
        image = cv2.warpAffine(ground, camera, (width, height), borderMode=cv2.BORDER_REFLECT)
        for texture, phase_x, phase_y in things:
            left = int((width - side) * (0.5 + 0.5 * np.sin(3 * phase + phase_x)))
            top = int((height - side) * (0.5 + 0.5 * np.sin(2 * phase + phase_y)))
            image[top : top + side, left : left + side] = texture
        image = image + 3 * generator.standard_normal((height, width, 1), np.float32)
        yield np.clip(image, 0, 255).astype(np.uint8)


def _texture(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """float (H, W, 3): noise at all scales, the coarse ones strongest."""
    image = np.full((height, width, 3), 128, np.float32)
    for scale in (2, 4, 8, 16, 32, 64):
        grain = generator.standard_normal((height // scale + 2, width // scale + 2, 3), np.float32)
        image += 5 * scale**0.7 * cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255)
