"""What a network looks at, as pictures: maps over the frames of a clip, weights of frames, T x T matrices, masks.

The content is plain arrays, as inference/explaining computes them. A map's cells are drawn as they are, enlarged and
not smoothed: nothing between them was computed.

Legend: K rows of maps, T steps, H W space, S crop size, C channels.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from slowfast_gta.reports.style import (
    DIVERGING,
    LINES,
    MUTED,
    OVERLAY,
    Axes,
    Figure,
    colour_bar,
    draw_matrix,
    new_figure,
)

MOST_STEPS, MOST_ROWS, MOST_CHANNELS = 8, 6, 48
_FRAME_INCHES = 1.35
_OPACITY = 0.6


class Content(Protocol):
    """What is drawn; inference/explaining/shown.py says what each is."""

    @property
    def form(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def values(self) -> np.ndarray: ...
    @property
    def unit(self) -> str: ...
    @property
    def rows(self) -> tuple[str, ...]: ...
    @property
    def signed(self) -> bool: ...
    @property
    def most(self) -> float | None: ...
    @property
    def block(self) -> str: ...
    @property
    def query(self) -> tuple[int, int, int] | None: ...
    @property
    def frames(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class DrawnClip:
    """The clip that a picture is about."""

    images: np.ndarray  # uint8 (T, S, S, 3), RGB, as the network is given them
    numbers: Sequence[int]  # (T,) of the frames in the video
    times: Sequence[float]  # (T,) seconds; NaN where nobody knows
    title: str  # the video, the window, the network and its prediction


def draw_shown(content: Content, clip: DrawnClip) -> Figure:
    """The picture of one content. Raises ConfigError where matplotlib is not installed."""
    draw = {"maps": _draw_maps, "weights": _draw_weights, "matrix": _draw_matrices, "channels": _draw_channels}
    return draw[content.form](content, clip)


# ------------------------------------------------------------------------------------------------------ over the frames


def _draw_maps(content: Content, clip: DrawnClip) -> Figure:
    """The frames, and below them a row for each of several maps, on a scale of its own that its name says."""
    rows = content.values[:MOST_ROWS]
    steps = drawn_steps(rows.shape[1])
    several = len(rows) > 1
    names = content.rows[: len(rows)] or ("",)
    with _figure(content, clip, len(steps), 1.1 + len(rows), steps) as figure:
        grid = figure.subplots(1 + len(rows), len(steps), squeeze=False)
        _draw_frames(grid[0], content, clip, steps)
        for line, name, maps in zip(grid[1:], names, rows, strict=True):
            largest = _largest(maps) if several else scale_of(content)
            for axes, step in zip(line, steps, strict=True):
                shown = maps[step] / largest if several else maps[step]
                most = 1.0 if several else largest
                drawn = _overlay(axes, clip.images[content.frames[step]], shown, content.signed, most)
                _mark_query(axes, content, step)
            line[0].set_ylabel(f"{name}\n(1: {largest:.2g})" if several else name)
        bar = figure.colorbar(drawn, ax=grid[1:].ravel().tolist(), fraction=0.02, pad=0.01)
        unit = f"{content.unit}, of the row's largest" if several else content.unit
        bar.set_label(f"{unit}\n(map {rows.shape[2]} x {rows.shape[3]})")
        bar.solids.set_alpha(1)
    return figure


def _largest(values: np.ndarray) -> float:
    return float(np.nanmax(np.abs(values), initial=0.0)) or 1.0


def scale_of(content: Content) -> float:
    """The value of the last colour: of all that is drawn of it, one."""
    values = content.values[:MOST_ROWS]
    return content.most or _largest(values)


def _overlay(axes: Axes, image: np.ndarray, values: np.ndarray, signed: bool, largest: float) -> Any:
    """A map over its frame in grey, cell by cell."""
    height, width = image.shape[:2]
    axes.imshow(_grey(image), cmap="gray", vmin=0, vmax=255)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    colours, lowest = (DIVERGING, -largest) if signed else (OVERLAY, 0)
    drawn = axes.imshow(
        values, cmap=colours, vmin=lowest, vmax=largest, alpha=_OPACITY, extent=extent, interpolation="nearest"
    )
    axes.set(xticks=[], yticks=[])
    return drawn


def _draw_weights(content: Content, clip: DrawnClip) -> Figure:
    """Bars below the frames that they are of."""
    steps = drawn_steps(content.values.shape[1], 16)
    with _figure(content, clip, len(steps), 2.2, steps, bar=False) as figure:
        grid = figure.add_gridspec(2, len(steps), height_ratios=[1.1, 1.1])
        tops = [figure.add_subplot(grid[0, column]) for column in range(len(steps))]
        _draw_frames(tops, content, clip, steps)
        axes = figure.add_subplot(grid[1, :])
        for number, values in enumerate(content.values):
            chosen = values[list(steps)]
            axes.bar(range(len(steps)), chosen, color=LINES[number % len(LINES)], width=0.6)
            for column, value in enumerate(chosen):
                small = abs(value) < 1e-3 * np.abs(chosen).max()
                axes.text(column, value, "≈ 0" if small else f"{value:.3g}", ha="center", va="bottom", fontsize=7.5)
        axes.set_xlim(-0.5, len(steps) - 0.5)
        axes.margins(y=0.15)
        if content.values.min() >= 0:
            axes.set_ylim(bottom=0)
        axes.set_xticks(range(len(steps)), [str(content.frames[step]) for step in steps])
        axes.set_xlabel("frame of the clip")
        axes.set_ylabel(content.unit)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_frames(line: Sequence[Axes], content: Content, clip: DrawnClip, steps: Sequence[int]) -> None:
    """The frames with their number and time; the point that is asked about is a cross in its frame."""
    for axes, step in zip(line, steps, strict=True):
        frame = content.frames[step]
        axes.imshow(clip.images[frame])
        time = clip.times[frame]
        when = "" if time != time else f"\n{time:.2f} s"
        axes.set_title(f"frame {frame} (video {clip.numbers[frame]}){when}", fontsize=7.5)
        axes.set(xticks=[], yticks=[])
        _mark_query(axes, content, step)
    last = clip.images.shape[2] - 1, clip.images.shape[1] - 1
    line[0].set(xticks=[0, last[0]], yticks=[0, last[1]])
    line[0].tick_params(labelsize=7, length=2)
    line[0].set_ylabel("pixels")


def _mark_query(axes: Axes, content: Content, step: int) -> None:
    if content.query is None:
        return
    x, y, frame = content.query
    steps_of_query = [number for number, first in enumerate(content.frames) if first <= frame]
    if step == (steps_of_query[-1] if steps_of_query else 0):
        axes.plot(x, y, marker="x", color="white", markersize=9, markeredgewidth=3.2)
        axes.plot(x, y, marker="x", color="#D55E00", markersize=8, markeredgewidth=1.8)


# ---------------------------------------------------------------------------------------------------------- matrices


def _draw_matrices(content: Content, clip: DrawnClip) -> Figure:
    """One T x T matrix with its numbers, or all heads on one scale."""
    count, steps = len(content.values), content.values.shape[1]
    side = int(np.ceil(count**0.5))
    labels = [str(step) for step in range(steps)]
    inches = 4.2 if count == 1 else 1.05 * side
    lines = _caption(content, clip, inches + 2.4)
    with _captioned(inches + 2.4, inches + 0.9 + 0.17 * len(lines), lines) as figure:
        grid = figure.subplots(-(-count // side), side, squeeze=False)
        largest = scale_of(content) if count == 1 else float(np.abs(content.values).max()) or 1.0
        for number, axes in enumerate(grid.ravel()):
            if number >= count:
                axes.set_visible(False)
                continue
            matrix = content.values[number]
            ticks = labels if count == 1 else []
            numbers = "{:.2f}" if count == 1 and steps <= 10 else ""
            drawn = draw_matrix(axes, matrix, ticks, ticks, content.signed, largest, numbers)
            axes.set_aspect("equal")
        where = grid if count > 1 else grid[0, 0]
        colour_bar(figure, drawn, where.ravel().tolist() if count > 1 else where, content.unit)
        figure.supxlabel("frame of the input", fontsize=9)
        figure.supylabel("frame of the output", fontsize=9)
    return figure


def _draw_channels(content: Content, clip: DrawnClip) -> Figure:
    """The channels whose mask varies most from frame to frame, and the mean over all."""
    values = content.values
    order = np.argsort(-values.std(1), kind="stable")[:MOST_CHANNELS]
    lines = _caption(content, clip, 7.5)
    lines[-1] += f" {len(order)} of {len(values)} channels, those that vary most over the frames."
    steps = [str(step) for step in range(values.shape[1])]
    with _captioned(7.5, 7.5, lines) as figure:
        top, bottom = figure.subplots(2, 1, height_ratios=[1, 3.4])
        top.plot(range(len(steps)), values.mean(0), color=LINES[0], marker="o", markersize=3)
        top.set(ylabel="mean over all\nchannels", xticks=range(len(steps)), xlim=(-0.5, len(steps) - 0.5))
        top.spines[["top", "right"]].set_visible(False)
        names = [str(number) if column % 4 == 0 else "" for column, number in enumerate(order)]
        drawn = draw_matrix(bottom, values[order], names, steps, most=content.most)
        bottom.set(xlabel="frame of the block", ylabel="channel")
        colour_bar(figure, drawn, bottom, content.unit)
    return figure


# ---------------------------------------------------------------------------------------------------------- captions


def drawn_steps(num_steps: int, most: int = MOST_STEPS) -> list[int]:
    """Which of a block's steps are drawn: all, or `most` of them at equal distances."""
    if num_steps <= most:
        return list(range(num_steps))
    return [int(step) for step in np.linspace(0, num_steps - 1, most).round()]


