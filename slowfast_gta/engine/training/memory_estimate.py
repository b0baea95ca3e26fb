"""Whether a training step fits into memory, estimated before the first one: a killed process could not say why.

The estimate is a lower bound: weights, their gradients and the optimiser's state, and what the forward pass keeps for
the backward pass, found on the meta device (trial.py). The readers of videos, and buffers of a moment, come on top.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.engine.training.trial import Trial
from slowfast_gta.errors import RunError

logger = logging.getLogger("slowfast_gta")

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
_GIB = 2**30


def check_memory(cfg: CfgNode, network: nn.Module, trial: Trial) -> None:
    """Raises RunError where a step cannot fit into what there is; a warning where it is more than is free now."""
    if not trial.saved_bytes:
        return
    device = next(network.parameters()).device
    processes = -(-distributed.get_world_size() // cfg.NUM_SHARDS) if device.type == "cpu" else 1  # that share memory
    needed = processes * estimate_step_bytes(cfg, network, trial)
    free, total = _gpu_bytes(device) if device.type == "cuda" else machine_bytes()
    if total is None or free is None or needed <= free:
        return
    where = "the GPU" if device.type == "cuda" else "this machine (or its container, cgroup)"
    message = (
        f"A training step needs at least {needed / _GIB:.1f} GiB, and {where} has {total / _GIB:.1f} GiB, of which "
        f"{free / _GIB:.1f} are free. Lower TRAIN.BATCH_SIZE ({cfg.TRAIN.BATCH_SIZE}), or compute it in more parts "
        f"(SOLVER.ACCUMULATE_STEPS {cfg.SOLVER.ACCUMULATE_STEPS}); DATA.TRAIN_CROP_SIZE, DATA.NUM_FRAMES and "
        "RESNET.DEPTH count too, and TRAIN.MIXED_PRECISION halves what is kept."
    )
    if needed > total:
        raise RunError(message)
    logger.warning("%s Training continues, and may be killed (out of memory).", message)


def estimate_step_bytes(cfg: CfgNode, network: nn.Module, trial: Trial) -> int:
    """What one process's step adds to the weights that are there already."""
    learned = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    states = 2 if cfg.SOLVER.OPTIMIZING_METHOD.lower().startswith("adam") else int(cfg.SOLVER.MOMENTUM > 0)
    share = -(-cfg.TRAIN.BATCH_SIZE // distributed.get_world_size())
    clips = -(-share // cfg.SOLVER.ACCUMULATE_STEPS)
    kept = clips * trial.saved_bytes
    return learned * (1 + states) + (kept // 2 if cfg.TRAIN.MIXED_PRECISION else kept)


def machine_bytes() -> tuple[int | None, int | None]:
    """(free, all) of this machine's memory, or of the smallest limit that a container sets; None where not known."""
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
        fields = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if len(line.split()) > 1}
        pairs = [(fields["MemAvailable"], fields["MemTotal"]), *_cgroup_bytes()]
    except (OSError, LookupError, ValueError):
        return None, None
    return min(free for free, _ in pairs), min(total for _, total in pairs)


def _cgroup_bytes() -> Iterator[tuple[int, int]]:
    """(free, limit) of each control group that this process is in, version 2 and 1, as far as it has a limit."""
    names = {"memory.max": ("memory.current", "inactive_file")}
    names |= {"memory.limit_in_bytes": ("memory.usage_in_bytes", "total_inactive_file")}
    for folder in _cgroup_folders():
        for limit_name, (usage_name, cache_name) in names.items():
            try:
                limit, usage = (int((folder / name).read_text()) for name in (limit_name, usage_name))
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # "max": none
                continue
            yield limit - usage + int(stat.get(cache_name, 0)), limit


def _cgroup_folders() -> Iterator[Path]:
    """The group of this process and all above it; inside a container, its own is the root."""
    for line in (_PROC / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUP / "memory" if controllers else _CGROUP
        here = root / path.strip("/")
        yield from (folder for folder in (here, *here.parents) if folder == root or root in folder.parents)


def _gpu_bytes(device: torch.device) -> tuple[int, int]:
    free, total = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + unused, total
