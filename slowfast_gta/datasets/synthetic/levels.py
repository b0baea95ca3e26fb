"""How hard the Synthetic videos are to tell apart: SYNTHETIC.LEVEL, from 0 (the demo's) on.

Whatever a level adds (time, noise, distractors, a moving camera) is drawn into one rendering before anybody knows
whether it is played forwards or backwards. So the two classes of a pair have the same sets of frames at every level,
and a classifier that looks at frames, in whatever order, is at chance inside pairs.

T frame, H W space; lengths in units of the shorter side; points are (x, y), y downwards.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from slowfast_gta.datasets.synthetic.rendering import Drawing, Scene


@dataclass(frozen=True)
class Level:
    """What a level changes.

    length: a video has so many times SYNTHETIC.NUM_FRAMES; odd, so that the test clip of a reversed video stays the
        reversed clip (24 frames x 3 in 8 parts of 9: each has a frame in its middle).
    shortest: the least part of the video that an action takes; at random from it to the whole, at a random time.
    noise: standard deviation of each frame's own, from and to; of 255.
    num_distractors: things that move about behind the action.
    camera: how far the camera sways.
    """

    length: int
    shortest: float
    noise: tuple[float, float]
    num_distractors: int
    camera: float


# LEVEL 0 is rendering.render as it stands, whose files are never to change; these are above it.
LEVELS = {
    1: Level(length=1, shortest=0.4, noise=(6.0, 12.0), num_distractors=0, camera=0.05),
    2: Level(length=1, shortest=0.4, noise=(10.0, 20.0), num_distractors=2, camera=0.12),
    3: Level(length=3, shortest=0.2, noise=(15.0, 30.0), num_distractors=3, camera=0.2),
}


def num_frames_at(level: int, num_frames: int) -> int:
    """T of a video of `level` where SYNTHETIC.NUM_FRAMES is `num_frames`."""
    return num_frames * LEVELS[level].length if level else num_frames


def at_random_time(course: np.ndarray, num_frames: int, shortest: float, generator: np.random.Generator) -> np.ndarray:
    """(T,) the phases of an action whose `course` (any number of phases, equally far apart) takes a random part of
    the video, `shortest` of it at least: faster or slower, earlier or later. It rests before and after."""
    part = float(np.exp(generator.uniform(np.log(shortest), 0)))
    start = generator.uniform(0, 1 - part)
    times = np.clip((np.linspace(0, 1, num_frames) - start) / part, 0, 1)
    return np.interp(times, np.linspace(0, 1, len(course)), course)


def render_at(
    level: int, drawing: Drawing, course: np.ndarray, height: int, width: int, generator: np.random.Generator
) -> np.ndarray:
    """The frames of `drawing` as `level`, 1 or more, has them: uint8 (T, H, W, 3); T is the length of `course`, which
    the action takes a random part of."""
    chosen = LEVELS[level]
    num_frames = len(course)
    path = at_random_time(course, num_frames, chosen.shortest, generator)
    scene = Scene(height, width, generator)
    distractors = [Distractor(num_frames, generator) for _ in range(chosen.num_distractors)]
    offsets = chosen.camera * scene.unit * _sway(num_frames, generator)
    strength = np.float32(generator.uniform(*chosen.noise))
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for number, phase in enumerate(path):
        scene.start_frame(float(phase))
        for distractor in distractors:
            distractor.draw(scene, number)
        drawing(scene)
        move = np.array([[1, 0, offsets[number, 0]], [0, 1, offsets[number, 1]]])
        seen = cv2.warpAffine(scene.canvas, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        grain = generator.standard_normal((height, width, 1), np.float32) * strength
        frames[number] = np.clip(seen + grain, 0, 255)
    return frames


class Distractor:
    """A small thing with a way of its own, from anywhere to anywhere, at any time."""

    def __init__(self, num_frames: int, generator: np.random.Generator):
        corners = int(generator.integers(3, 7))
        angles = 2 * np.pi * np.arange(corners) / corners + generator.uniform(0, 2 * np.pi)
        radii = generator.uniform(0.05, 0.09) * generator.uniform(0.7, 1, corners)
        self._outline = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        ends = generator.uniform(-0.5, 0.5, (2, 2))
        times = at_random_time(np.linspace(0, 1, 2), num_frames, 0.3, generator)
        self._way = ends[0] + times[:, None] * (ends[1] - ends[0])  # (T, 2)
        self._texture = int(generator.integers(3))
        self._gain = float(generator.uniform(0.6, 1.1))

    def draw(self, scene: Scene, number: int) -> None:
        """Paint it as it is in frame `number`."""
        scene.shape(self._outline, scene.point(*self._way[number]), self._texture, gain=self._gain)


def _sway(num_frames: int, generator: np.random.Generator) -> np.ndarray:
    """(T, 2) in -1 to 1: slow waves of random length and phase, x and y."""
    times = np.linspace(0, 1, num_frames)[:, None]
    turns, starts = generator.uniform(0.3, 1.5, 2), generator.uniform(0, 1, 2)
    return np.sin(2 * np.pi * (times * turns + starts))
