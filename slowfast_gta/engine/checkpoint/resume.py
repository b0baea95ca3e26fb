"""What a checkpoint counts on besides weights: the steps of an epoch, the seed, the code, what it builds on."""

import logging
from collections.abc import Mapping
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta.engine.checkpoint.checkpoint import Position, list_checkpoints
from slowfast_gta.engine.checkpoint.code_version import code_version
from slowfast_gta.engine.task import Loader, Task
from slowfast_gta.errors import ConfigError, RunError

logger = logging.getLogger("slowfast_gta")


def build_origin(cfg: CfgNode, task: Task, loader: Loader) -> dict[str, Any]:
    """What a checkpoint says of the run that made it. The order of an epoch's samples follows from it."""
    return {
        "RNG_SEED": cfg.RNG_SEED,
        "TRAIN.BATCH_SIZE": cfg.TRAIN.BATCH_SIZE,
        "steps of an epoch": len(loader),
        **task.origin(cfg),
        "code": code_version(),
    }


def check_origin(was: Mapping[str, Any], now: Mapping[str, Any], position: Position) -> None:
    """Say what differs. Raises RunError where it does inside an epoch, whose steps would be other samples."""
    changed = [name for name in was if was[name] != now.get(name)]
    told = "; ".join(f"{name} was {was[name]} and is {now.get(name)}" for name in changed)
    if position.step and set(changed) - {"code"}:
        raise RunError(
            f"The checkpoint in OUTPUT_DIR is from inside epoch {position.epoch + 1}, and the rest of that epoch would "
            f"be other videos now: {told}. Go on as before to the epoch's end, or move {position.file_name} away to "
            "begin that epoch again."
        )
    if changed:
        logger.warning("Since the checkpoint was made: %s.", told)


def check_builds_on(cfg: CfgNode, task: Task, model: nn.Module, content: Mapping[str, Any]) -> None:
    """Raises RunError where what the training builds on is not what the checkpoint `content` was made on."""
    was, now = content.get("builds_on", {}), task.builds_on(model)
    changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    if changed:
        told = "; ".join(f"{name} was {was.get(name)} and is {now.get(name)}" for name in changed)
        raise RunError(
            f"The checkpoint in {cfg.OUTPUT_DIR} was trained on something else (digests: {told}). Give the files it "
            "was made with, or choose another OUTPUT_DIR."
        )


def check_starts_anew(cfg: CfgNode) -> None:
    """Raises ConfigError where OUTPUT_DIR has checkpoints that a run from the start would mix with its own."""
    found = list_checkpoints(cfg.OUTPUT_DIR)
    if found:
        raise ConfigError(
            f"TRAIN.AUTO_RESUME is False, and {cfg.OUTPUT_DIR} has {len(found)} checkpoints of an earlier run. Choose "
            "another OUTPUT_DIR, or move them away."
        )
