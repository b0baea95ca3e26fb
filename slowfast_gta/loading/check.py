"""What must hold of the lists before a training begins, and would otherwise be found after it, or never."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from fvcore.common.config import CfgNode

from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.records import VideoDataset, VideoRecord
from slowfast_gta.errors import ConfigError, DataError, counted
from slowfast_gta.video.readers import open_video

logger = logging.getLogger(__name__)

_SHOWN = 3  # reasons, classes


def check_splits(cfg: CfgNode, splits: Sequence[str]) -> None:
    """Read the list of every split that a run will use, and one frame of each.

    Raises DataError for a list that is missing or wrong, that has not one readable video, or that trains one class
    only; ConfigError where MODEL.NUM_CLASSES is far more than the labels that the lists use.
    """
    records_of: dict[str, Sequence[VideoRecord]] = {}
    how = {"timeout_sec": cfg.DATA_LOADER.SAMPLE_TIMEOUT_SEC or None, "frame_pattern": cfg.DATA.FRAME_PATTERN}
    for split in splits:
        dataset = build_dataset(cfg, split)
        records = dataset.records(split)
        if records not in records_of.values():  # Something-Something validates and tests on one list
            _check_one_is_readable(split, records, how)
        records_of[split] = records
        if split == "train":
            check_labels(dataset, records)


def check_labels(dataset: VideoDataset, records: Sequence[VideoRecord]) -> None:
    """Whether the training videos are of more than one class, and of most of them. Raises DataError, ConfigError."""
    labels = Counter(record.label for record in records)
    names = dataset.class_names()
    outputs = names.values() if isinstance(names, dict) else [names]
    if len(labels) == 1 and max(map(len, outputs)) > 1:
        (label,) = labels
        raise DataError(
            f"All training videos ({len(records)}) have the label {label}. A network that sees one class learns "
            "nothing: "
            "check the labels in the training list."
        )
    if isinstance(names, dict):
        return
    unused = [label for label in range(len(names)) if label not in labels]
    if not dataset.knows_its_classes and len(unused) > len(names) / 2:
        largest = max(label for label in range(len(names)) if label in labels)
        raise ConfigError(
            f"MODEL.NUM_CLASSES is {len(names)}, but the training list uses {counted(len(labels), 'label')}, up "
            f"to {largest}. "
            f"Set MODEL.NUM_CLASSES {largest + 1}, or write the names of all classes into classes.txt, one per "
            "line, in the folder of the lists."
        )
    if unused:
        some = ", ".join(f"{label} ({names[label]})" for label in unused[:_SHOWN]) + " ..." * (len(unused) > _SHOWN)
        logger.warning(f"Without a training video: {len(unused)} of {counted(len(names), 'class')}: {some}.")


def _check_one_is_readable(split: str, records: Sequence[VideoRecord], how: Mapping) -> None:
    """Raises DataError where not one of the videos can be read; mostly the first can."""
    reasons = []
    for record in records:
        try:
            with open_video(record.path, record.span, **how) as video:
                video.read([0])
                return
        except DataError as fault:
            reasons.append(str(fault))
    raise DataError(
        f"No video of the split {split} can be read (of {len(records)}). {' '.join(reasons[:_SHOWN])} "
        "DATA.PATH_PREFIX says where the videos are; tools/check_data.py lists everything that is wrong."
    )
