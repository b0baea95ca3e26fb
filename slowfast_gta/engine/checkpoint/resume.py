"""What a checkpoint counts on besides weights: the steps of an epoch, the seed, the code."""

import logging

from slowfast_gta.class_names import ClassNames, check_classes, plain_class_names
from slowfast_gta.engine.checkpoint.checkpoint import Position, list_checkpoints
from slowfast_gta.engine.checkpoint.code_version import code_version
from slowfast_gta.errors import ConfigError, RunError
from slowfast_gta.loading.loader import ClipLoader

logger = logging.getLogger("slowfast_gta")


def build_origin(cfg, loader: ClipLoader) -> dict:
    """What a checkpoint says of the run that made it. The order of an epoch's videos follows from it."""
    return {
        "RNG_SEED": cfg.RNG_SEED,
        "TRAIN.BATCH_SIZE": cfg.TRAIN.BATCH_SIZE,
        "steps of an epoch": len(loader),
        "input": "BGR" if cfg.DATA.REVERSE_INPUT_CHANNEL else "RGB",
        "code": code_version(),
    }


def check_origin(was: dict, now: dict, position: Position) -> None:
    """Say what differs. Raises RunError where it does inside an epoch, whose steps would be other videos."""
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


def check_resumed_classes(cfg, content: dict, class_names: ClassNames) -> None:
    """Raises WeightsError where the checkpoint `content` was trained on other classes, or in another order."""
    theirs = plain_class_names(content.get("class_names"))
    place = f"The newest checkpoint in {cfg.OUTPUT_DIR}"
    if note := check_classes(theirs, class_names, cfg.TRAIN.CHECKPOINT_OTHER_CLASSES, place):
        logger.warning("%s: %s", place, note)


def check_starts_anew(cfg) -> None:
    """Raises ConfigError where OUTPUT_DIR has checkpoints that a run from the start would mix with its own."""
    found = list_checkpoints(cfg.OUTPUT_DIR)
    if found:
        raise ConfigError(
            f"TRAIN.AUTO_RESUME is False, and {cfg.OUTPUT_DIR} has {len(found)} checkpoints of an earlier run. Choose "
            "another OUTPUT_DIR, or move them away."
        )
