"""A run: what happens, in order, when a config is given to tools/run_net.py: stages, in each training and testing."""

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.benchmarks.complexity import build_complexity_file
from slowfast_gta.config.check import check_weights_files
from slowfast_gta.config.extension import Extra
from slowfast_gta.config.load import flat_from_cfg, save_config
from slowfast_gta.config.plugins import import_plugin
from slowfast_gta.config.stages import Stage, build_stages
from slowfast_gta.config.trust import save_trust
from slowfast_gta.engine.checkpoint.checkpoint import BEST, checkpoint_dir, list_checkpoints
from slowfast_gta.engine.checkpoint.code_version import code_digest
from slowfast_gta.engine.classification import Classification
from slowfast_gta.engine.device import num_gpus_from_cfg, set_deterministic, set_tf32
from slowfast_gta.engine.evaluation.test import test
from slowfast_gta.engine.logging import setup_logging
from slowfast_gta.engine.memory import explain_out_of_memory
from slowfast_gta.engine.output import made_folder, run_output
from slowfast_gta.engine.task import BuildTask, Task
from slowfast_gta.engine.training.schedule import lr_scale_from_cfg
from slowfast_gta.engine.training.train import train
from slowfast_gta.engine.writers import add_picture
from slowfast_gta.errors import ConfigError, counted
from slowfast_gta.models.build import inserted_names
from slowfast_gta.models.weights import check_weights
from slowfast_gta.models.weights.download import local_weights
from slowfast_gta.processes.parallel import num_cores
from slowfast_gta.reports.confusion import save_confusion_picture
from slowfast_gta.reports.curves import save_curves_picture
from slowfast_gta.reports.report import write_report_of_run

logger = logging.getLogger("slowfast_gta")


def train_and_test(
    cfg: CfgNode,
    context: distributed.LaunchContext | None = None,
    build_task: BuildTask = Classification.from_cfg,
    extra: Extra = None,
) -> Path:
    """Train (TRAIN.ENABLE) and test (TEST.ENABLE) what `cfg` describes, on all processes; its stages in order.

    A stage that is complete is not trained again, and one that was interrupted continues. Returns the output folder of
    the last one, with its pictures. `context`: where this process stands among those that train together, if a launcher
    does not say; `build_task`: what is learned, a function at module level; `extra`: the sections of a project's own
    that `cfg` was loaded with.
    """
    context = context or build_launch_context(cfg)
    load_published_weights(cfg, extra)
    if cfg.STAGES:
        return _train_stages(build_stages(cfg, extra), cfg, context, build_task)
    return _train_one(cfg, context, build_task)


def load_published_weights(cfg: CfgNode, extra: Extra = None) -> None:
    """Download what the run names by URL or name, before the rendezvous, which has a time limit.

    One process of a machine downloads, the others wait for it. Raises WeightsError."""
    stages = build_stages(cfg, extra) if cfg.STAGES else []
    named = {source for stage in stages for source in (stage.start_from, stage.weights, stage.teacher)}
    for cfg_of_stage in (stage.cfg for stage in stages) if stages else (cfg,):
        trains = cfg_of_stage.TRAIN.ENABLE and not list_checkpoints(
            cfg_of_stage.OUTPUT_DIR
        )  # else they were needed, and are no more
        named |= {cfg_of_stage.TRAIN.CHECKPOINT_FILE_PATH} if trains else set()
        named |= {cfg_of_stage.TRAIN.TEACHER_FILE_PATH} if cfg_of_stage.TRAIN.ENABLE else set()
        named |= {cfg_of_stage.TEST.CHECKPOINT_FILE_PATH} if cfg_of_stage.TEST.ENABLE else set()
    for reference in sorted(named - {""}):
        local_weights(reference)


def _train_stages(stages: list[Stage], cfg: CfgNode, context: distributed.LaunchContext, build_task: BuildTask) -> Path:
    folders = [Path(stage.cfg.OUTPUT_DIR) for stage in stages]
    if not cfg.TRAIN.ENABLE:
        return _train_one(stages[-1].cfg, context, build_task, folders[:-1])
    for stage in stages:
        check_weights_files(stage.cfg)
    check_stages(stages, build_task)
    files: dict[str, str] = {}
    for number, stage in enumerate(stages):
        logger.info("== stage %d of %d: %s", number + 1, len(stages), stage.name)
        earlier = folders[:number]
        if stage.weights:
            logger.info("Not trained: using the weights in %s.", stage.weights)
            files[stage.name] = stage.weights
            if stage is stages[-1] and stage.cfg.TEST.ENABLE:
                only_test = _with(stage, {"TRAIN.ENABLE": False, "TEST.CHECKPOINT_FILE_PATH": stage.weights})
                _train_one(only_test, context, build_task, earlier)
            continue
        sources = {
            "TRAIN.CHECKPOINT_FILE_PATH": files.get(stage.start_from, stage.start_from),
            "TRAIN.TEACHER_FILE_PATH": files.get(stage.teacher, stage.teacher),
        }
        _train_one(_with(stage, {key: path for key, path in sources.items() if path}), context, build_task, earlier)
        files[stage.name] = str(list_checkpoints(stage.cfg.OUTPUT_DIR)[-1][1])
    return folders[-1]


