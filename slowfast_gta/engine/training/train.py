"""Training: each step a function of (weights, seed, epoch, step), so that what is saved resumes exactly."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from fvcore.nn.precise_bn import update_bn_stats
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.engine.bad_files import BadFiles, format_counts
from slowfast_gta.engine.checkpoint.artefacts import save_artefacts
from slowfast_gta.engine.checkpoint.checkpoint import (
    Position,
    checkpoint_dir,
    find_newest,
    keep_best,
    remove_leftovers,
    set_aside_unreadable,
)
from slowfast_gta.engine.checkpoint.random_state import restore_random_state, seed_process, seed_step
from slowfast_gta.engine.checkpoint.resume import (
    build_origin,
    check_builds_on,
    check_changed_keys,
    check_origin,
    check_starts_anew,
    global_step_of,
)
from slowfast_gta.engine.checkpoint.saving import Saver
from slowfast_gta.engine.device import CopiesAhead, device_from_cfg, peak_memory_gib
from slowfast_gta.engine.logging import Progress, time_left
from slowfast_gta.engine.task import Loader, Task, TaskBatch
from slowfast_gta.engine.training.bad_steps import bad_step_message
from slowfast_gta.engine.training.feeding import STEPS_TO_TIME, feeding_message
from slowfast_gta.engine.training.interruption import StopRequest
from slowfast_gta.engine.training.learner import Learner, build_learner
from slowfast_gta.engine.training.meter import Meter
from slowfast_gta.engine.training.schedule import build_schedule, is_due, lr_at
from slowfast_gta.engine.training.step import Begun, StepResult
from slowfast_gta.engine.writers import MetricsWriter, build_writer
from slowfast_gta.errors import DataError, Interrupted, RunError, counted
from slowfast_gta.loading.batch import BadVideo

logger = logging.getLogger("slowfast_gta")


@dataclass
class Training:
    """What a training works with."""

    task: Task
    learner: Learner
    loader: Loader
    val_loader: Loader
    writer: MetricsWriter
    saver: Saver
    bad_files: BadFiles
    stop: StopRequest
    global_step: int = 0  # training steps so far, whatever batch sizes they had
    bad_steps: int = 0  # in a row

    def meter(self, total: Mapping[str, float] | Sequence[float] | None = None) -> Meter:
        """One that starts from `total`."""
        return Meter(self.task.metrics, self.task.counts, total)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of this moment."""
        return self.learner.state() | {"global_step": self.global_step}


def train(cfg: CfgNode, task: Task, accept: Callable[[], None] = lambda: None) -> None:
    """Train as `cfg` says, from where OUTPUT_DIR's newest checkpoint stands; Ctrl-C saves and stops.

    accept: called before anything is written, once all that could refuse the run has been asked.
    """
    device = device_from_cfg(cfg)
    seed_process(cfg.RNG_SEED)
    loader = task.build_loader(cfg, "train")
    val_loader = task.build_loader(cfg, "val")
    if not cfg.TRAIN.AUTO_RESUME:
        check_starts_anew(cfg)
    newest = find_newest(cfg.OUTPUT_DIR)
    if newest is not None:
        check_changed_keys(cfg, newest[1])
        task.check_resumed(cfg, newest[1])
    learner = build_learner(cfg, task, device, newest is not None)
    origin = build_origin(cfg, task, loader)
    position, content = restore_position(cfg, learner, newest, origin)
    steps_before = global_step_of(content, position, Path(cfg.OUTPUT_DIR))
    accept()
    if distributed.is_main():
        remove_leftovers(cfg.OUTPUT_DIR)
        if newest is not None:
            set_aside_unreadable(cfg.OUTPUT_DIR, position)
    if cfg.LOG_MODEL_INFO:
        _log_network(cfg, learner)
    constant = {"cfg": cfg.dump(), "task": task.name, **task.entries(), "origin": origin}
    constant["builds_on"] = task.builds_on(learner.network)
    with StopRequest() as stop:
        run = Training(
            task,
            learner,
            loader,
            val_loader,
            build_writer(cfg, steps_before),
            Saver(Path(cfg.OUTPUT_DIR), cfg.TRAIN.KEEP_CHECKPOINTS, constant),
            BadFiles(cfg.OUTPUT_DIR),
            stop,
            steps_before,
        )
        between_epochs = position.epoch > 0 and not position.step and _is_evaluated(cfg, position.epoch)
        if between_epochs and not distributed.any_process(_is_validated(run, steps_before)):
            validate(cfg, run, position.epoch)  # the run ended before it could
        for epoch in range(position.epoch, cfg.SOLVER.MAX_EPOCH):
            resumed = epoch == position.epoch and position.step > 0
            meter = run.meter(content["meter"] if resumed else None)
            train_epoch(cfg, run, epoch, position.step if resumed else 0, meter)
            _end_epoch(cfg, run, epoch + 1)
    run.writer.close()
    save_artefacts(Path(cfg.OUTPUT_DIR), task, learner.eval_model, Position(cfg.SOLVER.MAX_EPOCH))


