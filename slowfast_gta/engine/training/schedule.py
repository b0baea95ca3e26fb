"""The learning rate as a pure function of the epoch: nothing to save, nothing to restore."""

import math
from dataclasses import dataclass

from fvcore.common.config import CfgNode


@dataclass(frozen=True)
class Schedule:
    """What `lr_at` needs; the fields are the SOLVER keys of the same names, epochs and learning rates."""

    policy: str
    base_lr: float
    max_epochs: float
    steps: tuple[float, ...] = ()
    relative_lrs: tuple[float, ...] = ()
    gamma: float = 0.1
    end_lr: float = 0.0
    warmup_epochs: float = 0.0
    warmup_start_lr: float = 0.0


def build_schedule(cfg: CfgNode) -> Schedule:
    """The schedule of cfg.SOLVER, its learning rates times `lr_scale_from_cfg`."""
    solver = cfg.SOLVER
    scale = lr_scale_from_cfg(cfg)
    return Schedule(
        policy=solver.LR_POLICY,
        base_lr=solver.BASE_LR * scale,
        max_epochs=solver.MAX_EPOCH,
        steps=tuple(solver.STEPS),
        relative_lrs=tuple(solver.LRS),
        gamma=solver.GAMMA,
        end_lr=solver.COSINE_END_LR * scale,
        warmup_epochs=min(solver.WARMUP_EPOCHS, solver.WARMUP_MAX_FRACTION * solver.MAX_EPOCH),
        warmup_start_lr=solver.WARMUP_START_LR * scale,
    )


def lr_scale_from_cfg(cfg: CfgNode) -> float:
    """What learning rates are multiplied by: TRAIN.BATCH_SIZE / SOLVER.BASE_BATCH_SIZE (the linear rule), NUM_SHARDS
    with BASE_LR_SCALE_NUM_SHARDS, else 1."""
    if cfg.SOLVER.BASE_BATCH_SIZE:
        return cfg.TRAIN.BATCH_SIZE / cfg.SOLVER.BASE_BATCH_SIZE
    return cfg.NUM_SHARDS if cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS else 1


def lr_at(epoch: float, schedule: Schedule) -> float:
    """The learning rate at a moment, in epochs with their fraction, counted from 0.

    During the warm-up it grows linearly from warmup_start_lr to what the policy says at the warm-up's end.
    """
    if epoch < schedule.warmup_epochs:
        target = _policy_lr(schedule.warmup_epochs, schedule)
        part = epoch / schedule.warmup_epochs
        return schedule.warmup_start_lr + part * (target - schedule.warmup_start_lr)
    return _policy_lr(epoch, schedule)


def is_due(step: int, period: int) -> bool:
    """Whether something that is done every `period` steps (0: never) is done after this one."""
    return period > 0 and step % period == 0


def _policy_lr(epoch: float, schedule: Schedule) -> float:
    if schedule.policy == "cosine":
        half_wave = (math.cos(math.pi * epoch / schedule.max_epochs) + 1) / 2
        return schedule.end_lr + (schedule.base_lr - schedule.end_lr) * half_wave
    passed = sum(epoch >= step for step in schedule.steps)
    if schedule.policy == "steps":
        return schedule.base_lr * schedule.gamma**passed
    return schedule.base_lr * schedule.relative_lrs[max(passed - 1, 0)]  # steps_with_relative_lrs: STEPS[0] is 0
