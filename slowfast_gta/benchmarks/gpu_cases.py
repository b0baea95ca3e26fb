"""What the parts of the GPU report run on: networks by name, at full size or small, clips, and how they are timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.config.load import load_config
from slowfast_gta.engine.classification import Classification
from slowfast_gta.engine.device import device_from_cfg
from slowfast_gta.engine.training.learner import Learner, build_learner
from slowfast_gta.loading.batch import Batch

R2D, GTA, SLOWFAST = "SSv1/R2D50", "SSv1/R2D50_GTA", "Kinetics/SLOWFAST_8x8_R50"
NL, TSM = "SSv1/R2D50_NL", "SSv1/R2D50_TSM"
_SMALL = ["RESNET.WIDTH_PER_GROUP", 8, "RESNET.DEPTH", 18, "DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64]
_SMALL_PLACES = ["ATTENTION.LOCATION", [[[]], [[1]], [[1]], [[]]]]


@dataclass(frozen=True)
class Setting:
    """Where the parts run, and whether at the size of a dry run."""

    device: torch.device
    small: bool
    output: Path

    @classmethod
    def from_cfg(cls, cfg: CfgNode, output: Path) -> "Setting":
        """The device of a config; on a CPU, small."""
        device = device_from_cfg(cfg)
        return cls(device, device.type == "cpu", output)

    def config(self, name: str, *overrides: Any, small: bool | None = None) -> CfgNode:
        """configs/NAME.yaml, at this size."""
        is_small = self.small if small is None else small
        size = [*_SMALL, *(_SMALL_PLACES if name in (GTA, NL) else [])] if is_small else []
        return load_config(f"configs/{name}.yaml", [*size, "NUM_GPUS", int(self.device.type == "cuda"), *overrides])

    def build_clips(self, cfg: CfgNode, count: int, side: int | None = None) -> Tensor:
        """The same normalised clips on every device."""
        side = side or cfg.DATA.TRAIN_CROP_SIZE
        generator = torch.Generator().manual_seed(count)
        shape = (count, cfg.DATA.NUM_FRAMES, side, side, 3)
        return torch.randn(shape, generator=generator).permute(0, 4, 1, 2, 3)

    def build_batch(self, cfg: CfgNode, count: int) -> Batch:
        """Clips, already normalised, with labels."""
        index = torch.arange(count)
        return Batch(
            self.build_clips(cfg, count), index % 3, index, torch.zeros_like(index), [str(n) for n in range(count)]
        )

    def size(self, batch_size: int) -> int:
        """That batch size, or a dry run's."""
        return 2 if self.small else batch_size


def build_float_learner(cfg: CfgNode, device: torch.device) -> Learner:
    """A learner of clips that are normalised already."""
    side = cfg.DATA.TRAIN_CROP_SIZE
    shape = (cfg.DATA.NUM_FRAMES, side, side)
    task = Classification(nn.Identity(), shape, cfg.TRAIN.LABEL_SMOOTHING, 8, 1, "made")  # type: ignore[arg-type]
    learner = build_learner(cfg, task, device)
    learner.train_mode()
    return learner


def milliseconds(run: Callable[[], object], device: torch.device, repeats: int = 8, warm_ups: int = 3) -> float:
    """The median over `repeats`, by the GPU's own clock where there is one."""
    if device.type == "cpu":
        repeats, warm_ups = 1, 0
    for _ in range(warm_ups):
        run()
    return statistics.median(_once(run, device) for _ in range(repeats))


def _once(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        begin = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - begin)
    begin_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin_event.record()
    run()
    end_event.record()
    end_event.synchronize()
    return begin_event.elapsed_time(end_event)


def difference(actual: Tensor, wanted: Tensor) -> float:
    """|actual - wanted| / |wanted|."""
    actual, wanted = actual.detach().cpu().double(), wanted.detach().cpu().double()
    return float((actual - wanted).norm() / wanted.norm().clamp_min(1e-30))


def state_of(network: nn.Module) -> list[Tensor]:
    """Copies of its parameters and statistics on the CPU."""
    return [tensor.detach().cpu().clone() for tensor in (*network.parameters(), *network.buffers())]
