"""A run: what happens, in order, when a config is given to tools/run_net.py."""

import logging
from pathlib import Path

from slowfast_gta import distributed
from slowfast_gta.config.check import check_data_paths
from slowfast_gta.config.load import save_config
from slowfast_gta.config.plugins import load_plugins
from slowfast_gta.engine.device import load_num_gpus
from slowfast_gta.engine.evaluate import test
from slowfast_gta.engine.logging import setup_logging
from slowfast_gta.engine.train import train

logger = logging.getLogger("slowfast_gta")


def run(cfg, init_method: str | None = None) -> None:
    """Train (TRAIN.ENABLE), then test (TEST.ENABLE), on the processes that the config asks for."""
    num_gpus = load_num_gpus(cfg)
    check_data_paths(cfg)
    output_dir = Path(cfg.OUTPUT_DIR)
    output_dir.mkdir(parents=True, exist_ok=True)
    if cfg.SHARD_ID == 0:
        save_config(cfg, output_dir / "config.yaml")
    for job, enabled in ((train, cfg.TRAIN.ENABLE), (test, cfg.TEST.ENABLE)):
        if enabled:
            distributed.launch(_work, (job, cfg), num_gpus, cfg.NUM_SHARDS, cfg.SHARD_ID, cfg.DIST_BACKEND, init_method)


def _work(job, cfg) -> None:
    """One process's part."""
    setup_logging(Path(cfg.OUTPUT_DIR) / "log.txt")
    load_plugins(cfg.PLUGINS)
    job(cfg)
