"""Checkpoints: written whole or not at all, read without executing anything, found again after a crash.

A file holds PySlowFast's entries (epoch, model_state, optimizer_state, scaler_state, cfg) and ours: step (steps done of
an unfinished epoch; 0 = the epoch is complete), ema_state, random_state of every process, and what train.py adds.
It is a zip archive, whose checksums are compared before anything in it is used (models/weights/read.py).
Names: checkpoint_epoch_00003.pyth after epoch 3; checkpoint_epoch_00004_step_000057.pyth inside epoch 4;
checkpoint_best.pyth, a second name of the epoch that validated best. Order is by these numbers, never by a clock.
"""

import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from slowfast_gta import distributed
from slowfast_gta.errors import RunError, WeightsError
from slowfast_gta.files import UNFINISHED, rename_synced, whole_file
from slowfast_gta.models.weights.read import load_torch_file

logger = logging.getLogger("slowfast_gta")

BEST = "checkpoint_best.pyth"
_NAME = re.compile(r"checkpoint_epoch_(\d+)(?:_step_(\d+))?\.pyth")


@dataclass(frozen=True, order=True)
class Position:
    """Where training stands: `epoch` epochs are complete, and `step` steps of the next one."""

    epoch: int
    step: int = 0

    @property
    def file_name(self) -> str:
        if self.step:
            return f"checkpoint_epoch_{self.epoch + 1:05d}_step_{self.step:06d}.pyth"
        return f"checkpoint_epoch_{self.epoch:05d}.pyth"


def checkpoint_dir(output_dir: str | Path) -> Path:
    """Where a run keeps its checkpoints."""
    return Path(output_dir) / "checkpoints"


def list_checkpoints(output_dir: str | Path) -> list[tuple[Position, Path]]:
    """All checkpoints of a run, oldest first."""
    checkpoints = []
    folder = checkpoint_dir(output_dir)
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            epoch, step = int(match[1]), int(match[2] or 0)
            checkpoints.append((Position(epoch - 1, step) if step else Position(epoch), path))
    return sorted(checkpoints)


# Of what a checkpoint holds, where it holds it.
_KINDS: dict[str, type] = {
    **dict.fromkeys(("model_state", "optimizer_state", "ema_state", "origin", "builds_on"), dict),
    **dict.fromkeys(("global_step", "ema_steps"), int),
    "random_state": list,
}

# ------------------------------------------------------------------------------------------------------ writing


def save_checkpoint(output_dir: str | Path, position: Position, state: dict) -> Path:
    """Write `state` for `position`: under a temporary name, synced, then renamed. Raises RunError if it cannot."""
    path = checkpoint_dir(output_dir) / position.file_name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, synced=True) as file:
            # PySlowFast counts the epoch in progress from 0: after epoch 1 it writes 0.
            torch.save({"epoch": position.epoch - (position.step == 0), "step": position.step, **state}, file)
    except (OSError, RuntimeError) as fault:  # torch.save reports a full disk as a RuntimeError
        raise RunError(
            f"The checkpoint {path} could not be written: {_reason(fault, path.parent)} Earlier checkpoints are intact."
        ) from fault
    return path


def _reason(fault: Exception, folder: Path) -> str:
    if isinstance(fault, OSError) and fault.strerror:
        return f"{fault.strerror}."
    if not folder.is_dir():
        return "its folder no longer exists."
    free = os.statvfs(folder)
    return f"{free.f_bavail * free.f_frsize / 2**20:.0f} MiB are free there ({str(fault).splitlines()[0]})."


def superseded(positions: list[Position], keep: int) -> list[Position]:
    """Which of `positions`, oldest first, are no longer needed.

    Of complete epochs the newest `keep` are (0: all of them); of those inside an epoch, the ones
    among the newest two of all. The newest always is.
    """
    epochs = [position for position in positions if not position.step]
    old_epochs = epochs[:-keep] if keep else []
    inside = [position for position in positions[:-2] if position.step]
    return [position for position in (*old_epochs, *inside) if position != positions[-1]]


def remove_superseded(output_dir: str | Path, keep: int) -> None:
    """Delete the checkpoints that are not needed any more, now that a newer one is whole."""
    checkpoints = dict(list_checkpoints(output_dir))
    for position in superseded(list(checkpoints), keep):
        checkpoints[position].unlink(missing_ok=True)


def remove_leftovers(output_dir: str | Path) -> None:
    """Delete what a run that was killed while it wrote has left under temporary names."""
    for path in checkpoint_dir(output_dir).glob(f"checkpoint_*{UNFINISHED}"):
        path.unlink(missing_ok=True)
        logger.info("Removed the incomplete file %s.", path)


def keep_best(path: Path) -> None:
    """Give the checkpoint at `path` the second name BEST: no copy, where the file system has hard links."""
    temporary = path.with_name(BEST + UNFINISHED)
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except FileNotFoundError:
        logger.warning("%s does not exist, so it cannot become %s.", path, BEST)
        return
    except OSError:
        shutil.copyfile(path, temporary)
    rename_synced(temporary, path.with_name(BEST))


# ------------------------------------------------------------------------------------------------------ reading


def find_newest(output_dir: str | Path) -> tuple[Position, dict] | None:
    """The newest readable checkpoint of a run, which the main process chooses and all of them read.

    An unreadable one is logged as a warning, and the one before it is taken. Raises WeightsError where there are
    checkpoints and none can be read: starting anew would hide lost work.
    """
    chosen, content = _search(output_dir) if distributed.is_main() else (None, None)
    chosen = distributed.gather(chosen)[0]
    if chosen is None:
        return None
    return chosen, content or load_torch_file(checkpoint_dir(output_dir) / chosen.file_name)


def set_aside_unreadable(output_dir: str | Path, newest: Position) -> None:
    """Rename what `find_newest` could not read: it counts as newer than what will be written next."""
    for position, path in list_checkpoints(output_dir):
        if position > newest:
            path.replace(path.with_suffix(".unreadable"))
            logger.warning("Renamed %s to %s.", path, path.with_suffix(".unreadable").name)


def _search(output_dir: str | Path) -> tuple[Position | None, dict | None]:
    checkpoints = list_checkpoints(output_dir)
    for position, path in reversed(checkpoints):
        try:
            content = load_torch_file(path)
            if missing := {"model_state", "optimizer_state"} - set(content):
                raise WeightsError(f"{path} has no {' and no '.join(sorted(missing))}.")
            if strange := [key for key, kind in _KINDS.items() if not isinstance(content.get(key, kind()), kind)]:
                raise WeightsError(f"{path} is not what a training saves: see its {', '.join(strange)}.")
        except WeightsError as fault:
            logger.warning("%s Trying the previous checkpoint.", fault)
            continue
        return position, content
    if checkpoints:
        raise WeightsError(
            f"No checkpoint in {checkpoint_dir(output_dir)} can be read (of {len(checkpoints)}). Move them away to "
            "start from scratch."
        )
    return None, None
