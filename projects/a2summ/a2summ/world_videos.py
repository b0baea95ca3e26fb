"""Small videos of moving shapes: those of the made world, and those on which its network learns to see shapes."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

SHOT_SEC, FPS, SIZE = 3, 8, (64, 48)
SHAPES = ("disc", "frame", "triangle", "cross")


def render(path: Path, shapes: Sequence[str], generator: np.random.Generator) -> None:
    """One shot of SHOT_SEC for each of `shapes`: its colours, its place and its way are drawn. Whole or not at all."""
    width, height = SIZE
    unfinished = path.with_name(f".{path.name}.part")
    with av.open(str(unfinished), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18", "preset": "ultrafast"}
        stream.codec_context.thread_count = 1
        for shot, shape in enumerate(shapes):
            background, colour = generator.integers(20, 110, 3), generator.integers(150, 250, 3)
            position, speed = generator.uniform(0.3, 0.7, 2), generator.uniform(-0.08, 0.08, 2)
            for number in range(SHOT_SEC * FPS):
                picture = np.full((height, width, 3), background, np.uint8)
                center = (position + speed * number / FPS) * SIZE
                _draw(picture, center, shape, colour.tolist())
                noise = generator.normal(0, 3, picture.shape)
                frame = av.VideoFrame.from_ndarray(np.clip(picture + noise, 0, 255).astype(np.uint8), format="rgb24")
                frame.pts, frame.time_base = shot * SHOT_SEC * FPS + number, Fraction(1, FPS)
                output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    unfinished.replace(path)


def _draw(picture: np.ndarray, center: np.ndarray, shape: str, colour: list[int]) -> None:
    """All shapes are about as large."""
    x, y = np.rint(center).astype(int).tolist()
    if shape == "disc":
        cv2.circle(picture, (x, y), 15, colour, -1, cv2.LINE_AA)
    elif shape == "frame":
        cv2.rectangle(picture, (x - 14, y - 14), (x + 14, y + 14), colour, 4)
    elif shape == "triangle":
        cv2.fillPoly(picture, [np.array([(x, y - 16), (x - 16, y + 12), (x + 16, y + 12)])], colour, cv2.LINE_AA)
    else:
        cv2.line(picture, (x - 14, y - 14), (x + 14, y + 14), colour, 6, cv2.LINE_AA)
        cv2.line(picture, (x - 14, y + 14), (x + 14, y - 14), colour, 6, cv2.LINE_AA)
