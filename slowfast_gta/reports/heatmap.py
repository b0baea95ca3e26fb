"""Matrices as pictures, drawn with OpenCV so that nothing else needs to be installed."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from slowfast_gta.files import write_whole

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK = (40, 40, 40)


def draw_heatmap(
    matrix: np.ndarray,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cell_px: int = 24,
    numbers: bool = False,
) -> np.ndarray:
    """A picture (H, W, 3) BGR of `matrix` (R, C): white is 0, dark blue its largest absolute value.

    `rows` and `columns` label it; where there are many, only as many as can be read. `numbers` writes the values.
    """
    height, width = matrix.shape[0] * cell_px, matrix.shape[1] * cell_px
    left = 16 + max((_text_width(row) for row in rows), default=0)
    bottom = 16 + max((_text_width(column) for column in columns), default=0)
    canvas = np.full((40 + height + bottom, max(left + width + 16, 24 + _text_width(title, 0.5)), 3), 255, np.uint8)
    cv2.putText(canvas, title, (12, 22), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    share = np.abs(matrix) / max(float(np.abs(matrix).max()), 1e-12)
    cells = cv2.resize(share, (width, height), interpolation=cv2.INTER_NEAREST)[..., None]
    colour = np.array([110, 48, 8])  # BGR of the largest value
    canvas[32 : 32 + height, left : left + width] = (255 + cells * (colour - 255)).astype(np.uint8)
    cv2.rectangle(canvas, (left - 1, 31), (left + width, 32 + height), _INK, 1)
    for index in _readable(len(rows), cell_px):
        y = 32 + index * cell_px + cell_px // 2 + 4
        cv2.putText(canvas, rows[index], (left - 8 - _text_width(rows[index]), y), _FONT, 0.36, _INK, 1, cv2.LINE_AA)
    for index in _readable(len(columns), cell_px):
        _put_vertical(canvas, columns[index], left + index * cell_px + cell_px // 2, 40 + height)
    if numbers:
        for (row, column), value in np.ndenumerate(matrix):
            ink = (255, 255, 255) if share[row, column] > 0.5 else _INK
            text = f"{value:.0f}" if np.issubdtype(matrix.dtype, np.integer) else f"{value:.2f}"
            x = left + column * cell_px + (cell_px - _text_width(text, 0.32)) // 2
            cv2.putText(canvas, text, (x, 32 + row * cell_px + cell_px // 2 + 4), _FONT, 0.32, ink, 1, cv2.LINE_AA)
    return canvas


def beside(pictures: Sequence[np.ndarray], heading: str = "") -> np.ndarray:
    """Pictures in one row, white below the shorter ones, under a heading."""
    height = max(len(picture) for picture in pictures)
    row = np.hstack([np.vstack([p, np.full((height - len(p), p.shape[1], 3), 255, np.uint8)]) for p in pictures])
    if not heading:
        return row
    title = np.full((28, row.shape[1], 3), 255, np.uint8)
    cv2.putText(title, heading, (12, 20), _FONT, 0.42, _INK, 1, cv2.LINE_AA)
    return np.vstack([title, row])


def save_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write a PNG whole or not at all. Raises OSError where it cannot be written."""
    write_whole(path, cv2.imencode(".png", picture)[1].tobytes())


def _text_width(text: str, scale: float = 0.36) -> int:
    return cv2.getTextSize(text, _FONT, scale, 1)[0][0]


def _readable(count: int, cell_px: int) -> range:
    return range(0, count, max(1, -(-14 // cell_px)))


def _put_vertical(canvas: np.ndarray, text: str, x: int, y: int) -> None:
    """Text that reads upwards, ending at the top at (x, y)."""
    strip = np.full((14, _text_width(text) + 2, 3), 255, np.uint8)
    cv2.putText(strip, text, (1, 10), _FONT, 0.36, _INK, 1, cv2.LINE_AA)
    turned = np.rot90(strip)
    part = canvas[y : y + len(turned), x - 6 : x + 8]
    part[:] = turned[: part.shape[0], : part.shape[1]]
