"""A run folder as others find it: its config and its newest weights."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from slowfast_gta.config.arguments import load_one_config
from slowfast_gta.config.trust import RUN_CONFIG
from slowfast_gta.engine.checkpoint.checkpoint import checkpoint_dir, list_checkpoints
from slowfast_gta.errors import ConfigError, WeightsError
from slowfast_gta.models.weights.download import local_weights

logger = logging.getLogger("slowfast_gta")


def load_trained(args: argparse.Namespace, command: str) -> tuple[CfgNode, Path]:
    """The config and the weights that the flags of `add_network_arguments` name. Raises ConfigError, WeightsError."""
    args.cfg = name_config_of_run(args.cfg)
    cfg = load_one_config(args, command)
    return cfg, find_weights(args.weights, args.cfg, cfg.OUTPUT_DIR)


def name_config_of_run(tokens: Sequence[str]) -> list[str]:
    """What --cfg has collected, with the config of a run instead of its folder. Raises ConfigError."""
    named = Path(tokens[0]).expanduser()
    return [str(config_of_run(named)) if named.is_dir() else tokens[0], *tokens[1:]]


def config_of_run(folder: Path) -> Path:
    """The config.yaml of a run folder. Raises ConfigError where there is none."""
    path = folder / RUN_CONFIG
    if not path.is_file():
        raise ConfigError(
            f"{folder} is not a run folder: it contains no {RUN_CONFIG}. Name the OUTPUT_DIR of a training."
        )
    return path


def find_weights(weights: str | Path | None, files: Sequence[str], output_dir: str) -> Path:
    """`weights` (of the folder of a run: its newest checkpoint), or the newest checkpoint beside the config, or else in
    OUTPUT_DIR. Raises WeightsError."""
    if weights is not None and not Path(weights).expanduser().is_dir():
        return local_weights(weights)
    folders = [Path(name).parent for name in files if Path(name).name == RUN_CONFIG]
    if weights is not None:
        folders, output_dir = [Path(weights).expanduser()], str(weights)
    for folder in (*folders, Path(output_dir)):
        if checkpoints := list_checkpoints(folder):
            logger.info("Weights: %s, the newest of the run.", checkpoints[-1][1])
            return checkpoints[-1][1]
    raise WeightsError(
        f"There is no checkpoint in {checkpoint_dir((*folders, Path(output_dir))[0])}. Name a file with --weights."
    )


def choose_gpu(local_rank: int) -> None:
    """Of several GPUs, each process of a machine takes its own."""
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
