"""Training: each step a function of (weights, seed, epoch, step), so that what is saved resumes exactly."""

import logging
import math
from pathlib import Path

import numpy as np
import torch
from fvcore.nn.precise_bn import update_bn_stats
from torch import Tensor

from slowfast_gta import distributed
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.loader import build_test_loader, build_train_loader
from slowfast_gta.engine.checkpoint import Position, find_newest, save_checkpoint
from slowfast_gta.engine.device import build_normalize, load_device
from slowfast_gta.engine.evaluate import evaluate, headline, sentence, summarize
from slowfast_gta.engine.interrupt import StopRequest
from slowfast_gta.engine.learner import Learner, build_learner
from slowfast_gta.engine.logging import MetricsWriter, Progress
from slowfast_gta.engine.outputs import Answers, num_right
from slowfast_gta.engine.schedule import build_schedule, lr_at
from slowfast_gta.errors import Interrupted, RunError

logger = logging.getLogger("slowfast_gta")


def train(cfg) -> None:
    """Train as `cfg` says, from where OUTPUT_DIR's newest checkpoint stands; Ctrl-C saves and stops."""
    device = load_device(cfg)
    dataset = build_dataset(cfg, "train")
    loader = build_train_loader(cfg, dataset)
    val_loader = build_test_loader(cfg, "val", dataset)
    found = find_newest(cfg.OUTPUT_DIR) if cfg.TRAIN.AUTO_RESUME else None
    learner = build_learner(cfg, device, resuming=found is not None)
    normalize = build_normalize(cfg, device)
    position = load_position(cfg, learner, found)
    if cfg.LOG_MODEL_INFO:
        count = sum(parameter.numel() for parameter in learner.network.parameters())
        logger.info(
            "%s %s, attention %s: %.3f M parameters, on %s.",
            cfg.MODEL.MODEL_NAME,
            cfg.MODEL.ARCH,
            cfg.ATTENTION.NAME,
            count / 1e6,
            device,
        )
    last_epoch = cfg.SOLVER.MAX_EPOCH
    extra = {"cfg": cfg.dump(), "class_names": dataset.class_names()}
    writer = MetricsWriter(Path(cfg.OUTPUT_DIR), cfg.TENSORBOARD.ENABLE)
    with StopRequest() as stop:
        for epoch in range(position.epoch, last_epoch):
            first_step = position.step if epoch == position.epoch else 0
            done = train_epoch(cfg, learner, loader, normalize, writer, stop, epoch, first_step)
            if done < len(loader):
                path = _save(cfg, Position(epoch, done), learner, extra)
                raise Interrupted(f"Stopped in epoch {epoch + 1} after step {done}, saved as {path}.")
            evaluating = (epoch + 1) % cfg.TRAIN.EVAL_PERIOD == 0 or epoch + 1 == last_epoch
            if evaluating and cfg.BN.USE_PRECISE_STATS:
                update_precise_statistics(cfg, learner, loader, normalize, epoch)
            if evaluating:
                distributed.share_buffers(learner.answering)
            stopping = distributed.any_process(stop.received)
            saving = stopping or (epoch + 1) % cfg.TRAIN.CHECKPOINT_PERIOD == 0 or epoch + 1 == last_epoch
            if saving:
                path = _save(cfg, Position(epoch + 1), learner, extra)
            if evaluating and not stopping:
                validate(cfg, learner, val_loader, normalize, dataset, writer, (epoch + 1) * len(loader))
                stopping = distributed.any_process(stop.received)
            if stopping:
                path = path if saving else _save(cfg, Position(epoch + 1), learner, extra)
                raise Interrupted(f"Stopped after epoch {epoch + 1}, saved as {path}.")
    writer.close()


def train_epoch(
    cfg, learner: Learner, loader, normalize, writer, stop: StopRequest, epoch: int, first_step: int
) -> int:
    """The steps of an epoch from `first_step` on; returns how many are done when it ends or is stopped."""
    schedule = build_schedule(cfg)
    learner.train_mode()
    meter = Meter()
    progress = Progress(
        loader.epoch(epoch, first_step), len(loader), f"epoch {epoch + 1}/{cfg.SOLVER.MAX_EPOCH}", first_step
    )
    step = first_step
    for batch in progress:
        _seed(cfg.RNG_SEED, epoch, step)
        lr = lr_at(epoch + step / len(loader), schedule)
        meter.count_faults(batch["errors"], batch["num_repeated"])
        if len(batch["label"]):
            labels = batch["label"].to(learner.device, non_blocking=True)
            loss, logits = learner.step(normalize(batch["frames"]), labels, lr)
            meter.add(loss, logits, labels)
            _check_finite(loss, epoch, step, batch["video_id"])
        step += 1
        progress.note(f"loss {meter.recent_loss:.3f}, lr {lr:.2g}")
        if step % cfg.LOG_PERIOD == 0 or step == len(loader):
            speed = {"clips_per_sec": round(progress.clips_per_sec, 2), "data_share": round(progress.data_share, 3)}
            writer.write(
                "train", epoch * len(loader) + step, {"epoch": epoch + 1, "lr": lr, **meter.summary(), **speed}
            )
        if step < len(loader) and distributed.any_process(stop.received):
            break
    logger.info(
        "epoch %d/%d: %s, %.1f clips/s, %.0f %% of the time waiting for data%s.",
        epoch + 1,
        cfg.SOLVER.MAX_EPOCH,
        _sentence(meter.summary()),
        progress.clips_per_sec,
        100 * progress.data_share,
        _time_left(progress.seconds, epoch + 1, cfg.SOLVER.MAX_EPOCH) if step == len(loader) and not first_step else "",
    )
    return step


