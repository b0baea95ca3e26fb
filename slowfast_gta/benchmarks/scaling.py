"""How much faster several processes train than one: as many clips for each, on CPUs one core and one thread each.

All processes are there all the time. In turns, the first one takes a step alone while the others wait, and all take a
step together, of as many clips each; only the network is timed, forward, backward, gradients' mean, SGD.
"""

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from slowfast_gta import distributed
from slowfast_gta.benchmarks.network import describe_machine, seconds_of, training_step
from slowfast_gta.engine.device import device_from_cfg, num_gpus_from_cfg
from slowfast_gta.models.build import build_model
from slowfast_gta.processes.parallel import num_cores


def build_scaling(cfg: CfgNode, num_processes: int | None, pairs: int, batch_size: int) -> dict:
    """Time steps of `batch_size` clips a process. num_processes: None for one a GPU or, on CPUs, one a core."""
    num_gpus = num_gpus_from_cfg(cfg)
    count = num_gpus or num_processes or num_cores()
    with tempfile.TemporaryDirectory() as folder:
        terms = distributed.LaunchConfig(cfg.DIST_BACKEND, num_gpus > 0, Path(folder))
        result = Path(folder) / "result.json"
        distributed.launch(_load_and_time, (cfg, pairs, batch_size, result), distributed.LaunchContext(), count, terms)
        return json.loads(result.read_text())


def _load_and_time(cfg: CfgNode, pairs: int, batch_size: int, result: Path) -> None:
    """What each process does; the first one writes the `result`."""
    rank, device = distributed.get_rank(), device_from_cfg(cfg)
    if device.type == "cpu":
        torch.set_num_threads(1)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
    torch.manual_seed(cfg.RNG_SEED)
    networks = [build_model(cfg).to(device) for _ in range(2)]
    side = cfg.DATA.TRAIN_CROP_SIZE
    clips = torch.randn(batch_size, 3, cfg.DATA.NUM_FRAMES, side, side, device=device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)
    alone = training_step(networks[0], clips, labels)
    together = training_step(distributed.data_parallel(networks[1]), clips, labels)
    timed = [_pair(alone, together) for _ in range(1 + pairs)][1:]  # the first is a warm-up
    if rank == 0:
        parameters = sum(parameter.numel() for parameter in networks[0].parameters() if parameter.requires_grad)
        summary = _summary(timed, distributed.get_world_size(), batch_size)
        summary |= {"gradient_mb": round(4 * parameters / 1e6, 1), "pairs": pairs, "machine": describe_machine(device)}
        result.write_text(json.dumps(summary))


def _pair(alone: Callable[[], object], together: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a step of the first process alone, and of all together."""
    distributed.barrier()
    seconds_alone = seconds_of(alone) if distributed.is_main() else 0.0
    distributed.barrier()
    return seconds_alone, max(distributed.gather(seconds_of(together)))


def _summary(timed: list[tuple[float, float]], num_processes: int, batch_size: int) -> dict:
    return {
        "processes": num_processes,
        "clips_a_process": batch_size,
        "speedup": round(num_processes * statistics.median(alone / all_ for alone, all_ in timed), 3),
        "alone_clips_per_s": round(batch_size / statistics.median(alone for alone, _ in timed), 3),
        "together_clips_per_s": round(num_processes * batch_size / statistics.median(all_ for _, all_ in timed), 3),
    }
