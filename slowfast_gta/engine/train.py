"""Training: each step a function of (weights, seed, epoch, step), so that what is saved resumes exactly."""

import logging
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.nn.precise_bn import update_bn_stats
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from slowfast_gta import distributed
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.loader import build_test_loader, build_train_loader
from slowfast_gta.engine.checkpoint import Position, find_newest, save_checkpoint
from slowfast_gta.engine.device import build_normalize, load_device
from slowfast_gta.engine.evaluate import evaluate, sentence, summarize
from slowfast_gta.engine.interrupt import StopRequest
from slowfast_gta.engine.logging import MetricsWriter, Progress
from slowfast_gta.engine.optim import build_optimizer, clip_gradients, set_lr
from slowfast_gta.engine.schedule import build_schedule, lr_at
from slowfast_gta.errors import Interrupted, RunError
from slowfast_gta.models.build import build_model
from slowfast_gta.models.weights.load import load_weights_for

logger = logging.getLogger("slowfast_gta")


class Learner:
    """A network with everything that changes while it learns, and the one step that changes it."""

    def __init__(
        self,
        network: nn.Module,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        amp_dtype: torch.dtype | None,
        label_smoothing: float,
        clip: tuple[float | None, float | None],
        ema_decay: float | None,
        frozen_bn: bool,
    ):
        """`model` is `network`, or what averages its gradients over processes."""
        self.network, self.model, self.optimizer = network, model, optimizer
        self.device = next(network.parameters()).device
        self.amp_dtype, self.label_smoothing, self.clip, self.frozen_bn = amp_dtype, label_smoothing, clip, frozen_bn
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp_dtype == torch.float16)
        self.ema = None
        if ema_decay is not None:
            self.ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))

    def train_mode(self) -> None:
        """Training mode; frozen BatchNorms stay as they are."""
        self.model.train()
        if self.frozen_bn:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def step(self, clips: Tensor, labels: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """One step on normalised clips (B, 3, T, H, W), labels (B,); returns the loss and the logits (B, K)."""
        set_lr(self.optimizer, lr)
        with torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
            logits = self.model(clips)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        clip_gradients(self.network, *self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(self.network)
        return loss.detach(), logits.detach()

    @property
    def answering(self) -> nn.Module:
        """The network that is evaluated: the running average where there is one."""
        return self.network if self.ema is None else self.ema.module

    def state(self) -> dict:
        """What a checkpoint needs besides the position."""
        state = {"model_state": self.network.state_dict(), "optimizer_state": self.optimizer.state_dict()}
        state["scaler_state"] = self.scaler.state_dict()
        if self.ema is not None:
            state["ema_state"] = self.ema.module.state_dict()
            state["ema_steps"] = int(self.ema.n_averaged)
        return state

    def load_state(self, state: dict) -> None:
        """Go back to a `state()`. Raises RunError where it is another network's."""
        try:
            self.network.load_state_dict(state["model_state"])
            self.optimizer.load_state_dict(state["optimizer_state"])
        except (RuntimeError, ValueError) as fault:
            raise RunError(
                "The checkpoint in OUTPUT_DIR is of another network or optimiser than the config describes: "
                f"{' '.join(str(fault).split())[:300]} Choose another OUTPUT_DIR, or give the config it was made with."
            ) from fault
        if state.get("scaler_state"):
            self.scaler.load_state_dict(state["scaler_state"])
        if self.ema is not None and "ema_state" in state:
            self.ema.module.load_state_dict(state["ema_state"])
            self.ema.n_averaged.fill_(state["ema_steps"])


def build_learner(cfg, device: torch.device) -> tuple[Learner, list[str] | None]:
    """The network of `cfg` with its starting weights, ready to learn."""
    torch.manual_seed(cfg.RNG_SEED)
    network = build_model(cfg)
    if cfg.TRAIN.CHECKPOINT_FILE_PATH:
        load_weights_for(cfg, network, cfg.TRAIN.CHECKPOINT_FILE_PATH, fine_tune=True)
    network = network.to(device)
    if cfg.MODEL.FROZEN_BN:
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.requires_grad_(False)
    model = distributed.data_parallel(network, cfg.BN.NORM_TYPE == "sync_batchnorm")
    return Learner(
        getattr(model, "module", model),
        model,
        build_optimizer(cfg, network),
        amp_dtype=getattr(torch, cfg.TRAIN.AMP_DTYPE) if cfg.TRAIN.MIXED_PRECISION else None,
        label_smoothing=cfg.TRAIN.LABEL_SMOOTHING,
        clip=(cfg.SOLVER.CLIP_GRAD_VAL, cfg.SOLVER.CLIP_GRAD_L2NORM),
        ema_decay=cfg.EMA.DECAY if cfg.EMA.ENABLE else None,
        frozen_bn=cfg.MODEL.FROZEN_BN,
    )


def train(cfg) -> None:
    """Train as `cfg` says, from where OUTPUT_DIR's newest checkpoint stands; Ctrl-C saves and stops."""
    device = load_device(cfg)
    dataset = build_dataset(cfg, "train")
    loader = build_train_loader(cfg, dataset)
    val_loader = build_test_loader(cfg, "val", dataset)
    learner = build_learner(cfg, device)
    normalize = build_normalize(cfg, device)
    position = load_position(cfg, learner)
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

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.recent_loss = loss.item()
        right = int((logits.argmax(1) == labels).sum())
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
        writer.write("val", step, {key: results[key] for key in ("top1", "top5", "num_videos", "num_missing")})
        logger.info("Validation: %s.", sentence(results))


def load_position(cfg, learner: Learner) -> Position:
    """Where to go on: the newest checkpoint in OUTPUT_DIR, loaded into `learner`; or the start."""
    found = find_newest(cfg.OUTPUT_DIR) if cfg.TRAIN.AUTO_RESUME else None
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
