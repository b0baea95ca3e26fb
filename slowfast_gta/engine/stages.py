"""A training in several parts: a backbone, then blocks in it; a network, then the same one mimicking it."""

import logging
from pathlib import Path

import torch
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.config.stages import Stage, load_stages
from slowfast_gta.engine.checkpoint import list_checkpoints
from slowfast_gta.engine.run import train_and_test
from slowfast_gta.errors import ConfigError
from slowfast_gta.models.build import build_model, inserted_names
from slowfast_gta.models.weights import check_weights

logger = logging.getLogger("slowfast_gta")


def train_stages(cfg, place: distributed.Place | None = None) -> Path:
    """Train the stages of `cfg` one after the other, or all of it at once where it has none.

    A stage that is complete is not trained again, and one that was interrupted goes on. Returns the folder of the last.
    """
    if not cfg.STAGES:
        train_and_test(cfg, place)
        return Path(cfg.OUTPUT_DIR)
    stages = load_stages(cfg)
    if not cfg.TRAIN.ENABLE:
        train_and_test(stages[-1].cfg, place)
        return Path(stages[-1].cfg.OUTPUT_DIR)
    check_stages(stages)
    files: dict[str, str] = {}
    for number, stage in enumerate(stages, start=1):
        logger.info("== stage %d of %d: %s", number, len(stages), stage.name)
        if stage.weights:
            logger.info("Not trained: %s stands for it.", stage.weights)
            files[stage.name] = stage.weights
            if stage is stages[-1] and stage.cfg.TEST.ENABLE:
                train_and_test(_with(stage, {"TRAIN.ENABLE": False, "TEST.CHECKPOINT_FILE_PATH": stage.weights}), place)
            continue
        sources = {
            "TRAIN.CHECKPOINT_FILE_PATH": files.get(stage.start_from, stage.start_from),
            "TRAIN.TEACHER_FILE_PATH": files.get(stage.teacher, stage.teacher),
        }
        train_and_test(_with(stage, {key: path for key, path in sources.items() if path}), place)
        files[stage.name] = str(list_checkpoints(stage.cfg.OUTPUT_DIR)[-1][1])
    return Path(stages[-1].cfg.OUTPUT_DIR)


def check_stages(stages: list[Stage]) -> None:
    """Raises ConfigError, before anything is trained, where a stage cannot start or learn from what it names."""
    with torch.device("meta"):
        networks = {stage.name: build_model(stage.cfg) for stage in stages}
    faults = []
    for stage in stages:
        network = networks[stage.name]
        new = (*inserted_names(network), "head.")
        sources = [("START_FROM", stage.start_from, new), ("TEACHER", stage.teacher, ())]
        for key, source, may_miss in [("WEIGHTS", stage.weights, new)] if stage.weights else sources:
            if source in networks:
                fault = _difference(network, networks[source], may_miss)
                faults += [f"STAGES.{stage.name}: {key} is {source}, and {fault}"] if fault else []
            elif source:
                report = check_weights(stage.cfg, network, source, fine_tune=bool(may_miss))
                faults += [] if report.fits else [f"STAGES.{stage.name}: {key}: {report.fault()}"]
    if faults:
        raise ConfigError("\n".join(faults))


def _difference(network: nn.Module, source: nn.Module, may_miss: tuple[str, ...]) -> str:
    """The first tensor of `network` that `source` cannot fill, but for the names that begin with `may_miss`."""
    have = {key: tuple(value.shape) for key, value in source.state_dict().items()}
    for key, value in network.state_dict().items():
        if not key.startswith(may_miss) and have.get(key) != tuple(value.shape):
            there = "is not there" if key not in have else f"is {have[key]} there"
            same = "backbones must be the same (MODEL, RESNET, SLOWFAST)" if may_miss else "networks must be the same"
            return f"{key} is {tuple(value.shape)} here and {there}. Their {same}."
    return ""


def _with(stage: Stage, values: dict[str, object]):
    """The stage's config with a few keys set."""
    cfg = stage.cfg.clone()
    cfg.defrost()
    cfg.merge_from_list([item for pair in values.items() for item in pair])
    cfg.freeze()
    return cfg
