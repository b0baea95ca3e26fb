"""What a checkpoint counts on besides weights: the steps of an epoch, the seed, the code, what it builds on."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta.config.paths import is_path, same_path
from slowfast_gta.config.settings import flattened
from slowfast_gta.engine.checkpoint.checkpoint import Position, list_checkpoints
from slowfast_gta.engine.checkpoint.code_version import code_version
from slowfast_gta.engine.task import Loader, Task
from slowfast_gta.engine.writers import read_rows
from slowfast_gta.errors import ConfigError, RunError, counted
from slowfast_gta.plain_yaml import load_yaml

logger = logging.getLogger("slowfast_gta")


def build_origin(cfg: CfgNode, task: Task, loader: Loader) -> dict[str, Any]:
    """What a checkpoint says of the run that made it. The order of an epoch's samples follows from it."""
    digest = getattr(loader, "digest", None)
    return {
        "RNG_SEED": cfg.RNG_SEED,
        "TRAIN.BATCH_SIZE": cfg.TRAIN.BATCH_SIZE,
        "steps of an epoch": len(loader),
        **({} if digest is None else {"training list (digest)": digest}),
        **task.origin(cfg),
        "code": code_version(),
    }


def global_step_of(content: Mapping[str, Any], position: Position, output_dir: Path) -> int:
    """The training steps that led to the checkpoint `content`.

    Earlier versions did not save them: epochs times the steps of an epoch then, unless metrics.jsonl knows of more,
    from a batch size that had more steps.
    """
    if "global_step" in content:
        return int(content["global_step"])
    counted = position.epoch * content["origin"]["steps of an epoch"]
    rows = read_rows(output_dir / "metrics.jsonl")
    logged = [row["step"] for row in rows if row["kind"] == "train" and row.get("epoch", 0) <= position.epoch]
    return max(counted, *logged, 0) + position.step


def check_changed_keys(cfg: CfgNode, content: Mapping[str, Any]) -> None:
    """Say every key that is not as it was when the checkpoint `content` was made, with both values.

    Raises RunError where the data set is another one: its classes may have the same names and another order of videos.
    """
    was = _saved_config(content)
    now = flattened(cfg)
    changed = {key: (was[key], now[key]) for key in was if key in now and not _same(key, was[key], now[key])}
    if "TRAIN.DATASET" in changed:
        old, new = changed["TRAIN.DATASET"]
        raise RunError(
            f"The newest checkpoint in {cfg.OUTPUT_DIR} was trained on TRAIN.DATASET {old}, but this run has "
            f"{new}. Choose another OUTPUT_DIR; TRAIN.CHECKPOINT_FILE_PATH can start from those weights."
        )
    if changed:
        count = f"{counted(len(changed), 'key')} {'has' if len(changed) == 1 else 'have'}"
        lines = [f"  {key}: {old!r} -> {new!r}" for key, (old, new) in changed.items()]
        logger.warning("Since the checkpoint was saved, %s changed:\n%s", count, "\n".join(lines))


def _saved_config(content: Mapping[str, Any]) -> dict[str, Any]:
    """Every key of the config that a checkpoint holds, which is text; nothing where it holds none that can be read."""
    try:
        saved = load_yaml(content.get("cfg") or "")
    except (yaml.YAMLError, AttributeError, TypeError):
        return {}
    return flattened(saved) if isinstance(saved, dict) else {}


def _same(key: str, was: object, now: object) -> bool:
    return was == now or (is_path(key) and isinstance(was, str) and isinstance(now, str) and same_path(was, now))


def check_origin(was: Mapping[str, Any], now: Mapping[str, Any], position: Position) -> None:
    """Log what differs. Raises RunError where it does inside an epoch, whose steps would be other samples."""
    changed = [name for name in was if was[name] != now.get(name)]
    message = "; ".join(f"{name}: {was[name]} -> {now.get(name)}" for name in changed)
    if position.step and set(changed) - {"code"}:
        raise RunError(
            f"The checkpoint in OUTPUT_DIR is from inside epoch {position.epoch + 1}, and the rest of that "
            f"epoch would now consist of other videos: {message}. Resume as before to the end of that epoch, or "
            f"move {position.file_name} "
            "away to begin that epoch again."
        )
    if changed:
        logger.warning("Since the checkpoint was saved: %s.", message)


def check_builds_on(cfg: CfgNode, task: Task, model: nn.Module, content: Mapping[str, Any]) -> None:
    """Raises RunError where what the training builds on is not what the checkpoint `content` was made on."""
    was, now = content.get("builds_on", {}), task.builds_on(model)
    changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    if changed:
        message = "; ".join(f"{name} was {was.get(name)} and is {now.get(name)}" for name in changed)
        raise RunError(
            f"The checkpoint in {cfg.OUTPUT_DIR} was trained on something else (digests: {message}). Give the "
            "files it was trained with, or choose another OUTPUT_DIR."
        )


def check_starts_anew(cfg: CfgNode) -> None:
    """Raises ConfigError where OUTPUT_DIR has checkpoints that a run from the start would mix with its own."""
    if checkpoints := list_checkpoints(cfg.OUTPUT_DIR):
        raise ConfigError(
            f"TRAIN.AUTO_RESUME is False, but {cfg.OUTPUT_DIR} has {counted(len(checkpoints), 'checkpoint')} of an "
            "earlier run. Choose "
            "another OUTPUT_DIR, or move them away."
        )
