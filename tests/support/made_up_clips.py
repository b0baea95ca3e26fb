"""Made-up videos of a few classes, as somebody might film them: a shape of any form, size and colour moves one way."""

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

WAYS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}  # (x, y)
HEIGHT, WIDTH, NUM_FRAMES, FPS = 120, 160, 24, 12


def write_clips(folder: Path, num_clips: int, seed: int) -> None:
    """`num_clips` videos in a folder for each class of WAYS, as equally many as can be."""
    generator = np.random.default_rng(seed)
    for number in range(num_clips):
        name = list(WAYS)[number % len(WAYS)]
        path = folder / name / f"{number:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=FPS)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for frame in _frames(WAYS[name], generator):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())


def _frames(way: tuple[int, int], generator: np.random.Generator) -> Iterator[np.ndarray]:
    """(H, W, 3), uint8, RGB: what is behind has one colour, what moves another; both are seen through some noise."""
    behind, colour = generator.uniform(0, 255, (2, 3))
    form, radius, speed = generator.integers(3), generator.uniform(10, 22), generator.uniform(1.5, 3.0)
    velocity = speed * np.array(way) + generator.normal(0, 0.3, 2)
    begin = np.array([WIDTH, HEIGHT]) / 2 + generator.normal(0, 12, 2) - velocity * NUM_FRAMES / 2
    for step in range(NUM_FRAMES):
        frame = np.full((HEIGHT, WIDTH, 3), behind)
        _draw(frame, int(form), begin + velocity * step, radius, colour)
        yield np.clip(frame + generator.normal(0, 6, frame.shape), 0, 255).astype(np.uint8)


def _draw(frame: np.ndarray, form: int, centre: np.ndarray, radius: float, colour: np.ndarray) -> None:
    x, y, r = int(centre[0]), int(centre[1]), int(radius)
    if form == 0:
        cv2.circle(frame, (x, y), r, colour.tolist(), -1)
    elif form == 1:
        cv2.rectangle(frame, (x - r, y - r), (x + r, y + r), colour.tolist(), -1)
    else:
        cv2.fillPoly(frame, [np.array([[x, y - r], [x - r, y + r], [x + r, y + r]])], colour.tolist())