class Meter:
    """Averages and counts over the clips of an epoch, of all processes."""

    def __init__(self):
        self.recent_loss = 0.0
        self._sums = torch.zeros(5, dtype=torch.float64)  # loss, right answers, clips, broken videos, repeated frames

    def add(self, loss: Tensor, logits: Answers, labels: Tensor) -> None:
        self.recent_loss = loss.item()
        right = num_right(logits, labels)
        self._sums[:3] += torch.tensor([self.recent_loss * len(labels), right, len(labels)])

    def count_faults(self, errors: list[tuple[str, str]], num_repeated: int) -> None:
        for video_id, reason in errors:
            logger.warning("skipped or replaced: %s: %s", video_id, reason)
        self._sums[3:] += torch.tensor([len(errors), num_repeated])

    def summary(self) -> dict[str, float]:
        """The numbers so far. All processes must ask at the same step."""
        means = distributed.mean(self._sums).tolist()
        loss, right, clips, broken, repeated = (distributed.get_world_size() * value for value in means)
        return {
            "loss": round(loss / max(clips, 1), 6),
            "top1": round(100 * right / max(clips, 1), 3),
            "broken_videos": round(broken),
            "repeated_frames": round(repeated),
        }


def _sentence(values: dict[str, float]) -> str:
    line = f"loss {values['loss']:.4f}, top-1 {values['top1']:.1f} %"
    if values["broken_videos"]:
        line += f", {values['broken_videos']} broken videos skipped or replaced"
    if values["repeated_frames"]:
        line += f", {values['repeated_frames']} frames that did not decode replaced by a near one"
    return line


def validate(cfg, learner: Learner, loader, normalize, dataset, writer: MetricsWriter, step: int) -> None:
    """Score the validation split with one centre view of each video."""
    found = evaluate(learner.answering, loader, normalize, cfg.TEST.BATCH_SIZE, 1, "validation")
    if distributed.is_main():
        results = summarize(found, dataset.class_names(), dataset.reversed_pairs())
        writer.write("val", step, headline(results))
        logger.info("Validation: %s.", sentence(results))


def load_position(cfg, learner: Learner, found: tuple[Position, dict] | None) -> Position:
    """Where to go on: at the checkpoint that was `found`, loaded into `learner`; at the start, if none was."""
    if found is None:
        return Position(0)
    position, content = found
    learner.load_state(content)
    if position.epoch >= cfg.SOLVER.MAX_EPOCH:
        logger.info("Training is already complete: %s has %d epochs. Nothing to train.", cfg.OUTPUT_DIR, position.epoch)
    else:
        logger.info("Going on after epoch %d, step %d, from %s.", position.epoch, position.step, cfg.OUTPUT_DIR)
    return position


def update_precise_statistics(cfg, learner: Learner, loader, normalize, epoch: int) -> None:
    """BatchNorm statistics of the weights as they are now, over fresh training batches (BN.NUM_BATCHES_PRECISE)."""
    batches = (normalize(batch["frames"]) for batch in loader.epoch(epoch, 0) if len(batch["label"]))
    learner.train_mode()
    with torch.no_grad():
        update_bn_stats(learner.answering.train(), batches, min(cfg.BN.NUM_BATCHES_PRECISE, len(loader)))


def _save(cfg, position: Position, learner: Learner, extra: dict) -> Path | None:
    path = None
    if distributed.is_main():
        path = save_checkpoint(cfg.OUTPUT_DIR, position, learner.state() | extra)
    distributed.barrier()
    return path


def _seed(*numbers: int) -> None:
    """Make what is random in a step (dropout) a function of (seed, epoch, step, process)."""
    words = np.random.SeedSequence([*numbers, distributed.get_rank()]).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))


def _check_finite(loss: Tensor, epoch: int, step: int, video_ids: list[str]) -> None:
    if not math.isfinite(loss.item()):
        raise RunError(
            f"The loss is {loss.item()} in epoch {epoch + 1}, step {step + 1} (videos {', '.join(video_ids[:8])} ...). "
            "A lower SOLVER.BASE_LR, a longer warm-up or SOLVER.CLIP_GRAD_L2NORM usually helps; the newest checkpoint "
            "is from before."
        )


def _time_left(seconds: float, epochs_done: int, epochs: int) -> str:
    left = seconds * (epochs - epochs_done)
    return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left" if left > 0 else ""
