"""Charts of a few curves over logarithmic axes, side by side in one picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

_WIDTH, _HEIGHT = 520, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 30, 48, 56
_COLOURS = ((70, 110, 180), (200, 90, 60))
_MARK_PX = 4


@dataclass(frozen=True)
class Curve:
    """Points (x, y), both above 0; `labels` says whether each y is written beside its point."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: bool = True


@dataclass(frozen=True)
class Chart:
    title: str
    x_name: str
    curves: Sequence[Curve]
    unit: str = "{:.0f}"  # how a y is written
    margin: float = 1.25  # a factor that is left free above the highest and below the lowest y

    def draw(self, picture: Image.Image, left: int) -> None:
        """Onto `picture`, _WIDTH wide from `left`."""
        draw = ImageDraw.Draw(picture)
        points = [point for curve in self.curves for point in curve.points]
        across = _Axis([x for x, _ in points], left + _LEFT, left + _WIDTH - _RIGHT)
        up = _Axis([y for _, y in points], _HEIGHT - _BOTTOM, _TOP, self.margin)
        draw.text((left + 12, 10), self.title, fill="black")
        draw.text((left + _WIDTH // 2 - 3 * len(self.x_name), _HEIGHT - 22), self.x_name, fill="black")
        for value in sorted({x for curve in self.curves if curve.labels for x, _ in curve.points}):
            draw.text((across.at(value) - 8, _HEIGHT - _BOTTOM + 6), f"{value:g}", fill="black")
        for value in up.ticks():
            draw.line((left + _LEFT, up.at(value), left + _WIDTH - _RIGHT, up.at(value)), fill=(228, 228, 228))
            draw.text((left + 12, up.at(value) - 6), f"{value:g}", fill="black")
        corner = (left + _LEFT, _HEIGHT - _BOTTOM)
        draw.line((left + _LEFT, _TOP, *corner, left + _WIDTH - _RIGHT, corner[1]), fill="black")
        for number, (curve, colour) in enumerate(zip(self.curves, _COLOURS, strict=False)):
            at = [(across.at(x), up.at(y)) for x, y in curve.points]
            draw.line(at, fill=colour, width=3)
            draw.text((left + _LEFT + 14, _TOP + 4 + 16 * number), curve.name, fill=colour)
            below = number == 0  # the names of two curves' points do not lie on each other
            for (x, y), (_, value) in zip(at, curve.points, strict=True):
                draw.ellipse((x - _MARK_PX, y - _MARK_PX, x + _MARK_PX, y + _MARK_PX), fill=colour)
                if curve.labels:
                    draw.text((x - 12, y + (8 if below else -20)), self.unit.format(value), fill=colour)


class _Axis:
    """Values -> places between `start` and `stop`, by their logarithms."""

    def __init__(self, values: Sequence[float], start: float, stop: float, margin: float = 1.0):
        self._low, self._high = min(values) / margin, max(values) * margin
        self._start, self._stop = start, stop

    def at(self, value: float) -> float:
        share = math.log(value / self._low) / max(math.log(self._high / self._low), 1e-9)
        return self._start + share * (self._stop - self._start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten."""
        powers = range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1)
        every = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        return [value for value in every if self._low <= value <= self._high]


def draw_charts(charts: Sequence[Chart]) -> Image.Image:
    """The charts from left to right."""
    picture = Image.new("RGB", (_WIDTH * len(charts), _HEIGHT), "white")
    for number, chart in enumerate(charts):
        chart.draw(picture, number * _WIDTH)
    return picture
