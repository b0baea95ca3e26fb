"""What is drawn on a video's frames: the most likely classes, their scores as a strip, a map (Grad-CAM, attention).

Names are drawn with the fonts of style.py, once each. H W space, K classes.
"""

from collections import deque
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from slowfast_gta.reports.style import LINES, OVERLAY, new_figure, shortened

_HISTORY_SEC = 20.0
_SHADE = 0.55  # how dark the panel makes the picture behind it
_OPACITY = 0.45
_PX_PER_INCH = 100


def _rgb(colour: str) -> tuple[int, int, int]:
    """#RRGGBB as numbers."""
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return red, green, blue


# Colours of the classes on the dark panel: of LINES, those that are light enough.
_COLOURS = tuple(_rgb(LINES[index]) for index in (4, 5, 3, 2, 1))


class Panel:
    """The lower part of the frames of one video: `num_classes` lines, and beside them the strip of their scores."""

    def __init__(self, size: tuple[int, int], names: Sequence[str], num_classes: int = 3):
        """size: H, W of the frames. A small picture has as many lines as can be read in it."""
        self.height, self.width = size
        self.names = names
        self.line_px = int(np.clip(self.height // 16, 12, 48))
        self.num_lines = max(1, min(num_classes, len(names), len(_COLOURS), (self.height // 2) // self.line_px))
        self._history: deque[tuple[float, np.ndarray]] = deque()

    def add(self, time_sec: float, probabilities: np.ndarray) -> None:
        """A prediction, for the strip; what is older than it reaches is forgotten."""
        self._history.append((time_sec, np.asarray(probabilities, np.float32)))
        while self._history[0][0] < time_sec - _HISTORY_SEC:
            self._history.popleft()

    def draw(self, image: np.ndarray, time_sec: float) -> np.ndarray:
        """uint8 (H, W, 3), RGB: a new picture with the panel on it, which says so before the first prediction."""
        out = image.copy()
        top = self.height - self.num_lines * self.line_px
        out[top:] = (out[top:] * (1 - _SHADE)).astype(np.uint8)
        if not self._history:
            _put(out, text_mask("…", self.line_px), 4, top, (255, 255, 255))
            return out
        probabilities = self._history[-1][1]
        labels = np.argsort(-probabilities, kind="stable")[: self.num_lines]
        split = int(self.width * 0.62) if self.width >= 240 else self.width
        for line, label in enumerate(labels):
            y, colour = top + line * self.line_px, _COLOURS[line]
            number = text_mask(f"{100 * probabilities[label]:.0f} %", self.line_px)
            left = int(2.6 * self.line_px)
            _put(out, number, max(2, left - 4 - number.shape[1]), y, colour)
            name = text_mask(shortened(self.names[label], 60), self.line_px)
            _put(out, name[:, : max(1, split - left - 4)], left, y, colour)
            if split < self.width:
                self._draw_strip(out, int(label), colour, (top, split), time_sec)
        return out

    def _draw_strip(
        self, out: np.ndarray, label: int, colour: tuple[int, int, int], corner: tuple[int, int], now: float
    ) -> None:
        """The scores of one class over the last seconds: 0 at the bottom, 1 at the top, now at the right."""
        top, left = corner
        height, width = self.height - top - 4, self.width - left - 4
        times = np.array([time for time, _ in self._history])
        scores = np.array([values[label] for _, values in self._history])
        now = max(now, float(times[-1])) if now == now else float(times[-1])
        x = left + width * (1 - (now - times) / _HISTORY_SEC)
        y = top + 2 + height * (1 - scores)
        points = np.stack([np.append(x, left + width), np.append(y, y[-1])], 1)
        points = points[points[:, 0] >= left].round().astype(np.int32)
        cv2.polylines(out, [points], False, colour, max(1, self.line_px // 10), cv2.LINE_AA)


def with_map(image: np.ndarray, values: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """A map (H', W'), 0 to 1, over the part `box` (top, left, bottom, right, as parts of the whole) of a frame."""
    from matplotlib import colormaps

    height, width = image.shape[:2]
    top, bottom = (int(np.clip(round(side * height), 0, height)) for side in (box[0], box[2]))
    left, right = (int(np.clip(round(side * width), 0, width)) for side in (box[1], box[3]))
    if bottom <= top or right <= left:
        return image
    large = cv2.resize(values.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    tinted = (colormaps[OVERLAY](large)[..., :3] * 255).astype(np.float32)
    out = image.copy()
    part = out[top:bottom, left:right]
    part[:] = (part + _OPACITY * large[..., None] * (tinted - part)).astype(np.uint8)
    return out


@lru_cache(maxsize=512)
def text_mask(text: str, height_px: int) -> np.ndarray:
    """float32 (H, W), 0 to 1: `text` in one line of `height_px`, as wide as it is."""
    width = (len(text) + 2) * height_px / _PX_PER_INCH
    with new_figure(width, height_px / _PX_PER_INCH, [text]) as figure:
        figure.set_dpi(_PX_PER_INCH)
        figure.set_layout_engine("none")
        size = 0.62 * height_px * 72 / _PX_PER_INCH
        figure.text(0.0, 0.5, text, fontsize=size, va="center_baseline", ha="left", color="black")
        figure.canvas.draw()
        picture = np.asarray(figure.canvas.buffer_rgba())[..., 0]
    mask = 1 - picture.astype(np.float32) / 255
    used = np.flatnonzero(mask.max(0))
    return mask[:, : used[-1] + 2] if len(used) else mask[:, :1]


def _put(out: np.ndarray, mask: np.ndarray, x: int, y: int, colour: tuple[int, int, int]) -> None:
    part = out[y : y + mask.shape[0], x : x + mask.shape[1]]
    cover = mask[: part.shape[0], : part.shape[1], None]
    part[:] = (part + cover * (np.array(colour, np.float32) - part)).astype(np.uint8)
