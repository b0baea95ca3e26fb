"""Learning to resemble a trained network's features (W3's mature feature-guided regularisation, MFR)."""

from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.models.build import build_model
from slowfast_gta.models.refine import feature_mimicking_loss
from slowfast_gta.models.weights.load import load_weights_for


class Teacher:
    """A frozen network whose features another one, while it learns, comes to resemble."""

    def __init__(self, network: nn.Module, student: nn.Module, weight: float):
        self.network: Any = network  # which has features(), as students and teachers do
        self.weight = weight
        self._features: list[Tensor] = []
        # What the student's head is given in its own forward pass, so that it is not run twice.
        student.get_submodule("head").register_forward_pre_hook(self._keep)

    def _keep(self, head: nn.Module, inputs: tuple[list[Tensor]]) -> None:
        if head.training:
            self._features = inputs[0]

    def __deepcopy__(self, known: dict[int, Any]) -> "Teacher":
        """Copies of the student (its average, a folded form) carry the hook, and need no teacher of their own."""
        return self

    def loss(self, clips: Tensor) -> Tensor:
        """The mimicking loss for the clips (B, 3, T, H, W) that the student was just given."""
        with torch.no_grad():
            wanted = self.network.features(clips)
        features, self._features = self._features, []  # which hold the whole graph of the step
        losses: list[Any] = [feature_mimicking_loss(*pair) for pair in zip(features, wanted, strict=True)]
        return self.weight * sum(losses)


def build_teacher(cfg: CfgNode, student: nn.Module) -> Teacher:
    """The same network with the weights of TRAIN.TEACHER_FILE_PATH, all of them, and nothing to learn."""
    network = build_model(cfg)
    load_weights_for(cfg, network, cfg.TRAIN.TEACHER_FILE_PATH, fine_tune=False)
    network = network.to(next(student.parameters()).device).eval().requires_grad_(False)
    return Teacher(network, student, cfg.TRAIN.MIMIC_WEIGHT)
