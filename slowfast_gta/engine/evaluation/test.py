"""Testing a checkpoint: what a run does after training, or instead of it."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.engine.bad_files import BadFiles, format_counts
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.engine.device import device_from_cfg
from slowfast_gta.engine.evaluation.results import write_results
from slowfast_gta.engine.output import environment
from slowfast_gta.engine.task import Task
from slowfast_gta.engine.writers import build_writer
from slowfast_gta.errors import RunError

logger = logging.getLogger("slowfast_gta")


def test(cfg: CfgNode, task: Task, accept: Callable[[], None] = lambda: None) -> dict[str, Any] | None:
    """Test a checkpoint; writes results.json and scores.npz into OUTPUT_DIR, on the main process, which gets them.

    accept: called before anything is written.
    """
    begin = time.perf_counter()
    device = device_from_cfg(cfg)
    loader = task.build_loader(cfg, "test")
    model = task.build_model(cfg, starting=False)
    checkpoint = load_test_weights(cfg, task, model)
    accept()
    model = task.eval_form(model).to(device)
    evaluation = task.evaluate(model, loader, "test")
    if evaluation is None or not distributed.is_main():
        return None
    BadFiles(cfg.OUTPUT_DIR).add(evaluation.bad_videos)
    results = {"split": "test", "checkpoint": checkpoint} | evaluation.results
    results["seconds"] = round(time.perf_counter() - begin, 2)
    results["environment"] = environment()
    write_results(Path(cfg.OUTPUT_DIR), results, evaluation.arrays)
    writer = build_writer(cfg)
    writer.write("test", 0, evaluation.metrics)
    writer.close()
    logger.info("Test: %s.", evaluation.summary)
    for remark in evaluation.remarks:
        logger.info("%s", remark)
    if message := format_counts(results):
        logger.info("Test: %s.", message)
    for video_id, reason in list(results.get("missing", {}).items())[:10]:
        logger.warning("  missing: %s: %s", video_id, reason)
    return results


def load_test_weights(cfg: CfgNode, task: Task, model: nn.Module) -> str:
    """Weights of TEST.CHECKPOINT_FILE_PATH, else OUTPUT_DIR's newest, else TRAIN.CHECKPOINT_FILE_PATH; all of them.

    Returns what results.json calls them.
    """
    checkpoints = list_checkpoints(cfg.OUTPUT_DIR)
    path = cfg.TEST.CHECKPOINT_FILE_PATH or (checkpoints[-1][1] if checkpoints else cfg.TRAIN.CHECKPOINT_FILE_PATH)
    if not path:
        raise RunError(
            f"There is nothing to test: {cfg.OUTPUT_DIR} has no checkpoint, and TEST.CHECKPOINT_FILE_PATH is empty. "
            "Train first (TRAIN.ENABLE True) or name a file of weights."
        )
    return task.load_weights(cfg, model, path)
