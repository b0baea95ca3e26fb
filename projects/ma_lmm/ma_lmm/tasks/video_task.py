"""What a task of the paper is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ma_lmm.tasks.samples import Sample, Videos


@dataclass(frozen=True)
class Source:
    """Where the annotations of a split are, and the videos. `references`: captions in COCO's format, or None."""

    annotations: Path
    videos: Videos
    references: Path | None = None


@dataclass(frozen=True)
class VideoTask:
    """read: (source, "train", "val" or "test") -> samples.

    metric: how answers count, a name of metrics.METRICS. class_names: (source) -> the closed set of answers, or None
    where answers are free. index_rule: how test frames are chosen, `round` or `floor` (YouCook2).
    """

    read: Callable[[Source, str], list[Sample]]
    metric: str
    class_names: Callable[[Source], list[str]] | None = None
    index_rule: str = "round"
