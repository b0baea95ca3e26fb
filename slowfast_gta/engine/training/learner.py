"""What learns: a network, its optimiser, and the one step that changes them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from slowfast_gta import distributed
from slowfast_gta.class_names import ClassNames
from slowfast_gta.engine.outputs import Answers, cross_entropy, detached, joined, side_by_side
from slowfast_gta.engine.training.freezing import freeze_backbone, freeze_norms
from slowfast_gta.engine.training.optimizer import build_optimizer, clip_gradients, gradient_norm, set_lr
from slowfast_gta.errors import RunError
from slowfast_gta.models.build import build_model
from slowfast_gta.models.norms import split_norms
from slowfast_gta.models.refine import feature_mimicking_loss
from slowfast_gta.models.weights.load import load_weights_for


class Teacher:
    """A frozen network whose features another one, while it learns, comes to resemble (W3's MFR)."""

    def __init__(self, network: nn.Module, student: nn.Module, weight: float):
        self.network, self.weight = network, weight
        self._features: list[Tensor] = []
        # What the student's head is given in its own forward pass, so that it is not run twice.
        student.head.register_forward_pre_hook(self._keep)

    def _keep(self, head: nn.Module, inputs: tuple[list[Tensor]]) -> None:
        self._features = inputs[0]

    def loss(self, clips: Tensor) -> Tensor:
        """The mimicking loss for the clips that the student was just given."""
        with torch.no_grad():
            wanted = self.network.features(clips)
        pairs = zip(self._features, wanted, strict=True)
        return self.weight * sum(feature_mimicking_loss(student, teacher) for student, teacher in pairs)


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
        frozen: Sequence[nn.Module] = (),
        teacher: Teacher | None = None,
        num_parts: int = 1,
    ):
        """`model` is `network`, or what averages its gradients over processes; `frozen` modules stay in eval mode.

        num_parts: a batch is computed in so many parts, whose gradients add up.
        """
        self.network, self.model, self.optimizer = network, model, optimizer
        self.device = next(network.parameters()).device
        self.amp_dtype, self.label_smoothing, self.clip = amp_dtype, label_smoothing, clip
        self.frozen, self.teacher, self.num_parts = frozen, teacher, num_parts
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp_dtype == torch.float16)
        self.grad_norm, self.skipped = 0.0, False  # of the last step: length of the gradient, before clipping
        self.ema = None
        if ema_decay is not None:
            self.ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))

    def train_mode(self) -> None:
        """Training mode; the statistics of frozen BatchNorms stay as they are."""
        self.model.train()
        for module in self.frozen:
            module.eval()

    def step(self, clips: Tensor, labels: Tensor | None, lr: float) -> tuple[Tensor, Answers]:
        """One step on normalised clips (B, 3, T, H, W), labels (B,); returns the loss and the logits (B, K).

        With several outputs the labels are (B, outputs), and the logits {output: (B, K)}. Where the gradient is not
        a number, the step is `skipped`: weights, statistics and optimiser stay as they were.
        A process that has no clip where others have some gives a blank one and labels None: it counts nothing.
        """
        set_lr(self.optimizer, lr)
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        self.optimizer.zero_grad(set_to_none=True)
        weight = distributed.weight_of_clip(0 if labels is None else len(labels))
        num_parts = min(self.num_parts, len(clips))
        if self.num_parts > 1:  # where BatchNorm is over all processes, they meet in each part
            num_parts = distributed.least(num_parts)
        parts_of_labels = [None] * num_parts if labels is None else labels.tensor_split(num_parts)
        *first_parts, last_part = zip(clips.tensor_split(num_parts), parts_of_labels, strict=True)
        with distributed.unsynchronized(self.model):
            answers = [self._backward(*part, weight) for part in first_parts]
        answers.append(self._backward(*last_part, weight))
        loss, logits = sum(loss for loss, _ in answers) / len(clips), joined([logits for _, logits in answers])
        self.scaler.unscale_(self.optimizer)
        self.grad_norm = gradient_norm(self.network)
        self.skipped = self._is_lost(loss)
        if self.skipped or labels is None:
            for buffer, before in zip(self.network.buffers(), buffers, strict=True):
                buffer.copy_(before)
        if self.skipped:
            self.scaler.update(self.scaler.get_scale())  # the same
            return loss, logits
        clip_gradients(self.network, *self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(self.network)
        return loss, logits

    def _backward(self, clips: Tensor, labels: Tensor | None, weight: float) -> tuple[Tensor, Answers]:
        """Adds the gradient of a part of the batch, each clip counting `weight`; returns the sum of its losses."""
        with torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
            logits = self.model(clips)
            if labels is None:
                loss = 0 * side_by_side(logits).float().sum()
            else:
                loss = cross_entropy(logits, labels, self.label_smoothing)
            if self.teacher is not None and labels is not None:
                loss = loss + self.teacher.loss(clips)
        self.scaler.scale(loss * (len(clips) * weight)).backward()
        return len(clips) * loss.detach(), detached(logits)

    def _is_lost(self, loss: Tensor) -> bool:
        """Whether the gradient is not a number. It is the mean over all processes, so they agree without asking.

        In float16 a gradient that is too large is nothing unusual: the scaler leaves the step out and takes a smaller
        scale, and only the loss itself, or a scale that is down to 1, tells the fault from that.
        """
        if math.isfinite(self.grad_norm):
            return False
        overflowed = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        return not overflowed or distributed.any_process(not math.isfinite(loss.item()))

    def lrs(self) -> dict[str, float]:
        """The learning rates of the last step: "lr", and "lr_x10" where inserted blocks have ten times that."""
        rates = {group["lr_factor"]: group["lr"] for group in self.optimizer.param_groups}
        return {"lr" if factor == 1 else f"lr_x{factor:g}": rate for factor, rate in sorted(rates.items())}

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
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as fault:  # torch checks little of it
            raise RunError(
                "The checkpoint in OUTPUT_DIR is of another network or optimiser than the config describes: "
                f"{' '.join(str(fault).split())[:300]} Choose another OUTPUT_DIR, or give the config it was made with."
            ) from fault
        if state.get("scaler_state"):
            self.scaler.load_state_dict(state["scaler_state"])
        if self.ema is not None and "ema_state" in state:
            self.ema.module.load_state_dict(state["ema_state"])
            self.ema.n_averaged.fill_(state["ema_steps"])


def build_learner(cfg, device: torch.device, resuming: bool = False, class_names: ClassNames | None = None) -> Learner:
    """The network of `cfg` with its starting weights, ready to learn `class_names`; `resuming`: the weights will come
    later."""
    torch.manual_seed(cfg.RNG_SEED)
    network = build_model(cfg)
    if cfg.TRAIN.CHECKPOINT_FILE_PATH and not resuming:
        load_weights_for(cfg, network, cfg.TRAIN.CHECKPOINT_FILE_PATH, fine_tune=True, class_names=class_names)
    network = network.to(device)
    if cfg.BN.NORM_TYPE == "sync_batchnorm":
        network = distributed.synchronize_norms(network)
    if cfg.BN.NORM_TYPE == "sub_batchnorm":
        network = split_norms(network, cfg.BN.NUM_SPLITS)
    frozen = freeze_norms(network, "all" if cfg.MODEL.FROZEN_BN else cfg.BN.FREEZE)
    if cfg.TRAIN.FREEZE_BACKBONE:
        frozen += freeze_backbone(network)
    model = distributed.data_parallel(network)
    return Learner(
        network,
        model,
        build_optimizer(cfg, network),
        amp_dtype=getattr(torch, cfg.TRAIN.AMP_DTYPE) if cfg.TRAIN.MIXED_PRECISION else None,
        label_smoothing=cfg.TRAIN.LABEL_SMOOTHING,
        clip=(cfg.SOLVER.CLIP_GRAD_VAL, cfg.SOLVER.CLIP_GRAD_L2NORM),
        ema_decay=cfg.EMA.DECAY if cfg.EMA.ENABLE else None,
        frozen=frozen,
        teacher=build_teacher(cfg, network) if cfg.TRAIN.TEACHER_FILE_PATH else None,
        num_parts=cfg.SOLVER.ACCUMULATE_STEPS,
    )


def build_teacher(cfg, student: nn.Module) -> Teacher:
    """The same network with the weights of TRAIN.TEACHER_FILE_PATH, all of them, and nothing to learn."""
    network = build_model(cfg)
    load_weights_for(cfg, network, cfg.TRAIN.TEACHER_FILE_PATH, fine_tune=False)
    network = network.to(next(student.parameters()).device).eval().requires_grad_(False)
    return Teacher(network, student, cfg.TRAIN.MIMIC_WEIGHT)
