"""Drawing the Synthetic data set's actions, frame by frame.

Every pair of classes that are each other's reversal is ONE drawing of a phase that goes from 0 to 1; its partner is the
same frames backwards. All that is random is drawn before it is known which of the two is wanted, and noise is
independent from frame to frame, so the frames of both, as a set, have the same law.

Frames are uint8 (T, H, W, 3), RGB.
"""

from collections.abc import Callable

import cv2
import numpy as np

Drawing = Callable[["Scene", float], None]


def phases(num_frames: int, generator: np.random.Generator) -> np.ndarray:
    """(T,) from 0 to 1: still, moving, still. The law is the same for 1 - phases[::-1]."""
    still_before, still_after = generator.uniform(0.0, 0.18, 2)
    u = np.clip((np.linspace(0, 1, num_frames) - still_before) / (1 - still_before - still_after), 0, 1)
    return u + generator.uniform(-0.7, 0.7) * np.sin(2 * np.pi * u) / (2 * np.pi)


def there_and_back(num_frames: int, generator: np.random.Generator) -> np.ndarray:
    """(T,) from 0 up to about a half and down to 0 again, the same forwards and backwards."""
    still = generator.uniform(0.0, 0.15)
    u = np.clip((np.abs(np.linspace(-1, 1, num_frames)) - 0.1) / (0.9 - still), 0, 1)
    return generator.uniform(0.45, 0.6) * (1 - u)


class Scene:
    """One video's background, objects and random numbers, and the canvas its frames are drawn on."""

    def __init__(self, height: int, width: int, generator: np.random.Generator):
        self.height, self.width = height, width
        self.unit = min(height, width)  # lengths are parts of this
        self.generator = generator
        self.background = texture(height, width, generator, contrast=0.25)
        self.canvas = self.background.copy()
        side = int(1.5 * self.unit)
        self.textures = [texture(side, side, generator, contrast=0.5, vivid=True) for _ in range(3)]
        self.center = np.array([width, height]) / 2 + generator.uniform(-0.06, 0.06, 2) * self.unit
        self.numbers = generator.uniform(0, 1, 12)  # what a drawing may vary

    def between(self, which: int, low: float, high: float) -> float:
        """The video's `which`-th random number, from low to high."""
        return low + (high - low) * self.numbers[which]

    def polygon(self, points: np.ndarray, which: int, gain: float = 1.0) -> None:
        """Fill `points` (N, 2), in px of the frame, with the `which`-th texture, which moves with them."""
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        origin = points.mean(0)
        side = len(self.textures[which]) / 2
        move = np.float32([[1, 0, origin[0] - side], [0, 1, origin[1] - side]])
        patch = cv2.warpAffine(self.textures[which], move, (self.width, self.height), borderMode=cv2.BORDER_REFLECT)
        alpha = (mask / 255.0).astype(np.float32)[..., None]
        self.canvas += alpha * (gain * patch - self.canvas)

    def blob(self, at: np.ndarray, size: float, which: int, angle: float = 0.0, corners: int = 0) -> None:
        """A shape of `size` (of the unit) around `at`: an irregular polygon that is the video's own."""
        corners = corners or 5 + int(self.between(10 + which % 2, 0, 4))
        angles = angle + 2 * np.pi * np.arange(corners) / corners
        radii = size * self.unit * (0.85 + 0.15 * np.cos(3 * angles + 6 * self.numbers[11]))
        self.polygon(at + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), which)

    def box(self, left: float, top: float, right: float, bottom: float, which: int, gain: float = 1.0) -> None:
        """A rectangle, px."""
        self.polygon(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), which, gain)


def texture(
    height: int, width: int, generator: np.random.Generator, contrast: float, vivid: bool = False
) -> np.ndarray:
    """Smooth coloured noise, float32 (H, W, 3) in 0..255."""
    spread = 0.38 if vivid else 0.18
    base = 0.5 + spread * generator.uniform(-1, 1, 3)
    out = np.zeros((height, width, 3), np.float32)
    for cells in (4, 11):
        grid = generator.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        out += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(255 * (base + contrast * 0.5 * out), 8, 247).astype(np.float32)


