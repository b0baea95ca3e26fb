"""Training steps on clips of plain numbers: what a loader would give, without videos and without normalisation."""

import torch

from slowfast_gta import load_config
from slowfast_gta.engine.classification import Classification
from slowfast_gta.engine.training.learner import Learner, build_learner
from slowfast_gta.loading.batch import Batch


def unchanged(clips: torch.Tensor) -> torch.Tensor:
    """In the place of Normalize."""
    return clips


def task_of(clip_shape: tuple[int, int, int] = (4, 32, 32), label_smoothing: float = 0.0) -> Classification:
    """A classification of clips that are normalised already."""
    return Classification(unchanged, clip_shape, label_smoothing, 8, 1, "float clips")


def learner_of(cfg_file, overrides) -> Learner:
    """The learner of a config, on the CPU, for clips that are normalised already."""
    cfg = load_config(cfg_file, overrides)
    size = cfg.DATA.TRAIN_CROP_SIZE
    task = task_of((cfg.DATA.NUM_FRAMES, size, size), cfg.TRAIN.LABEL_SMOOTHING)
    return build_learner(cfg, task, torch.device("cpu"))


def batch_of(clips: torch.Tensor, labels: torch.Tensor) -> Batch:
    """Clips (B, 3, T, H, W) with their labels."""
    count = torch.arange(len(labels))
    return Batch(clips, labels, count, torch.zeros_like(count), [str(number) for number in count.tolist()])
