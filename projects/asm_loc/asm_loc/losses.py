"""What is minimised: the video loss (E5) and, from step 1, the loss of pseudo labels (E8). All per video, (B,)."""

import torch
from torch import Tensor

from .network import Outputs
from .settings import LossSettings

LEAST_PROBABILITY = 1e-7  # as released: log of nothing smaller


def cross_entropy(probabilities: Tensor, target: Tensor) -> Tensor:
    """-sum_c q_c log max(p_c, 1e-7) over the last axis; probabilities in float32 or better."""
    return -(target * probabilities.clamp(min=LEAST_PROBABILITY).log()).sum(-1)


def video_losses(outputs: Outputs, labels: Tensor) -> dict[str, Tensor]:
    """The three terms of E5. `labels` (B, K): 1 for the video's classes, which are at least one."""
    actions = torch.nn.functional.pad(labels / labels.sum(1, keepdim=True), (0, 1))
    background = torch.zeros_like(actions)
    background[:, -1] = 1
    return {
        "foreground": cross_entropy(outputs.foreground, actions),
        "background": cross_entropy(outputs.background, background),
        "action_in_background": cross_entropy(outputs.background, actions),
    }


def instance_loss(snippet: Tensor, target: Tensor, uncertainty: Tensor | None, beta: float) -> Tensor:
    """E8: mean over rows of exp(-U) CE(S, Q) + beta U, which falls below 0 by design; without U, the plain CE.

    `snippet`, `target` (B, R, K + 1), `uncertainty` (B, R).
    """
    error = cross_entropy(snippet, target)
    if uncertainty is None:
        return error.mean(1)
    return (torch.exp(-uncertainty) * error + beta * uncertainty).mean(1)


def losses(outputs: Outputs, labels: Tensor, target: Tensor | None, settings: LossSettings) -> dict[str, Tensor]:
    """The named terms, unweighted, and their weighted sum "total", each (B,). `target` None: the video loss alone."""
    terms = video_losses(outputs, labels)
    if target is not None:
        terms["instance"] = instance_loss(outputs.snippet, target, outputs.uncertainty, settings.uncertainty)
    total = sum(getattr(settings, name) * value for name, value in terms.items())
    return {**terms, "total": total}
