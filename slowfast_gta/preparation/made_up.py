"""Made-up videos in class folders, to try everything on: a shape of any form, size and colour moves one of four ways.

No single frame tells the class, and no colour does. T frame, H W space.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.files import whole_file
from slowfast_gta.video.output.writer import VideoWriter

WAYS = {"down": (0, 1), "left": (-1, 0), "right": (1, 0), "up": (0, -1)}
"""The classes, and where their shape moves: (x, y)."""
HEIGHT, WIDTH, NUM_FRAMES, FPS = 120, 160, 24, 12
_NOISE = 6  # standard deviation, of 255


def make_videos(folder: Path, num_videos: int, seed: int) -> dict[str, int]:
    """`num_videos` files folder/<class>/<number>.mp4, two seconds each; returns how many there are of each class.

    Another seed gives other videos. Raises DataError where there is something in `folder`, or it cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} is not an empty folder; name a new one, so that nothing gets mixed.")
        return _write(folder, num_videos, np.random.default_rng(seed))
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}.") from None


def _write(folder: Path, num_videos: int, generator: np.random.Generator) -> dict[str, int]:
    counts = dict.fromkeys(WAYS, 0)
    for number in range(num_videos):
        name = list(WAYS)[number % len(WAYS)]
        counts[name] += 1
        (folder / name).mkdir(parents=True, exist_ok=True)
        with whole_file(folder / name / f"{number:03d}.mp4") as file:
            writer = VideoWriter(file, "mp4", (HEIGHT, WIDTH), FPS, repeatable=True)
            for step, frame in enumerate(_frames(WAYS[name], generator)):
                writer.write(frame, step / FPS)
            writer.close()
    return counts


def _frames(way: tuple[int, int], generator: np.random.Generator) -> Iterator[np.ndarray]:
    """uint8 (H, W, 3), RGB: the background has one colour, the shape another, and there is some noise."""
    background, colour = generator.uniform(0, 255, (2, 3))
    form, radius, speed = int(generator.integers(3)), int(generator.uniform(10, 22)), generator.uniform(1.5, 3.0)
    velocity = speed * np.array(way) + generator.normal(0, 0.3, 2)  # px a frame
    start = np.array([WIDTH, HEIGHT]) / 2 + generator.normal(0, 12, 2) - velocity * NUM_FRAMES / 2
    for step in range(NUM_FRAMES):
        frame = np.full((HEIGHT, WIDTH, 3), background)
        x, y = (start + velocity * step).astype(int).tolist()
        _draw(frame, form, (x, y), radius, colour.tolist())
        yield np.clip(frame + generator.normal(0, _NOISE, frame.shape), 0, 255).astype(np.uint8)


def _draw(frame: np.ndarray, form: int, centre: tuple[int, int], radius: int, colour: list[float]) -> None:
    """A filled circle, square or triangle, into `frame` (H, W, 3)."""
    x, y = centre
    if form == 0:
        cv2.circle(frame, (x, y), radius, colour, -1)
    elif form == 1:
        cv2.rectangle(frame, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
    else:
        corners = [[x, y - radius], [x - radius, y + radius], [x + radius, y + radius]]
        cv2.fillPoly(frame, [np.array(corners)], colour)
