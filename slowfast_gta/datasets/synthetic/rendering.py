"""Drawing the Synthetic data set's actions, frame by frame.

Every pair of classes that are each other's reversal is ONE drawing of a phase that goes from 0 to 1; its partner is the
same frames backwards. All that is random is drawn before it is known which of the two is wanted, and noise is
independent from frame to frame, so the frames of both, as a set, have the same law.

Points are (x, y), y downwards, in px; frames are uint8 (T, H, W, 3), RGB.
"""

from collections.abc import Callable

import cv2
import numpy as np

VERSION = 2  # counts up when the same seed would give other frames: old videos are then refused, never mixed in

Drawing = Callable[["Scene"], None]


def phases(num_frames: int, generator: np.random.Generator) -> np.ndarray:
    """(T,) from 0 to 1: still, moving with a random profile of speed, still."""
    still_before, still_after = generator.uniform(0.0, 0.18, 2)
    u = np.clip((np.linspace(0, 1, num_frames) - still_before) / (1 - still_before - still_after), 0, 1)
    return u + generator.uniform(-0.7, 0.7) * np.sin(2 * np.pi * u) / (2 * np.pi)


def there_and_back(num_frames: int, generator: np.random.Generator) -> np.ndarray:
    """(T,) from 0 up to about a half and down to 0 again, the same forwards and backwards."""
    still = generator.uniform(0.0, 0.15)
    u = np.clip((np.abs(np.linspace(-1, 1, num_frames)) - 0.1) / (0.9 - still), 0, 1)
    return generator.uniform(0.45, 0.6) * (1 - u)


