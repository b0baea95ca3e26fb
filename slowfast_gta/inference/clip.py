"""One clip of one video, ready for a network: the shortest way from a file to `model(clip)`."""

from pathlib import Path

from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.engine.device import build_normalize
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.loading.clips import TestViews
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform


def load_clip(
    path: str | Path,
    cfg_or_num_frames: CfgNode | int = 8,
    crop_size: int | None = None,
    span_sec: tuple[float, float] | None = None,
    num_views: int = 1,
    num_crops: int = 1,
) -> Tensor:
    """(V, 3, T, S, S), RGB, normalised: the clip of a video file or folder of frames, as a test with `num_views` clips
    and `num_crops` crops of each would take it.

    cfg_or_num_frames: a config, which says how clips are sampled, cropped and normalised; or T frames, the centres of
        T equal parts, cropped to `crop_size` (224) and normalised by the defaults of DATA.MEAN and DATA.STD.
    span_sec: (start, stop) of the part of a file that is taken for the video.
    Raises DataError where it cannot be read, ConfigError for what cannot be asked for.
    """
    cfg = _cfg_of(cfg_or_num_frames, crop_size)
    if num_crops not in (1, 3, 10) or num_views < 1:
        raise ConfigError(f"num_crops is {num_crops} (1, 3 or 10) and num_views {num_views} (1 or more).")
    if span_sec is not None and not 0 <= span_sec[0] < span_sec[1]:
        raise ConfigError(f"span_sec is {span_sec}; it must be (start, stop) in seconds, the start first.")
    sampling, transform = ClipSampling.from_cfg(cfg), TestTransform.from_cfg(cfg, num_crops)
    views = TestViews([VideoRecord(str(path), 0, str(path), span=span_sec)], sampling, transform, num_views)
    views.frame_pattern = cfg.DATA.FRAME_PATTERN
    item = views[0]
    if item.frames is None:
        raise DataError(item.errors[0].reason)
    return build_normalize(cfg)(item.frames)


def _cfg_of(cfg_or_num_frames: CfgNode | int, crop_size: int | None) -> CfgNode:
    if not isinstance(cfg_or_num_frames, int):
        if crop_size is None:
            return cfg_or_num_frames
        cfg = cfg_or_num_frames.clone()
        cfg.defrost()
    else:
        if cfg_or_num_frames < 1:
            raise ConfigError(f"A clip has 1 frame or more, not {cfg_or_num_frames}.")
        cfg = get_defaults()
        cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING = cfg_or_num_frames, "segment"
    cfg.DATA.TEST_CROP_SIZE = crop_size or 224
    cfg.DATA.RESIZE = []
    return cfg
