"""Checkpoints: written whole or not at all, read without executing anything, found again after a crash.

A file holds PySlowFast's entries (epoch, model_state, optimizer_state, scaler_state, cfg) and ours:
step (steps done of an unfinished epoch; 0 = the epoch is complete), ema_state, class_names.
Names: checkpoint_epoch_00003.pyth after epoch 3; checkpoint_epoch_00004_step_000057.pyth inside epoch 4.
"""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from slowfast_gta.errors import RunError, WeightsError
from slowfast_gta.models.weights.read import load_torch_file

logger = logging.getLogger("slowfast_gta")

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
    found = []
    folder = checkpoint_dir(output_dir)
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            epoch, step = int(match[1]), int(match[2] or 0)
            found.append((Position(epoch - 1, step) if step else Position(epoch), path))
    return sorted(found)


def save_checkpoint(output_dir: str | Path, position: Position, state: dict) -> Path:
    """Write `state` for `position`: under a temporary name, synced, then renamed. Raises RunError if it cannot."""
    path = checkpoint_dir(output_dir) / position.file_name
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            # PySlowFast counts the epoch in progress from 0: after epoch 1 it writes 0.
            torch.save({"epoch": position.epoch - (position.step == 0), "step": position.step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as fault:  # torch.save reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"The checkpoint {path} could not be written: {_reason(fault, path.parent)} Earlier checkpoints are whole; "
            "free space, then give the same command again to go on from the newest one."
        ) from fault
    for older, stale in list_checkpoints(output_dir):
        if older.step and older < position:
            stale.unlink(missing_ok=True)  # a finished epoch, or a later step, replaces a checkpoint inside it
    return path


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(fault: Exception, folder: Path) -> str:
    if isinstance(fault, OSError) and fault.strerror:
        return f"{fault.strerror}."
    free = os.statvfs(folder)
    return f"{free.f_bavail * free.f_frsize / 2**20:.0f} MiB are free there ({str(fault).splitlines()[0]})."


def find_newest(output_dir: str | Path) -> tuple[Position, dict] | None:
    """The newest readable checkpoint of a run; an unreadable one is said aloud and the one before it is taken.

    Raises WeightsError where there are checkpoints and none can be read: starting anew would hide lost work.
    """
    found = list_checkpoints(output_dir)
    for position, path in reversed(found):
        try:
            content = load_torch_file(path)
            missing = {"model_state", "optimizer_state"} - set(content)
            if missing:
                raise WeightsError(f"{path} has no {' and no '.join(sorted(missing))}.")
        except WeightsError as fault:
            logger.warning("%s Trying the checkpoint before it.", fault)
            continue
        return position, content
    if found:
        raise WeightsError(
            f"None of the {len(found)} checkpoints in {checkpoint_dir(output_dir)} can be read. Move them away to "
            "start anew, or set TRAIN.AUTO_RESUME False."
        )
    return None
