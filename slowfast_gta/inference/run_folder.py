"""A run folder as others find it: its config, its newest weights, and whether its PLUGINS, which are code, may run."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from slowfast_gta.config.arguments import load_one_config
from slowfast_gta.config.trust import is_trusted, plugins_named
from slowfast_gta.distributed import find_launch_context
from slowfast_gta.engine.checkpoint.checkpoint import checkpoint_dir, list_checkpoints
from slowfast_gta.errors import ConfigError, WeightsError
from slowfast_gta.models.weights.download import local_weights

CONFIG = "config.yaml"
logger = logging.getLogger("slowfast_gta")


def load_trained(args: argparse.Namespace, command: str) -> tuple[CfgNode, Path]:
    """The config and the weights that the flags of `add_network_arguments` name. Raises ConfigError, WeightsError."""
    args.cfg = trusted_configs(args.cfg, args.trust_plugins)
    cfg = load_one_config(args, command)
    return cfg, find_weights(args.weights, args.cfg, cfg.OUTPUT_DIR)


def trusted_configs(tokens: Sequence[str], trusted: bool) -> list[str]:
    """What --cfg has collected, with the config of a run in the place of its folder.

    Raises ConfigError where a run that this user has not trained names PLUGINS, unless `trusted`.
    """
    named = Path(tokens[0]).expanduser()
    of_run = named.is_dir()
    files = [str(config_of_run(named)) if of_run else tokens[0], *tokens[1:]]
    check_plugins(files, trusted, of_run)
    return files


def is_run_config(path: Path) -> bool:
    """Whether it is the config that a run has left, and not one that somebody wrote for themselves."""
    return path.name == CONFIG and (checkpoint_dir(path.parent).is_dir() or (path.parent / "metrics.jsonl").exists())


def config_of_run(folder: Path) -> Path:
    """The config.yaml of a run folder. Raises ConfigError where there is none."""
    path = folder / CONFIG
    if not path.is_file():
        raise ConfigError(f"{folder} is no run folder: there is no {CONFIG} in it. Name the OUTPUT_DIR of a training.")
    return path


def check_plugins(files: Sequence[str], trusted: bool, of_run: bool = False) -> None:
    """Raises ConfigError where one of `files` is the config of somebody else's run, and names code to import.

    of_run: they were found in a folder that was named as that of a run, whatever else is in it.
    """
    for name in files:
        path = Path(name)
        if trusted or not path.is_file() or not (of_run or is_run_config(path)) or is_trusted(path):
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
    place = find_launch_context(environment)
    return place.rank, place.world_size, place.local_rank


def choose_gpu(local_rank: int) -> None:
    """Of several GPUs, each process of a machine takes its own."""
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
