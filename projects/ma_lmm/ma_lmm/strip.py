"""A strip of pictures: for each entry of the memory, a frame of it and the times that it holds."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_THUMBNAIL_PX, _GAP_PX, _TEXT_PX, _BAR_PX = 112, 4, 14, 18
_COLOURS = ((70, 110, 180), (225, 140, 50))


def clock(seconds: float) -> str:
    """12.4 -> 0:12.4; 3725 -> 1:02:05.0"""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def draw_strip(frames: Iterable[np.ndarray], spans_sec: list[tuple[float, float]], columns: int = 10) -> Image.Image:
    """Pictures in rows of `columns`, each with its times, over a bar of the whole video that shows every entry's part.

    frames: uint8 (H, W, 3), one an entry.
    """
    columns = min(columns, len(spans_sec))
    cell_px = _THUMBNAIL_PX + _GAP_PX
    rows = -(-len(spans_sec) // columns)
    pictures = [_thumbnail(frame) for frame in frames]
    picture_px = max(picture.height for picture in pictures)
    row_px = picture_px + 2 * _TEXT_PX
    width = max(columns * cell_px + _GAP_PX, 4 * cell_px)
    strip = Image.new("RGB", (width, _BAR_PX + 2 * _GAP_PX + rows * row_px), "white")
    draw = ImageDraw.Draw(strip)
    _draw_bar(draw, spans_sec, width)
    for number, (picture, (first, last)) in enumerate(zip(pictures, spans_sec, strict=True)):
        row, column = divmod(number, columns)
        left, top = _GAP_PX + column * cell_px, _BAR_PX + 2 * _GAP_PX + row * row_px
        strip.paste(picture, (left, top))
        draw.text((left, top + picture_px), clock(first), fill="black")
        draw.text((left, top + picture_px + _TEXT_PX - 2), f"- {clock(last)}", fill="black")
    return strip


def _thumbnail(frame: np.ndarray) -> Image.Image:
    picture = Image.fromarray(frame)
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    return picture


def save_strip(file: Path, strip: Image.Image) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    strip.save(file)


def _draw_bar(draw: ImageDraw.ImageDraw, spans_sec: list[tuple[float, float]], width: int) -> None:
    start, stop = spans_sec[0][0], spans_sec[-1][1]
    scale = (width - 2 * _GAP_PX) / max(stop - start, 1e-9)
    for number, (first, last) in enumerate(spans_sec):
        left, right = (_GAP_PX + (time - start) * scale for time in (first, last))
        draw.rectangle((left, _GAP_PX, max(right, left + 1), _BAR_PX), fill=_COLOURS[number % 2])
