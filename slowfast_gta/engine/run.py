"""A run: what happens, in order, when a config is given to tools/run_net.py."""

import logging
from collections.abc import Callable
from pathlib import Path

from slowfast_gta import distributed
from slowfast_gta.config.check import check_data_paths
from slowfast_gta.config.load import save_config
from slowfast_gta.config.plugins import import_plugin
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.engine.device import load_num_gpus
from slowfast_gta.engine.evaluate import test
from slowfast_gta.engine.logging import setup_logging
from slowfast_gta.engine.train import train

logger = logging.getLogger("slowfast_gta")


def train_and_test(cfg, init_method: str | None = None) -> None:
    """Train (TRAIN.ENABLE), then test (TEST.ENABLE), on the processes that the config asks for.

    `init_method`: where the processes of several machines meet, tcp://HOST:PORT.
    """
    num_gpus = load_num_gpus(cfg)
    build_data(cfg)
    output_dir = Path(cfg.OUTPUT_DIR)
    output_dir.mkdir(parents=True, exist_ok=True)
    setup_logging(output_dir / "log.txt")
    if cfg.SHARD_ID == 0:
        save_config(cfg, output_dir / "config.yaml")
    jobs = [train] * cfg.TRAIN.ENABLE + [test] * cfg.TEST.ENABLE
    distributed.launch(_work, (jobs, cfg), num_gpus, cfg.NUM_SHARDS, cfg.SHARD_ID, cfg.DIST_BACKEND, init_method)


def build_data(cfg) -> None:
    """Check the folders that `cfg` names, and its data sets; those that make their own files do so here, once."""
    splits = ["train", "val"] * cfg.TRAIN.ENABLE + ["test"] * cfg.TEST.ENABLE
    check_data_paths(cfg, splits)
    for split in splits:
        build_dataset(cfg, split)


def _work(jobs: list[Callable], cfg) -> None:
    """What each process does."""
    if distributed.get_world_size() > 1:
        for plugin in cfg.PLUGINS:
            import_plugin(plugin)
        setup_logging(Path(cfg.OUTPUT_DIR) / "log.txt")
    for job in jobs:
        job(cfg)