def _train_one(
    cfg: CfgNode, context: distributed.LaunchContext, build_task: BuildTask, earlier: Sequence[Path] = ()
) -> Path:
    """One stage, or a run without stages. `earlier`: the output folders of the stages before it."""
    if not context.is_main:
        setup_logging(is_main=False)
    here = build_cfg_of_process(cfg, context)
    num_gpus = num_gpus_from_cfg(here)
    task = build_task(cfg, earlier)
    task.check(cfg)
    output_dir = Path(cfg.OUTPUT_DIR)
    jobs = [train] * cfg.TRAIN.ENABLE + [test] * cfg.TEST.ENABLE
    terms = build_launch_config(cfg, num_gpus > 0)
    with made_folder(output_dir) if context.is_main else contextlib.nullcontext():
        distributed.launch(_work, (jobs, cfg, here, task, context, terms), context, num_gpus, terms)
    if context.is_main and cfg.TRAIN.ENABLE:
        save_curves_picture(output_dir)
    if context.is_main and cfg.TEST.ENABLE:
        draw_pictures(task, output_dir)
        add_picture(cfg, "confusion", output_dir / "confusion.png")
        if cfg.TEST.REPORT and isinstance(task, Classification):
            build_complexity_file(cfg, output_dir)
            write_report_of_run(output_dir)
    return output_dir


def draw_pictures(task: Task, output_dir: Path) -> None:
    """The pictures of a tested run, from its results.json and scores.npz."""
    if isinstance(task, Classification):  # whose pictures are a room of their own, above the engine
        save_confusion_picture(output_dir)
    else:
        task.draw(output_dir)


def build_launch_context(cfg: CfgNode, init_method: str | None = None) -> distributed.LaunchContext:
    """Where this process stands, as its launcher or the config says; `init_method`: tcp://HOST:PORT of machine 0."""
    return distributed.find_launch_context(os.environ, cfg.NUM_SHARDS, cfg.SHARD_ID, init_method)


def build_cfg_of_process(cfg: CfgNode, context: distributed.LaunchContext) -> CfgNode:
    """`cfg` with the machines that there really are, no more workers than cores and, where the launcher starts every
    process, one GPU for each."""
    here = cfg.clone()
    here.defrost()
    here.NUM_SHARDS, here.SHARD_ID = context.num_machines, context.machine
    here.DATA_LOADER.NUM_WORKERS = min(cfg.DATA_LOADER.NUM_WORKERS, num_cores())
    if not context.is_machine and cfg.NUM_GPUS != "auto":
        here.NUM_GPUS = min(cfg.NUM_GPUS, 1)
    here.freeze()
    return here


def build_launch_config(cfg: CfgNode, on_gpu: bool) -> distributed.LaunchConfig:
    """How the processes work together, and what all of them must have the same of."""
    config = {key: value for key, value in flat_from_cfg(cfg).items() if key != "SHARD_ID"}
    return distributed.LaunchConfig(
        cfg.DIST_BACKEND,
        on_gpu,
        Path(cfg.OUTPUT_DIR),
        cfg.DIST_TIMEOUT_SEC,
        cfg.DIST_WAIT_SEC,
        {"code": code_digest(), "PyTorch": torch.__version__, "config": config},
    )


def build_data(cfg: CfgNode, build_task: BuildTask = Classification.from_cfg) -> None:
    """Check the folders that `cfg` names, and its data sets; those that make their own files do so here, once."""
    build_task(cfg, ()).prepare(cfg, _splits(cfg))


def _splits(cfg: CfgNode) -> list[str]:
    return ["train", "val"] * cfg.TRAIN.ENABLE + ["test"] * cfg.TEST.ENABLE


def _work(
    jobs: list[Callable],
    cfg: CfgNode,
    here: CfgNode,
    task: Task,
    context: distributed.LaunchContext,
    terms: distributed.LaunchConfig,
) -> None:
    """What each process does: train and test as `here` says. The one that writes has OUTPUT_DIR for itself, and
    leaves it as it was until a job accepts the run."""
    set_deterministic(cfg)
    tf32 = set_tf32(cfg)
    if distributed.get_world_size() > 1:
        setup_logging()
        for plugin in cfg.PLUGINS:
            import_plugin(plugin)
    output_dir = Path(cfg.OUTPUT_DIR)
    with run_output(output_dir, lambda: _save_config(cfg, output_dir / "config.yaml")) as accept:
        if distributed.is_main():
            logger.info("%s", _arrangement(here, context, terms))
            if terms.on_gpu:
                logger.info("%s.", tf32)
            if (workers := here.DATA_LOADER.NUM_WORKERS) < cfg.DATA_LOADER.NUM_WORKERS:
                _log_capped(cfg.DATA_LOADER.NUM_WORKERS, workers)
            if cfg.TRAIN.ENABLE and (scale := lr_scale_from_cfg(here)) != 1:
                logger.info("SOLVER's learning rates are multiplied by %g: %s.", scale, _reason_of_scale(here))
            task.prepare(cfg, _splits(cfg))
        distributed.barrier()
        for job in jobs:
            with explain_out_of_memory():
                job(here, task, accept)