def move_right(scene: Scene, phase: float) -> None:
    reach = scene.between(0, 0.28, 0.4) * scene.unit
    at = scene.center + [(2 * phase - 1) * reach, scene.between(1, -0.15, 0.15) * scene.unit]
    scene.blob(at, scene.between(2, 0.13, 0.2), 0)


def move_up(scene: Scene, phase: float) -> None:
    reach = scene.between(0, 0.24, 0.33) * scene.unit
    at = scene.center + [scene.between(1, -0.2, 0.2) * scene.unit, (1 - 2 * phase) * reach]
    scene.blob(at, scene.between(2, 0.13, 0.2), 0)


def come_closer(scene: Scene, phase: float) -> None:
    small, large = scene.between(0, 0.07, 0.11), scene.between(1, 0.34, 0.44)
    scene.blob(scene.center, small * (large / small) ** phase, 0)


def cover(scene: Scene, phase: float) -> None:
    scene.blob(scene.center, scene.between(0, 0.13, 0.18), 0)
    half = scene.between(1, 0.26, 0.32) * scene.unit
    side = 1 if scene.numbers[2] < 0.5 else -1
    x = scene.center[0] + side * (1 - phase) * scene.between(3, 0.6, 0.7) * scene.unit
    scene.box(x - half, scene.center[1] - half, x + half, scene.center[1] + half, 1)


def put_into(scene: Scene, phase: float) -> None:
    width, depth = scene.between(0, 0.2, 0.26) * scene.unit, scene.between(1, 0.28, 0.34) * scene.unit
    x, top = scene.center[0], scene.center[1] + 0.02 * scene.unit
    scene.box(x - width, top - 0.05 * scene.unit, x + width, top + depth, 1, gain=0.35)  # its dark inside
    scene.blob(np.array([x, top - 0.3 * scene.unit + phase * 0.5 * scene.unit]), scene.between(2, 0.1, 0.13), 0)
    scene.box(x - width, top, x + width, top + depth, 1)  # its front hides what is inside


def turn_clockwise(scene: Scene, phase: float) -> None:
    angle = scene.between(0, 0, 2 * np.pi) + phase * np.deg2rad(scene.between(1, 170, 250))
    size = scene.between(2, 0.3, 0.38) * scene.unit
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    arm = np.array([[-0.3, -0.16], [1, -0.22], [1, 0.22], [-0.3, 0.16]])  # a hand that points one way
    scene.polygon(scene.center + size * arm @ turn, 0)
    tip = np.array([[0.62, -0.34], [1.05, -0.34], [1.05, 0.34], [0.62, 0.34]])
    scene.polygon(scene.center + size * tip @ turn, 1)


def open_up(scene: Scene, phase: float) -> None:
    half, tall = scene.between(0, 0.26, 0.32) * scene.unit, scene.between(1, 0.26, 0.34) * scene.unit
    x, y = scene.center
    scene.box(x - half, y - tall, x + half, y + tall, 1, gain=0.3)
    scene.blob(scene.center, scene.between(2, 0.1, 0.14), 2)
    door = half * (1 - 0.9 * phase)  # two doors draw back to the sides
    scene.box(x - half, y - tall, x - half + door, y + tall, 0)
    scene.box(x + half - door, y - tall, x + half, y + tall, 0)


def light_up(scene: Scene, phase: float) -> None:
    scene.blob(scene.center, scene.between(0, 0.16, 0.24), 0)
    dark, bright = scene.between(1, 0.18, 0.3), scene.between(2, 0.95, 1.15)
    scene.canvas *= dark + (bright - dark) * phase


def render(drawing: Drawing, path: np.ndarray, height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """The frames of `drawing` at the phases `path` (T,): uint8 (T, H, W, 3), with noise of each frame's own."""
    scene = Scene(height, width, generator)
    noise = generator.normal(0, generator.uniform(2, 5), (len(path), height, width, 1)).astype(np.float32)
    frames = np.empty((len(path), height, width, 3), np.uint8)
    for frame, phase, grain in zip(frames, path, noise, strict=True):
        np.copyto(scene.canvas, scene.background)
        drawing(scene, float(phase))
        frame[:] = np.clip(scene.canvas + grain, 0, 255)
    return frames
