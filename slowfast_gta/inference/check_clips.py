"""Clips to compare an exported network on: of videos that are named, of the data set, or drawn here.

Legend: N clips, T frames, S crop size.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from slowfast_gta.config.check import check_data_paths
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.datasets.synthetic.dataset import Settings, render_video
from slowfast_gta.errors import DataError, UserError
from slowfast_gta.loading.clips import TestViews
from slowfast_gta.loading.loader import build_frame_pattern
from slowfast_gta.loading.sampling import ClipSampling, segment_views
from slowfast_gta.loading.transforms import TestTransform

NUM_CLIPS = 3


def build_check_clips(cfg: CfgNode, videos: Sequence[str]) -> tuple[np.ndarray, str]:
    """(uint8 (N, T, S, S, 3), where they are from). Raises DataError where one of `videos` cannot be read."""
    if videos:
        return np.concatenate([build_clip(cfg, VideoRecord(video, 0, video)) for video in videos]), "the videos named"
    clips = []
    for record in build_test_records(cfg):
        try:
            clips.append(build_clip(cfg, record))
        except DataError:
            continue  # of a data set, others will do
        if len(clips) == NUM_CLIPS:
            return np.concatenate(clips), f"videos of {cfg.TEST.DATASET}"
    return build_drawn_clips(cfg), "generated clips: no --check VIDEO was given, and the data set was not found"


def build_test_records(cfg: CfgNode) -> list[VideoRecord]:
    """The first videos of the test split; none where it is not here."""
    if not cfg.DATA.PATH_TO_DATA_DIR or not Path(cfg.DATA.PATH_TO_DATA_DIR).is_dir():
        return []
    try:
        check_data_paths(cfg, ["test"])
        return list(build_dataset(cfg, "test").records("test"))[: 4 * NUM_CLIPS]
    except UserError:
        return []


def build_clip(cfg: CfgNode, record: VideoRecord) -> np.ndarray:
    views = TestViews([record], ClipSampling.from_cfg(cfg), TestTransform.from_cfg(cfg, 1), 1)
    views.frame_pattern = build_frame_pattern(cfg)
    item = views[0]
    if item.frames is None:
        raise DataError(item.errors[0].reason)
    return np.ascontiguousarray(item.frames.permute(0, 2, 3, 4, 1).numpy())


def build_drawn_clips(cfg: CfgNode) -> np.ndarray:
    """Moving things on textures, as the Synthetic data set has them."""
    num_frames, side = cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE
    transform = TestTransform.from_cfg(cfg, 1)
    settings = Settings(0, 0, max(24, num_frames), side, side * 4 // 3, "vp9", 0)
    indices = segment_views(settings.num_frames, num_frames, 1)[0]
    crops = [transform(render_video(settings, number)[indices])[0] for number in range(NUM_CLIPS)]
    return np.ascontiguousarray(np.stack(crops))
