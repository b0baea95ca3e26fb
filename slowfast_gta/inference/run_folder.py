"""A run folder as others find it: its config, its newest weights, and whether its PLUGINS, which are code, may run."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from slowfast_gta.config.trust import is_trusted, plugins_named
from slowfast_gta.distributed import find_place
from slowfast_gta.engine.checkpoint.checkpoint import checkpoint_dir, list_checkpoints
from slowfast_gta.errors import ConfigError, WeightsError
from slowfast_gta.models.weights.download import local_weights

CONFIG = "config.yaml"
logger = logging.getLogger("slowfast_gta")


def is_run_config(path: Path) -> bool:
    """Whether it is the config that a run has left, and not one that somebody wrote for themselves."""
    return path.name == CONFIG and (checkpoint_dir(path.parent).is_dir() or (path.parent / "metrics.jsonl").exists())


def config_of_run(folder: Path) -> Path:
    """The config.yaml of a run folder. Raises ConfigError where there is none."""
    path = folder / CONFIG
    if not path.is_file():
        raise ConfigError(f"{folder} is no run folder: there is no {CONFIG} in it. Name the OUTPUT_DIR of a training.")
    return path


def check_plugins(files: Sequence[str], trusted: bool) -> None:
    """Raises ConfigError where one of `files` is the config of somebody else's run, and names code to import."""
    for name in files:
        path = Path(name)
        if trusted or not path.is_file() or not is_run_config(path) or is_trusted(path):
            continue
        if plugins := plugins_named(path):
            raise ConfigError(
                f"{path} names PLUGINS, which are code: {', '.join(plugins)}. This user has not trained that run here. "
                "Read them, and where you trust them, give --trust-plugins (trust_plugins=True in Python)."
            )


def find_weights(weights: str | Path | None, files: Sequence[str], output_dir: str) -> Path:
    """`weights` (of the folder of a run: its newest checkpoint), or the newest checkpoint beside the config, or else in
    OUTPUT_DIR. Raises WeightsError."""
    if weights is not None and not Path(weights).expanduser().is_dir():
        return local_weights(weights)
    folders = [Path(name).parent for name in files if Path(name).name == CONFIG]
    if weights is not None:
        folders, output_dir = [Path(weights).expanduser()], str(weights)
    for folder in (*folders, Path(output_dir)):
        if found := list_checkpoints(folder):
            logger.info("Weights: %s, the newest of its run.", found[-1][1])
            return found[-1][1]
    raise WeightsError(
        f"There is no checkpoint in {checkpoint_dir((*folders, Path(output_dir))[0])}. Name a file with --weights."
    )


def place_of_process(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """(rank, number of processes, rank on this machine) as torchrun or srun say; (0, 1, 0) without them."""
    place = find_place(environment)
    return place.rank, place.world_size, place.local_rank


def choose_gpu(local_rank: int) -> None:
    """Of several GPUs, each process of a machine takes its own."""
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
