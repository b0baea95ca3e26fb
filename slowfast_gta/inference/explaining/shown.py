"""What can be drawn of a clip, as plain arrays; and the point from which attention is looked at.

Legend: K rows (regions, groups ...), T steps of a block or pathway, H W its space, S crop size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from slowfast_gta.errors import ConfigError, counted
from slowfast_gta.models.slowfast import SlowFast, slow_frame_indices


class Query(NamedTuple):
    """A point of a clip as the network is given it: pixels from the left and from the top, and the frame, from 0."""

    x: int
    y: int
    frame: int


class Cell(NamedTuple):
    """The same in a block's own steps and positions."""

    step: int
    row: int
    column: int


@dataclass(frozen=True)
class Shown:
    """One picture's content. `form` says what `values` are:

    maps     (K, T, H, W): over the frames; NaN where there is nothing, as outside of NL's group
    weights  (K, T): of each step
    matrix   (K, T, T): rows are steps of the output, columns of the input
    channels (C, T)
    """

    kind: str  # spacetime, spatial, temporal, regions, ...; what its file is called
    form: str
    what: str  # a sentence: what is shown
    values: np.ndarray
    unit: str  # what the colours or heights are
    rows: tuple[str, ...] = ()  # names of the K
    signed: bool = False
    of_point: bool = False  # whether it depends on the point that is asked about
    most: float | None = None  # the value of the last colour, where it is known beforehand
    block: str = ""  # "" for Grad-CAM, which is of the network
    query: Query | None = None
    frames: tuple[int, ...] = ()  # (T,) which frame of the clip each step is drawn on

    @property
    def name(self) -> str:
        """What nothing else of one explanation is called."""
        return f"{short_name(self.block)}_{self.kind}" if self.block else self.kind


def short_name(block: str) -> str:
    """s3.pathway0_attention1 -> s3.1, as --block takes it; another pathway or kind of block stays in it."""
    stage, _, rest = block.partition(".")
    return f"{stage}.{rest.removeprefix('pathway0_').removeprefix('attention')}"


def parse_query(text: str, num_frames: int, size: tuple[int, int]) -> Query:
    """ "x,y,frame" of a clip of `num_frames` frames of `size` (H, W). Raises ConfigError."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().lstrip("-").isdigit() for part in parts):
        raise ConfigError(f"--query is {text!r}; it must be x,y,frame, three whole numbers, for example 40,25,3.")
    query = Query(*map(int, parts))
    height, width = size
    if not (0 <= query.x < width and 0 <= query.y < height and 0 <= query.frame < num_frames):
        raise ConfigError(
            f"--query {text} is outside of what the network sees: {counted(num_frames, 'frame')} of {width} x "
            f"{height} pixels, "
            f"so x from 0 to {width - 1}, y from 0 to {height - 1}, frame from 0 to {num_frames - 1}."
        )
    return query


def cell_of(query: Query, frames: tuple[int, ...], size: tuple[int, int], crop: tuple[int, int]) -> Cell:
    """The step and position of a block (of `size` H, W) in which a point of the clip (of `crop` H, W) lies.

    frames: which frame of the clip each step begins with; the last that is not behind the point's counts.
    """
    step = max((number for number, frame in enumerate(frames) if frame <= query.frame), default=0)
    return Cell(step, query.y * size[0] // crop[0], query.x * size[1] // crop[1])


def strongest_point(x: Tensor, frames: tuple[int, ...], crop: tuple[int, int]) -> Query:
    """The centre of the position whose activations (1, C, T, H, W) have the largest norm over the channels."""
    norms = torch.linalg.vector_norm(x[0].double(), dim=0)
    step, row, column = np.unravel_index(int(norms.argmax()), norms.shape)
    y, x_ = (2 * row + 1) * crop[0] // (2 * norms.shape[1]), (2 * column + 1) * crop[1] // (2 * norms.shape[2])
    return Query(int(x_), int(y), frames[int(step)])


def frames_of_steps(model: nn.Module, pathway: int, num_steps: int, num_frames: int) -> tuple[int, ...]:
    """(T,): the frame of the clip that each step of a pathway begins with."""
    if isinstance(model, SlowFast) and pathway == 0:
        return tuple(slow_frame_indices(num_frames, model.alpha).tolist())
    return tuple(step * num_frames // num_steps for step in range(num_steps))


def pathway_of(block: str) -> int:
    """s4.pathway1_attention2 -> 1; 0 where a name does not say."""
    _, separator, rest = block.partition("pathway")
    digits = rest.split("_")[0]
    return int(digits) if separator and digits.isdigit() else 0
