"""A batch: the clips of one step, or of some videos' views, and what became of the videos that were asked for.

B clips (in testing: views), T frame, S crop size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

VIDEO_COUNTS = ("num_requested", "num_decoded", "num_skipped", "num_replaced", "num_timed_out")


class BadVideo(NamedTuple):
    """A video that could not be read."""

    video_id: str
    reason: str  # a sentence that names the file
    path: str
    timed_out: bool


@dataclass(frozen=True)
class Batch:
    """One process's share of a step, as `clips.collate` makes it."""

    frames: Tensor | None  # uint8 (B, 3, T, S, S), in memory (B, T, S, S, 3), RGB; None: no video could be read
    label: Tensor  # int64 (B,), with several outputs (B, outputs)
    index: Tensor  # int64 (B,), of the record
    view_id: Tensor  # int64 (B,), clip x crops + crop; 0 in training
    video_id: list[str]  # B names
    errors: list[BadVideo] = field(default_factory=list)
    num_repeated: int = 0  # frames that did not decode; the nearest decoded frame was used
    num_alike: int = 0  # clips that are the same as one before, of videos too short for so many
    video_counts: dict[str, int] = field(default_factory=dict)  # by VIDEO_COUNTS

    @property
    def num_samples(self) -> int:
        return len(self.label)

    @property
    def ids(self) -> list[str]:
        return self.video_id

    @property
    def counts(self) -> dict[str, int]:
        """What became of the videos, and the frames that did not decode."""
        return {**self.video_counts, "repeated_frames": self.num_repeated}

    def to(self, device: torch.device) -> Self:
        """The frames and labels on `device`."""
        frames = None if self.frames is None else self.frames.to(device, non_blocking=True)
        return replace(self, frames=frames, label=self.label.to(device, non_blocking=True))

    def split(self, num_parts: int) -> Sequence[Self]:
        """In parts of almost equal size, at most one for each clip; what is counted stands in the first."""
        num_parts = min(num_parts, self.num_samples)
        if self.frames is None or num_parts <= 1:
            return [self]
        ends = accumulate((len(part) for part in self.index.tensor_split(num_parts)), initial=0)
        none: dict[str, Any] = {"errors": [], "num_repeated": 0, "num_alike": 0, "video_counts": {}}
        return [
            replace(
                self,
                frames=self.frames[start:end],
                label=self.label[start:end],
                index=self.index[start:end],
                view_id=self.view_id[start:end],
                video_id=self.video_id[start:end],
                **(none if start else {}),
            )
            for start, end in pairwise(ends)
        ]

    def pin_memory(self) -> Self:
        """In page-locked memory, from where a GPU copies without waiting; torch's loader asks for it."""
        frames = None if self.frames is None else self.frames.pin_memory()
        return replace(self, frames=frames, label=self.label.pin_memory())