def _end_epoch(cfg: CfgNode, run: Training, epochs: int) -> None:
    """What follows when `epochs` epochs are complete: statistics, checkpoint, validation, the end if it was asked."""
    last = epochs == cfg.SOLVER.MAX_EPOCH
    evaluating = _is_evaluated(cfg, epochs)
    if evaluating and cfg.BN.USE_PRECISE_STATS:
        update_precise_statistics(cfg, run, epochs - 1)
    if evaluating:
        distributed.share_buffers(run.learner.eval_model)
    stopping = distributed.any_process(run.stop.received)
    due = epochs % cfg.TRAIN.CHECKPOINT_PERIOD == 0 or (evaluating and cfg.TRAIN.KEEP_BEST)
    path = None
    saving = stopping or last or due or run.saver.overdue
    if saving:
        path = run.saver.save(Position(epochs), run.state(), must=stopping or last)
    if evaluating and not stopping:
        validate(cfg, run, epochs)
        stopping = distributed.any_process(run.stop.received)
    if stopping and (not saving or run.saver.overdue):
        path = run.saver.save(Position(epochs), run.state())
    if stopping:
        raise Interrupted(f"Stopped after epoch {epochs}, {_saved(path)}.")


def train_epoch(cfg: CfgNode, run: Training, epoch: int, first_step: int, meter: Meter) -> None:
    """The steps of an epoch from `first_step` on. Raises Interrupted when it is stopped, after saving."""
    schedule = build_schedule(cfg)
    learner, num_steps = run.learner, len(run.loader)
    learner.train_mode()
    copy = CopiesAhead(learner.device)
    title = f"epoch {epoch + 1}/{cfg.SOLVER.MAX_EPOCH}"
    progress = Progress(run.loader.epoch(epoch, first_step), num_steps, title, first_step)
    begun: Begun | None = None  # the last step, whose numbers are read when the next one is on its way
    for step, batch in enumerate(progress, start=first_step):
        shares, stops = zip(*distributed.exchange(batch.num_samples, int(run.stop.received)), strict=True)
        if any(stops) and step > first_step:
            _stop(cfg, run, Position(epoch, step), meter, begun)
        seed_step(cfg.RNG_SEED, epoch, step)
        lr = lr_at(epoch + step / num_steps, schedule)
        _check_items(cfg, run, batch.errors)
        begun_before = begun
        begun = Begun(Position(epoch, step), batch, learner.begin(copy(batch), lr, shares))
        _settle(cfg, run, meter, begun_before)
        done = step + 1
        writes = done % cfg.LOG_PERIOD == 0 or done == num_steps
        saves = done < num_steps and is_due(done, cfg.TRAIN.CHECKPOINT_PERIOD_STEPS)
        if writes or saves or not learner.reads_late:
            _settle(cfg, run, meter, begun)
            begun = None
        if done == STEPS_TO_TIME and learner.device.type == "cuda":  # on a CPU, workers take its own cores
            _log_feeding(cfg, progress)
        progress.note(f"loss {meter.recent_loss:.3f}, lr {lr:.2g}")
        if writes:
            numbers = meter.summary() | meter.period()
            numbers |= {"clips_per_sec": round(progress.clips_per_sec, 2), "data_share": round(progress.data_share, 3)}
            numbers["memory_gib"] = peak_memory_gib(learner.device)
            run.writer.write("train", run.global_step, {"epoch": epoch + 1} | learner.lrs() | numbers)
            if numbers["broken_videos"]:
                run.bad_files.gather()
        if saves:
            _save_inside(run, Position(epoch, done), meter, must=False)
        if done < num_steps and distributed.get_world_size() == 1 and run.stop.received:  # without waiting for a batch
            _stop(cfg, run, Position(epoch, done), meter, begun)
    numbers = meter.summary()
    if numbers["steps_of_too_few"] == num_steps:
        raise DataError(
            f"No step of epoch {epoch + 1} had the {learner.fewest_samples} samples that BatchNorm needs here "
            "on each process. Repair the broken videos (bad_files.txt in OUTPUT_DIR), raise TRAIN.BATCH_SIZE, "
            "or set DATA.ON_ERROR replace to use other videos in their place."
        )
    logger.info(
        "%s: %s, %.1f clips/s, %.0f %% of the time waiting for data, %.1f GiB of memory%s.",
        title,
        _epoch_message(run.task, numbers),
        progress.clips_per_sec,
        100 * progress.data_share,
        peak_memory_gib(learner.device),
        _time_left(progress.seconds, epoch + 1, cfg.SOLVER.MAX_EPOCH) if not first_step else "",
    )
    if message := format_counts(numbers):
        logger.info("%s: %s.", title, message)


