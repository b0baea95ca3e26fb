"""What learns: a network, its optimiser, and the one step that changes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta import distributed
from slowfast_gta.engine.device import search_convolutions, settle_determinism
from slowfast_gta.engine.task import Losses, Task, TaskBatch
from slowfast_gta.engine.training.average import KeptBuffers, RunningAverage
from slowfast_gta.engine.training.freezing import freeze_backbone, freeze_norms
from slowfast_gta.engine.training.loss_scale import LossScale
from slowfast_gta.engine.training.memory_estimate import check_memory
from slowfast_gta.engine.training.optimizer import (
    build_optimizer,
    clip_gradients,
    is_fused,
    load_optimizer_state,
    set_lr,
)
from slowfast_gta.engine.training.step import TOO_FEW, StepOutcome, StepResult
from slowfast_gta.engine.training.trial import check_batch_size, try_sample
from slowfast_gta.errors import DataError, RunError
from slowfast_gta.models.norms import split_norms


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
        most_skipped: int | None = None,
    ):
        """`model` is `network`, or what averages its gradients over processes; `frozen` modules stay in eval mode.

        num_parts: gradient accumulation steps; a batch is computed in as many parts.
        fewest_samples: that a part must have, for BatchNorm to have more than one value.
        most_skipped: steps in a row without a finite gradient that end the run.
        """
        self.task, self.network, self.model, self.optimizer = task, network, model, optimizer
        self.device = next(network.parameters()).device
        self.amp_dtype, self.clip, self.frozen, self.num_parts = amp_dtype, clip, frozen, num_parts
        self.fewest_samples = fewest_samples
        self.most_skipped = most_skipped
        self.scaler = LossScale(self.device, enabled=amp_dtype == torch.float16)
        self.ema = None if ema_decay is None else RunningAverage(network, ema_decay)
        self._in_row = torch.zeros((), dtype=torch.int32, device=self.device)  # skipped steps
        self._halted = torch.zeros((), dtype=torch.bool, device=self.device)

    @property
    def reads_late(self) -> bool:
        """Whether a step is left out on the device, where its gradient is not finite, without asking the host."""
        return is_fused(self.optimizer)

    def train_mode(self) -> None:
        """Training mode; the statistics of frozen BatchNorms stay as they are, also those of the running average."""
        self.model.train()
        self.eval_model.train()
        frozen = {name for name, module in self.network.named_modules() if any(module is norm for norm in self.frozen)}
        for model in (self.network, self.eval_model):
            for name, module in model.named_modules():
                if name in frozen:
                    module.eval()

    def step(self, batch: TaskBatch, lr: float) -> StepResult:
        """`begin`, and wait for what it gave."""
        return self.result(self.begin(batch, lr))

    def begin(self, batch: TaskBatch, lr: float, shares: Sequence[int] | None = None) -> StepOutcome | None:
        """One step on a batch that is on the device, whose outcome is not waited for: `result` gives it.

        shares: the number of samples of every process, where that is known already.
        A process whose batch has no sample, where others have some, takes part in the step and counts nothing.
        Raises DataError where no process has one. None, where some process has too few for BatchNorm: no process
        computes anything.
        """
        set_lr(self.optimizer, lr)
        shares = shares or [number for (number,) in distributed.exchange(batch.num_samples)]
        if not any(shares):
            raise DataError("No sample of this step could be read; bad_files.txt in OUTPUT_DIR has the reasons.")
        if min(shares) < self.fewest_samples and self.fewest_samples > 1:
            return None
        weight = distributed.weight_of_sample(shares)
        buffers = KeptBuffers(self.network)
        self.optimizer.zero_grad(set_to_none=True)
        *first_parts, last_part = batch.split(self._common_num_parts(shares))
        with distributed.unsynchronized(self.model):
            losses: list[tuple[Any, Mapping[str, Any]]] = [self._backward(part, weight) for part in first_parts]
        losses.append(self._backward(last_part, weight))
        loss = sum(total for total, _ in losses) / max(batch.num_samples, 1)
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        self.scaler.unscale_(gradients)
        grad_norm = nn.utils.get_total_norm(gradients).to(self.device)
        skipped, overflowed = self._judge(loss, grad_norm)
        sums = _summed([sums for _, sums in losses])
        outcome = StepOutcome(loss, grad_norm, skipped, overflowed, sums, batch.num_samples)
        if self.reads_late:
            self._change(outcome, buffers)
        else:
            self._change_now(outcome, buffers)
        self.scaler.update_(overflowed, skipped)
        return outcome

    def result(self, outcome: StepOutcome | None) -> StepResult:
        """What `begin` gave; waits for the device."""
        if outcome is None:
            return TOO_FEW
        result = outcome.result()
        if self.ema is not None and self.reads_late:
            self.ema.num_updates += not (result.skipped or result.overflowed)
        return result

    def _change_now(self, outcome: StepOutcome, buffers: KeptBuffers) -> None:
        """Weights, statistics and average, by a host that knows how the step went."""
        result = outcome.result()
        if result.skipped or not outcome.num_samples:
            buffers.put_back()
        if result.skipped or result.overflowed:  # of the latter the forward pass, and so its statistics, are good
            return
        clip_gradients(self.network, *self.clip)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.network)

    def _change(self, outcome: StepOutcome, buffers: KeptBuffers) -> None:
        """The same by the device alone: what is to be omitted is computed and left out there.

        After as many skipped steps in a row as end a run, nothing changes any more: the host, which hears of it a step
        later, finds the state from before them.
        """
        self._in_row = torch.where(outcome.skipped, self._in_row + 1, 0)
        lost = outcome.skipped | self._halted
        omitted = lost | outcome.overflowed
        if self.most_skipped is not None:
            self._halted = self._halted | (self._in_row >= self.most_skipped)
        buffers.put_back(lost if outcome.num_samples else None)
        clip_gradients(self.network, *self.clip)
        optimizer: Any = self.optimizer  # whose fused kernels read this, as torch's GradScaler sets it
        optimizer.grad_scale, optimizer.found_inf = None, omitted.float()
        optimizer.step()
        del optimizer.grad_scale, optimizer.found_inf
        if self.ema is not None:
            self.ema.update(self.network, omitted)
        outcome.send()

    def _common_num_parts(self, shares: Sequence[int]) -> int:
        """The parts to compute a batch in: where BatchNorm is over all processes, they synchronise in each part."""
        return min(min(self.num_parts, max(share // self.fewest_samples, 1)) for share in shares)

    def _backward(self, part: TaskBatch, weight: float) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        """Adds the gradient of a part of the batch, each sample counting `weight`; returns the sum of its losses."""
        with torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
            losses: Losses = self.task.loss(self.model, part)
        num_samples = max(part.num_samples, 1)
        self.scaler.scale(losses.total * (num_samples * weight)).backward()
        return num_samples * losses.total.detach(), losses.sums

    def _judge(self, loss: Tensor, grad_norm: Tensor) -> tuple[Tensor, Tensor]:
        """(skipped, overflowed), 0-d bools: whether the gradient is not finite, and whose fault that is.

        The gradient is the mean over all processes, so they agree without asking. In float16 one that is too large is
        nothing unusual: the step is left out and the scale halved, and only the loss itself, or a scale that is down to
        1, tells the fault from that.
        """
        broken = ~torch.isfinite(grad_norm)
        if not self.scaler.is_enabled():
            return broken, torch.zeros_like(broken)
        lost_losses = distributed.all_reduce_sum((~torch.isfinite(loss)).float())
        overflowed = broken & self.scaler.may_overflow() & (lost_losses == 0)
        return broken & ~overflowed, overflowed

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
            state["ema_steps"] = self.ema.num_updates
        return state

    def _saved(self, network: nn.Module) -> dict[str, Tensor]:
        saved = self.task.saved(self.network)
        return {key: value for key, value in network.state_dict().items() if saved is None or key in saved}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state()`. Raises RunError where it is another network's."""
        try:
            self._load(self.network, state["model_state"])
            load_optimizer_state(self.optimizer, state["optimizer_state"])
            if state.get("scaler_state"):
                self.scaler.load_state_dict(state["scaler_state"])
            if self.ema is not None and "ema_state" in state:
                self._load(self.ema.module, state["ema_state"])
                self.ema.restored(state["ema_steps"])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as fault:  # torch checks little of it
            raise RunError(
                "The checkpoint in OUTPUT_DIR is of another network or optimiser than the config describes: "
                f"{' '.join(str(fault).split())[:300]} Choose another OUTPUT_DIR, or give the config it was "
                "trained with."
            ) from fault

    def _load(self, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """All that checkpoints hold of `network`, no more and no less."""
        missing = set(self._saved(network)) ^ set(tensors) if self.task.saved(self.network) is not None else None
        if missing:
            raise ValueError(f"it has other tensors, {', '.join(sorted(missing)[:3])} among them.")
        network.load_state_dict(tensors, strict=missing is None)


def _summed(sums: Sequence[Mapping[str, float | Tensor]]) -> dict[str, Any]:
    names = dict.fromkeys(name for counts in sums for name in counts)
    return {name: sum(counts.get(name, 0.0) for counts in sums) for name in names}


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
    if cfg.COMPILE != "none":  # in place: names in checkpoints stay
        network.compile(mode=None if cfg.COMPILE == "default" else cfg.COMPILE)
    search_convolutions(device.type == "cuda" and not cfg.DETERMINISTIC)
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
        most_skipped=1 if cfg.TRAIN.ON_NAN == "stop" else cfg.TRAIN.MAX_NAN_STEPS,
    )
    task.start(cfg, network)
    return learner
