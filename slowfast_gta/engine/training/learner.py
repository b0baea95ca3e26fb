"""What learns: a network, its optimiser, and the one step that changes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from slowfast_gta import distributed
from slowfast_gta.engine.device import settle_determinism
from slowfast_gta.engine.task import Losses, Task, TaskBatch
from slowfast_gta.engine.training.freezing import freeze_backbone, freeze_norms
from slowfast_gta.engine.training.memory_estimate import check_memory
from slowfast_gta.engine.training.optimizer import build_optimizer, clip_gradients, gradient_norm, set_lr
from slowfast_gta.engine.training.trial import check_batch_size, try_sample
from slowfast_gta.errors import DataError, RunError
from slowfast_gta.models.norms import split_norms


@dataclass(frozen=True)
class StepResult:
    """What one step gave on this process."""

    loss: float  # mean over this process's samples
    sums: Mapping[str, float]  # what the Task counts, summed over them
    num_samples: int
    grad_norm: float  # of the whole gradient, over all processes, before clipping
    skipped: bool  # the gradient was not finite: weights, statistics and optimiser are as they were
    overflowed: bool = (
        False  # float16: the gradient alone was not finite; the scale is halved, and nothing else changes
    )
    too_few: bool = False  # on some process there were fewer samples than BatchNorm needs: nothing was computed


class Learner:
    """A network with everything that changes while it learns, and the one step that changes it."""

    def __init__(
        self,
        task: Task,
        network: nn.Module,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        amp_dtype: torch.dtype | None = None,
        clip: tuple[float | None, float | None] = (None, None),
        ema_decay: float | None = None,
        frozen: Sequence[nn.Module] = (),
        num_parts: int = 1,
        fewest_samples: int = 1,
    ):
        """`model` is `network`, or what averages its gradients over processes; `frozen` modules stay in eval mode.

        num_parts: gradient accumulation steps; a batch is computed in so many parts.
        fewest_samples: that a part must have, for BatchNorm to have more than one value.
        """
        self.task, self.network, self.model, self.optimizer = task, network, model, optimizer
        self.device = next(network.parameters()).device
        self.amp_dtype, self.clip, self.frozen, self.num_parts = amp_dtype, clip, frozen, num_parts
        self.fewest_samples = fewest_samples
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp_dtype == torch.float16)
        self.ema = None
        if ema_decay is not None:
            self.ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))

    def train_mode(self) -> None:
        """Training mode; the statistics of frozen BatchNorms stay as they are."""
        self.model.train()
        for module in self.frozen:
            module.eval()

    def step(self, batch: TaskBatch, lr: float) -> StepResult:
        """One step on a batch that is on the device.

        A process whose batch has no sample, where others have some, takes part in the step and counts nothing.
        Raises DataError where no process has one. Where some process has too few for BatchNorm, none computes anything.
        """
        set_lr(self.optimizer, lr)
        weight = distributed.weight_of_sample(batch.num_samples)
        if weight is None:
            raise DataError("Not one sample of this step could be read; bad_files.txt in OUTPUT_DIR has the reasons.")
        if self.fewest_samples > 1 and distributed.any_process(batch.num_samples < self.fewest_samples):
            return StepResult(0.0, {}, 0, 0.0, skipped=False, too_few=True)
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        self.optimizer.zero_grad(set_to_none=True)
        *first_parts, last_part = batch.split(self._common_num_parts(batch))
        with distributed.unsynchronized(self.model):
            losses: list[tuple[Any, Mapping[str, float]]] = [self._backward(part, weight) for part in first_parts]
        losses.append(self._backward(last_part, weight))
        loss = (sum(total for total, _ in losses) / max(batch.num_samples, 1)).item()
        self.scaler.unscale_(self.optimizer)
        grad_norm = gradient_norm(self.network)
        skipped = self._is_lost(loss, grad_norm)
        overflowed = not skipped and not math.isfinite(grad_norm)
        if skipped or overflowed or not batch.num_samples:
            for buffer, before in zip(self.network.buffers(), buffers, strict=True):
                buffer.copy_(before)
        result = StepResult(
            loss, _summed([sums for _, sums in losses]), batch.num_samples, grad_norm, skipped, overflowed
        )
        if skipped:
            self.scaler.update(self.scaler.get_scale())  # the same
            return result
        clip_gradients(self.network, *self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None and not overflowed:
            self.ema.update_parameters(self.network)
        return result

    def _common_num_parts(self, batch: TaskBatch) -> int:
        """The parts to compute `batch` in: where BatchNorm is over all processes, they meet in each part."""
        if self.num_parts == 1:
            return 1
        return distributed.least(min(self.num_parts, max(batch.num_samples // self.fewest_samples, 1)))

    def _backward(self, part: TaskBatch, weight: float) -> tuple[Tensor, Mapping[str, float]]:
        """Adds the gradient of a part of the batch, each sample counting `weight`; returns the sum of its losses."""
        with torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
            losses: Losses = self.task.loss(self.model, part)
        num_samples = max(part.num_samples, 1)
        self.scaler.scale(losses.total * (num_samples * weight)).backward()
        return num_samples * losses.total.detach(), losses.sums

    def _is_lost(self, loss: float, grad_norm: float) -> bool:
        """Whether the gradient is not finite. It is the mean over all processes, so they agree without asking.

        In float16 a gradient that is too large is nothing unusual: the scaler leaves the step out and takes a smaller
        scale, and only the loss itself, or a scale that is down to 1, tells the fault from that.
        """
        if math.isfinite(grad_norm):
            return False
        overflowed = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        return not overflowed or distributed.any_process(not math.isfinite(loss))

    def lrs(self) -> dict[str, float]:
        """The learning rates of the last step: "lr", and "lr_x10" where inserted blocks have ten times that."""
        rates = {group["lr_factor"]: group["lr"] for group in self.optimizer.param_groups}
        return {"lr" if factor == 1 else f"lr_x{factor:g}": rate for factor, rate in sorted(rates.items())}

    @property
    def eval_model(self) -> nn.Module:
        """The network that is evaluated: the running average where there is one."""
        return self.network if self.ema is None else self.ema.module

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs besides the position."""
        state: dict[str, Any] = {"model_state": self._saved(self.network)}
        state["optimizer_state"] = self.optimizer.state_dict()
        state["scaler_state"] = self.scaler.state_dict()
        if self.ema is not None:
            state["ema_state"] = self._saved(self.ema.module)
            state["ema_steps"] = int(self.ema.n_averaged)
        return state

    def _saved(self, network: nn.Module) -> dict[str, Tensor]:
        saved = self.task.saved(self.network)
        return {key: value for key, value in network.state_dict().items() if saved is None or key in saved}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state()`. Raises RunError where it is another network's."""
        try:
            self._load(self.network, state["model_state"])
            self.optimizer.load_state_dict(state["optimizer_state"])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as fault:  # torch checks little of it
            raise RunError(
                "The checkpoint in OUTPUT_DIR is of another network or optimiser than the config describes: "
                f"{' '.join(str(fault).split())[:300]} Choose another OUTPUT_DIR, or give the config it was made with."
            ) from fault
        if state.get("scaler_state"):
            self.scaler.load_state_dict(state["scaler_state"])
        if self.ema is not None and "ema_state" in state:
            self._load(self.ema.module, state["ema_state"])
            self.ema.n_averaged.fill_(state["ema_steps"])

    def _load(self, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """All that checkpoints hold of `network`, no more and no less."""
        missing = set(self._saved(network)) ^ set(tensors) if self.task.saved(self.network) is not None else None
        if missing:
            raise ValueError(f"it has other tensors, {', '.join(sorted(missing)[:3])} among them.")
        network.load_state_dict(tensors, strict=missing is None)


def _summed(sums: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in sums for name in one)
    return {name: sum(float(one.get(name, 0.0)) for one in sums) for name in names}


def build_learner(cfg: CfgNode, task: Task, device: torch.device, resuming: bool = False) -> Learner:
    """The network of `task` with its starting weights, ready to learn; `resuming`: the weights will come later."""
    torch.manual_seed(cfg.RNG_SEED)
    network = task.build_model(cfg, starting=not resuming).to(device)
    if cfg.BN.NORM_TYPE == "sync_batchnorm":
        network = distributed.synchronize_norms(network)
    if cfg.BN.NORM_TYPE == "sub_batchnorm":
        network = split_norms(network, cfg.BN.NUM_SPLITS)
    frozen = freeze_norms(network, "all" if cfg.MODEL.FROZEN_BN else cfg.BN.FREEZE)
    if cfg.TRAIN.FREEZE_BACKBONE:
        frozen += freeze_backbone(network)
    network.train()
    for module in frozen:  # as in training: they take one value
        module.eval()
    trial = try_sample(network, task.blank(cfg))
    check_batch_size(cfg, trial)
    check_memory(cfg, network, trial)
    if cfg.DETERMINISTIC and device.type == "cuda":
        settle_determinism(trial.inexact)
    learner = Learner(
        task,
        network,
        distributed.data_parallel(network),
        build_optimizer(cfg, network),
        amp_dtype=getattr(torch, cfg.TRAIN.AMP_DTYPE) if cfg.TRAIN.MIXED_PRECISION else None,
        clip=(cfg.SOLVER.CLIP_GRAD_VAL, cfg.SOLVER.CLIP_GRAD_L2NORM),
        ema_decay=cfg.EMA.DECAY if cfg.EMA.ENABLE else None,
        frozen=frozen,
        num_parts=cfg.SOLVER.ACCUMULATE_STEPS,
        fewest_samples=trial.fewest_samples,
    )
    task.start(cfg, network)
    return learner