def render(drawing: Drawing, path: np.ndarray, height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """The frames of `drawing` at the phases `path` (T,): uint8 (T, H, W, 3), with noise of each frame's own."""
    scene = Scene(height, width, generator)
    noise = generator.standard_normal((len(path), height, width, 1), np.float32) * np.float32(generator.uniform(2, 5))
    frames = np.empty((len(path), height, width, 3), np.uint8)
    for frame, phase, grain in zip(frames, path, noise, strict=True):
        scene.start_frame(float(phase))
        drawing(scene)
        frame[:] = np.clip(scene.canvas + grain, 0, 255)
    return frames


class Scene:
    """One video's background, textures and random numbers, and the canvas that its frames are drawn on in turn."""

    def __init__(self, height: int, width: int, generator: np.random.Generator):
        self.unit = min(height, width)  # px; lengths are parts of this
        self.phase = 0.0  # how far the action has got, 0 to 1
        self.background = _texture(height, width, generator, 0.1, 0.5 + generator.uniform(-0.12, 0.12, 3))
        self.canvas = self.background.copy()
        side = int(0.9 * self.unit)
        self.textures = [_texture(side, side, generator, 0.3, _vivid(generator)) for _ in range(3)]
        self.center = np.array([width, height]) / 2 + generator.uniform(-0.06, 0.06, 2) * self.unit
        self.numbers = generator.uniform(0, 1, 16)  # what a drawing may vary

    def start_frame(self, phase: float) -> None:
        """An empty canvas, for the moment `phase` of the action."""
        self.phase = phase
        np.copyto(self.canvas, self.background)

    def between(self, which: int, low: float, high: float) -> float:
        """The video's `which`-th random number, from low to high."""
        return low + (high - low) * self.numbers[which]

    def point(self, x: float, y: float) -> np.ndarray:
        """The point (x, y), in units, from the scene's centre."""
        return self.center + self.unit * np.array([x, y])

    def shape(
        self, outline: np.ndarray, at: np.ndarray, which: int, turn: float = 0.0, scale: float = 1.0, gain: float = 1.0
    ) -> None:
        """Paint the polygon `outline` (N, 2), in units around `at`, with the `which`-th texture times `gain`.

        Shape and texture are turned (radians, clockwise) and scaled together.
        """
        pose = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = at + self.unit * outline @ pose.T
        size = np.array(self.canvas.shape[1::-1])
        low = np.clip(points.min(0) - 1, 0, size).astype(int)
        high = np.clip(points.max(0) + 2, 0, size).astype(int)
        width, height = high - low
        if width == 0 or height == 0:
            return
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.round((points - low) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        texture = self.textures[which]
        move = np.column_stack([pose, at - low - pose @ np.full(2, len(texture) / 2)])
        patch = cv2.warpAffine(texture, move, (int(width), int(height)), borderMode=cv2.BORDER_REFLECT)
        region = self.canvas[low[1] : high[1], low[0] : high[0]]
        region += (mask[..., None] * np.float32(1 / 255)) * (gain * patch - region)

    def thing(self, at: np.ndarray, size: float, which: int = 0) -> None:
        """The video's own irregular shape of radius `size` (units) around `at`. It deforms as the action goes on."""
        corners = 5 + int(self.between(14, 0, 4))
        angles = 2 * np.pi * np.arange(corners) / corners
        lobes = np.cos(3 * angles + self.between(13, 0, 6) + self.between(12, -3, 3) * self.phase)
        radii = 0.2 * (0.85 + 0.15 * lobes)
        self.shape(radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), at, which, scale=size / 0.2)

    def box(self, left: float, top: float, right: float, bottom: float, which: int, gain: float = 1.0) -> None:
        """A rectangle, in units from the scene's centre."""
        half = np.array([right - left, bottom - top]) / 2
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        self.shape(corners, self.point((left + right) / 2, (top + bottom) / 2), which, gain=gain)


def _vivid(generator: np.random.Generator) -> np.ndarray:
    """A colour far from grey, and so from every background; (3,) in 0..1."""
    return 0.5 + generator.uniform(0.28, 0.42, 3) * generator.choice([-1, 1], 3)


def _texture(height: int, width: int, generator: np.random.Generator, contrast: float, color: np.ndarray) -> np.ndarray:
    """Smooth coloured noise around `color`, float32 (H, W, 3) in 0..255."""
    out = np.tile(color.astype(np.float32), (height, width, 1))
    for cells in (4, 11):
        grid = generator.uniform(-contrast / 2, contrast / 2, (cells, cells, 3)).astype(np.float32)
        out += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(255 * out, 8, 247)


def move_right(scene: Scene) -> None:
    x = (2 * scene.phase - 1) * scene.between(0, 0.28, 0.4)
    scene.thing(scene.point(x, scene.between(1, -0.15, 0.15)), scene.between(2, 0.13, 0.2))


def move_up(scene: Scene) -> None:
    y = (1 - 2 * scene.phase) * scene.between(0, 0.22, 0.32)
    scene.thing(scene.point(scene.between(1, -0.2, 0.2), y), scene.between(2, 0.13, 0.2))


def come_closer(scene: Scene) -> None:
    small, large = scene.between(0, 0.07, 0.11), scene.between(1, 0.34, 0.44)
    scene.thing(scene.center, small * (large / small) ** scene.phase)


def cover(scene: Scene) -> None:
    scene.thing(scene.center, scene.between(0, 0.13, 0.18))
    half = scene.between(1, 0.26, 0.32)
    side = 1 if scene.numbers[2] < 0.5 else -1
    x = side * (1 - scene.phase) * scene.between(3, 0.6, 0.7)
    scene.box(x - half, -half, x + half, half, 1)


def put_into(scene: Scene) -> None:
    half, depth, top = scene.between(0, 0.2, 0.26), scene.between(1, 0.28, 0.34), 0.02
    scene.box(-half, top - 0.05, half, top + depth, 1, gain=0.35)  # its dark inside
    scene.thing(scene.point(0, top - 0.3 + 0.5 * scene.phase), scene.between(2, 0.1, 0.13))
    scene.box(-half, top, half, top + depth, 1)  # its front hides what is inside


def turn_clockwise(scene: Scene) -> None:
    turn = scene.between(0, 0, 2 * np.pi) + scene.phase * np.deg2rad(scene.between(1, 170, 250))
    scale = scene.between(2, 0.9, 1.1)
    hand = np.array([[-0.1, -0.06], [0.34, -0.08], [0.34, 0.08], [-0.1, 0.06]])  # points one way
    tip = np.array([[0.21, -0.12], [0.36, -0.12], [0.36, 0.12], [0.21, 0.12]])
    scene.shape(hand, scene.center, 0, turn, scale)
    scene.shape(tip, scene.center, 1, turn, scale)


def open_up(scene: Scene) -> None:
    half, tall = scene.between(0, 0.26, 0.32), scene.between(1, 0.26, 0.34)
    scene.box(-half, -tall, half, tall, 1, gain=0.3)
    scene.thing(scene.center, scene.between(2, 0.1, 0.14), 2)
    door = half * (1 - 0.9 * scene.phase)  # two doors draw back to the sides
    scene.box(-half, -tall, door - half, tall, 0)
    scene.box(half - door, -tall, half, tall, 0)


def light_up(scene: Scene) -> None:
    scene.thing(scene.center, scene.between(0, 0.16, 0.24))
    dark, bright = scene.between(1, 0.18, 0.3), scene.between(2, 0.95, 1.15)
    scene.canvas *= dark + (bright - dark) * scene.phase
