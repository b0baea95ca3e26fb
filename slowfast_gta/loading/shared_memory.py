"""Memory that processes share: batches come from the readers through /dev/shm, which Docker makes 64 MB large."""

import os
from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.distributed import get_world_size
from slowfast_gta.errors import RunError

SHM = Path("/dev/shm")  # Linux's; other systems have none, and no limit of that kind
_BATCHES_AHEAD = 2  # of each worker: torch's prefetch_factor
_FOR_OTHERS = 2**18  # bytes: semaphores, the notes of the watch, PyTorch's rounding


def check_shared_memory(cfg: CfgNode, splits: Sequence[str]) -> None:
    """Raises RunError where the batches that the readers of this machine prepare do not fit into /dev/shm.

    One that does not fit is lost: the process that made it continues, and the training waits for it.
    """
    workers, free = cfg.DATA_LOADER.NUM_WORKERS, free_bytes()
    if not workers or free is None:
        return
    processes = -(-get_world_size() // cfg.NUM_SHARDS)  # of this machine
    keys = {"TRAIN.BATCH_SIZE" if split == "train" else "TEST.BATCH_SIZE" for split in splits} or {"TEST.BATCH_SIZE"}
    key, batch_bytes = max(((key, _batch_bytes_from_cfg(cfg, key)) for key in keys), key=lambda pair: pair[1])
    batches = processes * (_BATCHES_AHEAD * workers + 1)
    if batches * batch_bytes + _FOR_OTHERS <= free:
        return
    raise RunError(
        f"/dev/shm has {_mb(free)} free, but the batches that wait there need {_mb(batches * batch_bytes)}: "
        f"{processes} x ({_BATCHES_AHEAD} x DATA_LOADER.NUM_WORKERS {workers} + 1) of {_mb(batch_bytes)} each ({key}). "
        f"{_remedy(key)}"
    )


def lost_batch_fault(num_workers: int, seconds: float) -> RunError:
    """The message where all workers have been idle for so many seconds, and a batch that was asked for is missing."""
    free = free_bytes()
    state = "" if free is None else f" ({_mb(free)} are free there now)"
    return RunError(
        f"A batch was lost: it was requested, but no process of DATA_LOADER.NUM_WORKERS ({num_workers}) has "
        f"read anything for {seconds:g} s. Usually /dev/shm was full{state}. {_remedy('the batch size')}"
    )


def free_bytes() -> int | None:
    """What is free in /dev/shm; None where there is none."""
    try:
        stats = os.statvfs(SHM)
    except OSError:
        return None
    return stats.f_bavail * stats.f_frsize


def _remedy(key: str) -> str:
    return (
        "In a container, start it with a larger one (docker run --shm-size=8g, or --ipc=host); or lower "
        f"DATA_LOADER.NUM_WORKERS (0 needs none) or {key}."
    )


def _batch_bytes_from_cfg(cfg: CfgNode, key: str) -> int:
    """uint8 clips (B, 3, T, S, S) of a process's batch. A full-resolution view may be larger than this."""
    if key == "TRAIN.BATCH_SIZE":
        size, clips = cfg.DATA.TRAIN_CROP_SIZE, -(-cfg.TRAIN.BATCH_SIZE // get_world_size())
    else:
        size, views = cfg.DATA.TEST_CROP_SIZE, cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
        clips = max(cfg.TEST.BATCH_SIZE // views, 1) * views
    return clips * 3 * cfg.DATA.NUM_FRAMES * size * size


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.3g} MB"