def _save_config(cfg: CfgNode, path: Path) -> None:
    save_config(cfg, path)
    if cfg.PLUGINS:  # this user's own: predict and extract_features may import them too
        save_trust(path)


def _arrangement(cfg: CfgNode, context: distributed.LaunchContext, terms: distributed.LaunchConfig) -> str:
    """Who works on what, in one line."""
    processes, machines = distributed.get_world_size(), context.num_machines
    batch, parts = cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.ACCUMULATE_STEPS
    device = "a GPU" if terms.on_gpu else "a CPU"
    if processes == 1:
        line = f"1 process on {device}: batches of {counted(batch, 'clip')}"
    else:
        shares = sorted({(rank + 1) * batch // processes - rank * batch // processes for rank in range(processes)})
        line = (
            f"{processes} processes on {counted(machines, 'machine')} ({context.launcher}), {device} each, "
            f"{terms.chosen_backend}: batches of {counted(batch, 'clip')} in all, "
            f"{' or '.join(map(str, shares))} for each process"
        )
    line += f", computed in {parts} parts" * (parts > 1)
    line += f"; in testing {counted(cfg.TEST.BATCH_SIZE, 'view')} at a time."
    if terms.on_gpu and torch.cuda.device_count() > max(1, processes // machines):
        line += (
            f" This machine has {counted(torch.cuda.device_count(), 'GPU')}; NUM_GPUS, or the launcher, "
            "sets how many are used."
        )
    return line


@functools.cache
def _log_capped(wanted: int, workers: int) -> None:
    """Once a process, however many stages it trains."""
    cores = counted(workers, "core")
    logger.info("DATA_LOADER.NUM_WORKERS is %d, and this machine has %s: using %d.", wanted, cores, workers)


def _reason_of_scale(cfg: CfgNode) -> str:
    if cfg.SOLVER.BASE_BATCH_SIZE:
        return f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE} over SOLVER.BASE_BATCH_SIZE {cfg.SOLVER.BASE_BATCH_SIZE}"
    return "NUM_SHARDS, as SOLVER.BASE_LR_SCALE_NUM_SHARDS says"


def files_of(output_dir: Path) -> list[str]:
    """Where everything of a run is: a line for each kind of file that it has left."""
    checkpoints = [path for _, path in list_checkpoints(output_dir)]
    kinds = {
        "checkpoint": checkpoints[-1:] + [path for path in (checkpoint_dir(output_dir) / BEST,) if path.exists()],
        "results": [output_dir / "results.json", output_dir / "scores.npz", output_dir / "confusion.png"],
        "report": [output_dir / "report.html"],
        "log": [output_dir / "log.txt"],
        "numbers": [output_dir / "metrics.jsonl", output_dir / "curves.png", output_dir / "tensorboard"],
        "config": [output_dir / "config.yaml"],
    }
    files = {kind: [str(path) for path in paths if path.exists()] for kind, paths in kinds.items()}
    return [f"  {kind:<11} {'  '.join(paths)}" for kind, paths in files.items() if paths]


def check_stages(stages: list[Stage], build_task: BuildTask = Classification.from_cfg) -> None:
    """Raises ConfigError, before anything is trained, where a stage cannot start or learn from what it names."""
    last = stages[-1].cfg.TEST
    tested = last.CHECKPOINT_FILE_PATH if last.ENABLE else ""
    if not tested and not any(stage.weights or stage.start_from or stage.teacher for stage in stages):
        return
    with torch.device("meta"):
        networks = {stage.name: build_task(stage.cfg, ()).build_model(stage.cfg, starting=False) for stage in stages}
    faults = []
    for stage in stages:
        network = networks[stage.name]
        new = (*inserted_names(network), "head.")
        sources = [("START_FROM", stage.start_from, new), ("TEACHER", stage.teacher, ())]
        if stage is stages[-1]:
            sources.append(("TEST.CHECKPOINT_FILE_PATH", tested, ()))
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
            there = "is missing there" if key not in have else f"is {have[key]} there"
            same = "backbones must be the same (MODEL, RESNET, SLOWFAST)" if may_miss else "networks must be the same"
            return f"{key} is {tuple(value.shape)} here and {there}. Their {same}."
    return ""


def _with(stage: Stage, values: dict[str, object]) -> CfgNode:
    """The stage's config with a few keys set."""
    cfg = stage.cfg.clone()
    cfg.defrost()
    cfg.merge_from_list([item for pair in values.items() for item in pair])
    cfg.freeze()
    return cfg