def _figure(
    content: Content, clip: DrawnClip, columns: int, rows: float, steps: Sequence[int], bar: bool = True
) -> AbstractContextManager[Figure]:
    width = max(_FRAME_INCHES * columns + 0.6 + 0.9 * bar, 5.5)
    lines = _caption(content, clip, width)
    if len(steps) < content.values.shape[1]:
        lines[-1] += f" {len(steps)} of {content.values.shape[1]} steps are drawn."
    return _captioned(width, (_FRAME_INCHES + 0.12) * rows + 0.5 + 0.17 * len(lines), lines)


@contextmanager
def _captioned(width: float, height: float, lines: list[str]) -> Iterator[Figure]:
    with new_figure(width, height, lines) as figure:
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=8.5, color=MUTED)
        yield figure


def _caption(content: Content, clip: DrawnClip, width: float) -> list[str]:
    """What it is, then of which clip; as many letters a line as `width` inches have."""
    letters = int(width * 14)
    first = f"{content.block}: {content.what}" if content.block else content.what
    if content.query is not None:
        first += f"; point {content.query[0]},{content.query[1]}, frame {content.query[2]}"
    return [*textwrap.wrap(f"{first}.", letters), *textwrap.wrap(clip.title, letters)]


def _grey(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


# ------------------------------------------------------------------------------------------------------------- videos


def overlay_frames(content: Content, clip: DrawnClip, least_px: int = 224) -> list[np.ndarray]:
    """uint8 (S', 2 S', 3), RGB, one for each step: the frame, and beside it the frame with the first row's map."""
    from matplotlib import colormaps

    largest = content.most or _largest(content.values[0])
    colours = colormaps[DIVERGING if content.signed else OVERLAY]
    times = max(1, -(-least_px // min(clip.images.shape[1:3])))
    images = []
    for step, frame in enumerate(content.frames):
        image = clip.images[frame].astype(np.float64)
        values = enlarged(content.values[0, step], image.shape[:2])
        share = (values / largest + 1) / 2 if content.signed else values / largest
        tinted = colours(np.nan_to_num(share))[..., :3] * 255
        grey = np.repeat(_grey(image)[..., None], 3, 2)
        opacity = np.where(np.isnan(values), 0, _OPACITY)[..., None]
        both = np.concatenate([image, grey + opacity * (tinted - grey)], axis=1).round().astype(np.uint8)
        images.append(both.repeat(times, 0).repeat(times, 1))
    return images


def enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) cell by cell to `size`: each pixel has the value of the cell in which its centre lies."""
    rows = ((np.arange(size[0]) + 0.5) * values.shape[0] / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * values.shape[1] / size[1]).astype(int)
    return values[rows][:, columns]
