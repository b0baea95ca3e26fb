"""Frame features of a network of slowfast_gta, by the core's own extraction: two a second, averaged over space.

N sampled frame, C channel, T frames of a clip, S crop size.
"""

import hashlib
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from a2summ.frames import RATE, VideoTimes
from slowfast_gta.errors import ConfigError, counted
from slowfast_gta.inference.features import FeatureExtractor, build_feature_extractor
from slowfast_gta.inference.network import FEATURES, EvalNetwork, Wanted

_POOL = "space"
_MOST_CLIPS = 8  # at once: a short video fills no larger batch


class ExtractedFeatures:
    """A FrameNetwork. Vectors are L2-normalised."""

    def __init__(self, extractor: FeatureExtractor, name: str, digest: str, dim: int):
        self._extractor = extractor
        self.name, self.digest, self.dim = name, digest, dim

    def __call__(self, times: VideoTimes) -> tuple[np.ndarray, np.ndarray]:
        found = self._extractor(times.path)
        # A video of less than two frames a second shows a frame at several moments: it counts once.
        indices, first = np.unique(found.frame_indices[:, 0], return_index=True)
        rows = found.rows[first].astype(np.float32)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return indices, rows


def build_network(cfg: CfgNode, weights: str | Path) -> ExtractedFeatures:
    """The network of a config of the core with `weights`. Raises UserError."""
    batch_size = min(cfg.TEST.BATCH_SIZE, _MOST_CLIPS)
    extractor = build_feature_extractor(cfg, weights, pool=_POOL, fps=RATE, batch_size=batch_size)
    dim = _dim_of(extractor.network, cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE)
    return ExtractedFeatures(extractor, name_from_cfg(cfg), digest_from_cfg(cfg, weights), dim)


def _dim_of(network: EvalNetwork, num_frames: int, side: int) -> int:
    """How many channels its features have. Raises ConfigError where it has no row for each frame."""
    clip = np.zeros((1, num_frames, side, side, 3), np.uint8)
    _, num_steps, dim = network(clip, Wanted(probabilities=False, layer=FEATURES, pool=_POOL))["features"].shape
    if num_steps != num_frames:
        raise ConfigError(
            f"{network.name}: has features for {counted(num_steps, 'step')} of its "
            f"{counted(num_frames, 'frame')}, but a summary needs them for every frame. Use a network that "
            "keeps all frames, such as those of configs/SSv2/R2D50*.yaml."
        )
    return dim


def name_from_cfg(cfg: CfgNode) -> str:
    return f"{cfg.MODEL.ARCH}, {cfg.DATA.NUM_FRAMES} frames"


def digest_from_cfg(cfg: CfgNode, weights: str | Path) -> str:
    """SHA-256 of the weights file, of what the config says of the network and its input, and of how it is asked."""
    with Path(weights).open("rb") as file:
        content = hashlib.file_digest(file, "sha256")
    sections = [str(cfg.MODEL), str(cfg.RESNET), str(cfg.ATTENTION), str(cfg.TSM), str(cfg.DATA.NUM_FRAMES)]
    sections += [str(cfg.DATA.TEST_CROP_SIZE), str(cfg.DATA.MEAN), str(cfg.DATA.STD), str(list(cfg.DATA.RESIZE))]
    content.update("\n".join([*sections, f"{FEATURES}, {_POOL}, {RATE} a second"]).encode())
    return content.hexdigest()
