"""ArrowOfTime: the videos of any data set, each forwards and backwards, as two classes.

Pickup et al., "Seeing the Arrow of Time", CVPR 2014; Wei et al., "Learning and Using the Arrow of Time", CVPR 2018.
It asks whether a network, and the videos, carry the order of time at all: a network that is blind to it stays at 50 %.
What a file's encoding tells of the direction is not taken away here: frames after a keyframe can look other than those
before one, and a network may learn that. The same videos as JPEG frames, or Synthetic, have no such trace.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from fvcore.common.config import CfgNode

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.records import VideoDataset, VideoRecord
from slowfast_gta.errors import ConfigError, DataError, counted

logger = logging.getLogger(__name__)

DIRECTIONS = ("forwards", "backwards")


@DATASET_REGISTRY.register()
class ArrowOfTime(VideoDataset):
    """Two classes, forwards and backwards. Both of a video are in the split that its data set has it in, and what is
    of a file or folder that trains is left out of validation and testing, and counted."""

    def __init__(self, source: VideoDataset, classes: Sequence[int] = ()):
        """`classes`: labels of `source` whose videos are taken; none for all."""
        super().__init__(source.data_dir, source.path_prefix or "")
        self.source, self.classes = source, frozenset(classes)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "ArrowOfTime":
        """Raises ConfigError for an unknown data set, for itself, and for classes of one with several outputs."""
        name, classes = cfg.ARROW.DATASET, cfg.ARROW.CLASSES
        if name == cls.__name__:
            raise ConfigError(
                f"ARROW.DATASET is {name}, which refers to itself. Name the data set of the videos.", ["ARROW.DATASET"]
            )
        source = DATASET_REGISTRY.find(name, "ARROW.DATASET").from_cfg(cfg)
        if not all(isinstance(label, int) and label >= 0 for label in classes) or (classes and source.outputs):
            text = f"ARROW.CLASSES is {classes}; it must be labels (whole numbers) of a data set with one output."
            raise ConfigError(text, ["ARROW.CLASSES"])
        return cls(source, classes)

    def prepare(self) -> None:
        self.source.prepare()

    def class_names(self) -> list[str]:
        return list(DIRECTIONS)

    def reversed_pairs(self) -> list[tuple[int, int]]:
        return [(0, 1)]

    def mirror_labels(self) -> list[int | None]:
        return [0, 1]  # in a mirror, time goes on as it did

    def records(self, split: str) -> list[VideoRecord]:
        videos = self._videos(split)
        if split != "train":
            trained = {video.path for video in self._videos("train")}
            apart = [video for video in videos if video.path not in trained]
            if len(apart) < len(videos):
                logger.warning(
                    f"ArrowOfTime: left out of {split}: {len(videos) - len(apart)} of "
                    f"{counted(len(videos), 'video')}, parts of files that are also trained on."
                )
            videos = apart
        if not videos:
            raise DataError(f"ArrowOfTime: {split} has no videos left. ARROW.CLASSES must name labels that have some.")
        logger.info(f"ArrowOfTime: {split} has {counted(len(videos), 'video')}, each forwards and backwards.")
        return [
            replace(video, label=label, video_id=f"{video.video_id}.{direction}", backwards=direction == "backwards")
            for video in videos
            for label, direction in enumerate(DIRECTIONS)
        ]

    def _videos(self, split: str) -> list[VideoRecord]:
        """Those of `source` that are taken."""
        videos = self.source.records(split)
        return [video for video in videos if video.label in self.classes] if self.classes else videos