def _log_feeding(cfg: CfgNode, progress: Progress) -> None:
    here = -(-distributed.get_world_size() // cfg.NUM_SHARDS)
    workers = cfg.DATA_LOADER.NUM_WORKERS
    if message := feeding_message(progress.clips_per_sec, progress.data_share, workers, here):
        logger.info("%s", message)


def _check_items(cfg: CfgNode, run: Training, bad: Sequence[BadVideo]) -> None:
    """Log and list what could not be read. Raises DataError where DATA.ON_ERROR says so."""
    run.bad_files.add(bad)
    if bad and cfg.DATA.ON_ERROR == "error":
        raise DataError(f"{bad[0].reason} (DATA.ON_ERROR skip leaves such videos out, and counts them.)")


def _epoch_message(task: Task, values: Mapping[str, float]) -> str:
    """A line of `Meter.summary()` for people."""
    parts = [f"loss {values['loss']:.4f}", task.format_metrics(values), f"grad norm {values['grad_norm']:.3g}"]
    if values["skipped_steps"]:
        parts.append(f"{counted(values['skipped_steps'], 'step')} left out (non-finite loss or gradient)")
    if values["steps_of_too_few"]:
        parts.append(f"{counted(values['steps_of_too_few'], 'step')} left out (too few clips for BatchNorm)")
    return ", ".join(part for part in parts if part)


def _warn_of_too_few(learner: Learner, position: Position) -> None:
    """Each time: it comes from broken videos, or from a last batch (TRAIN.DROP_LAST False)."""
    logger.warning(
        "Epoch %d, step %d has fewer than the %d samples that BatchNorm needs here, on at least one process: "
        "the step is left out, and counted (steps_of_too_few).",
        position.epoch + 1,
        position.step + 1,
        learner.fewest_samples,
    )


def _settle(cfg: CfgNode, run: Training, meter: Meter, begun: Begun | None) -> None:
    """Read what a step gave, and count it. Raises RunError where it is one that ends the run."""
    if begun is None:
        return
    result = run.learner.result(begun.outcome)
    if result.too_few:
        _warn_of_too_few(run.learner, begun.position)
    elif result.skipped:
        _leave_out(cfg, run, meter, result, begun)
    else:
        run.bad_steps = 0
    meter.add(result)
    meter.count(begun.batch)
    run.global_step += 1


def _stop(cfg: CfgNode, run: Training, position: Position, meter: Meter, begun: Begun | None) -> None:
    """Raises Interrupted, after saving: that was asked for, on some process."""
    _settle(cfg, run, meter, begun)
    path = _save_inside(run, position, meter, must=True)
    raise Interrupted(f"Stopped in epoch {position.epoch + 1} after step {position.step}, {_saved(path)}.")


def _saved(path: Path | None) -> str:
    if path is None:
        return "but it could not be saved" if distributed.is_main() else "saved by process 0"
    return f"saved as {path}"


def _save_inside(run: Training, position: Position, meter: Meter, must: bool) -> Path | None:
    """A checkpoint inside an epoch: with the sums of its steps so far, so that its averages are of all of it."""
    run.bad_files.gather()
    return run.saver.save(position, run.state() | {"meter": meter.total()}, must)


def _leave_out(cfg: CfgNode, run: Training, meter: Meter, result: StepResult, begun: Begun) -> None:
    """A step whose gradient is non-finite changed nothing, on any process: stop before it, or count it and go on.

    Raises RunError that names the videos, after saving the state from before that step.
    """
    run.bad_steps += 1
    position = begun.position
    message = bad_step_message(position, distributed.gather((result.loss, begun.batch.ids)))
    if cfg.TRAIN.ON_NAN == "skip" and run.bad_steps < cfg.TRAIN.MAX_NAN_STEPS:
        logger.warning("%s The step is left out: the weights are unchanged.", message)
        return
    if cfg.TRAIN.ON_NAN == "skip":
        message += f" Such steps in a row: {run.bad_steps} (TRAIN.MAX_NAN_STEPS)."
    if position != Position(0):
        path = _save_inside(run, position, meter, must=False)
        message += f" The state from before it is saved as {path}." if path else ""
    raise RunError(
        f"{message} A lower SOLVER.BASE_LR, a longer warm-up or SOLVER.CLIP_GRAD_L2NORM usually helps; TRAIN.ON_NAN "
        "skip leaves out single steps."
    )


def validate(cfg: CfgNode, run: Training, epochs: int) -> None:
    """Evaluate the validation split after `epochs` epochs."""
    evaluation = run.task.evaluate(run.learner.eval_model, run.val_loader, "val")
    if evaluation is None or not distributed.is_main():
        return
    run.bad_files.add(evaluation.bad_videos)
    score = run.task.score
    if cfg.TRAIN.KEEP_BEST and evaluation.metrics[score] > max(
        (row[score] for row in run.writer.rows("val")), default=-1
    ):
        keep_best(checkpoint_dir(cfg.OUTPUT_DIR) / Position(epochs).file_name)
    run.writer.write("val", run.global_step, evaluation.metrics)
    logger.info("Validation: %s.", evaluation.summary)
    if message := format_counts(evaluation.results):
        logger.info("Validation: %s.", message)


def restore_position(
    cfg: CfgNode, learner: Learner, newest: tuple[Position, dict[str, Any]] | None, origin: dict[str, Any]
) -> tuple[Position, dict[str, Any]]:
    """Where to go on, and that checkpoint's content: the one that was `newest`, loaded into `learner`; else the start.

    `origin`: what a position inside an epoch depends on, as `build_origin` says.
    """
    if newest is None:
        return Position(0), {"origin": origin}
    position, content = newest
    content = {"origin": origin, "meter": None} | content  # those of earlier versions have none
    check_builds_on(cfg, learner.task, learner.network, content)
    learner.restore_state(content)
    check_origin(content["origin"], origin, position)
    if "random_state" in content:
        restore_random_state(content["random_state"])
    if position.epoch >= cfg.SOLVER.MAX_EPOCH:
        logger.info("Training is already complete (%s): %s.", counted(position.epoch, "epoch"), cfg.OUTPUT_DIR)
    else:
        logger.info("Resuming from epoch %d, step %d, from %s.", position.epoch, position.step, cfg.OUTPUT_DIR)
    return position, content


class _Forward(nn.Module):
    """The task's forward pass as a module, whose BatchNorms are those of its network."""

    def __init__(self, task: Task, network: nn.Module):
        super().__init__()
        self.network, self._forward = network, task.forward

    def forward(self, batch: TaskBatch) -> None:
        self._forward(self.network, batch)


def update_precise_statistics(cfg: CfgNode, run: Training, epoch: int) -> None:
    """BatchNorm statistics of the weights as they are now, over fresh training batches (BN.NUM_BATCHES_PRECISE)."""
    learner = run.learner
    enough = _enough(run.loader.epoch(epoch, 0), learner.fewest_samples)
    batches = (batch.to(learner.device) for batch in enough)
    learner.train_mode()
    with torch.no_grad():
        forward = _Forward(run.task, learner.eval_model)
        update_bn_stats(forward, batches, min(cfg.BN.NUM_BATCHES_PRECISE, len(run.loader)))
        distributed.pool_statistics(learner.eval_model)


def _enough(batches: Iterable[TaskBatch], fewest: int) -> Iterator[TaskBatch]:
    """Each batch; instead of one with fewer than `fewest` samples, another: every process must come with as many."""
    last, owed = None, 0
    for batch in batches:
        last = batch if batch.num_samples >= fewest else last
        owed += 1
        if last is not None:
            yield from [last] * owed
            owed = 0
    if owed and fewest == 1:  # not one video of this process could be read, and the blank clips of empty batches do
        yield from [batch] * owed
    elif owed:
        raise DataError(
            f"No batch for BN.USE_PRECISE_STATS had the {fewest} samples that it needs; bad_files.txt in "
            "OUTPUT_DIR has the reasons."
        )


def _is_evaluated(cfg: CfgNode, epochs: int) -> bool:
    return epochs % cfg.TRAIN.EVAL_PERIOD == 0 or epochs == cfg.SOLVER.MAX_EPOCH


def _is_validated(run: Training, step: int) -> bool:
    return distributed.is_main() and any(row["step"] == step for row in run.writer.rows("val"))


def _log_network(cfg: CfgNode, learner: Learner) -> None:
    count = sum(parameter.numel() for parameter in learner.network.parameters())
    logger.info("%s: %.3f M parameters, on %s.", learner.task.describe(cfg), count / 1e6, learner.device)


def _time_left(seconds: float, epochs_done: int, epochs: int) -> str:
    left = seconds * (epochs - epochs_done)
    return f", {time_left(left)}" if left > 0 else ""
