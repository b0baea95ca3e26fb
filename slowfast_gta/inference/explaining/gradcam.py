"""Grad-CAM: where in a clip, frame by frame, a network's score of a class comes from.

Selvaraju et al., "Grad-CAM", ICCV 2017 (arXiv:1610.02391), equations 1 and 2, for each frame as PySlowFast has it: a
channel's weight in a step is the mean over that step's positions of the gradient of the class's logit.

Legend: C channel, T step, H W space, K classes, S crop size.
"""

import torch
from torch import Tensor, nn

from slowfast_gta.engine.outputs import concat_heads
from slowfast_gta.errors import ConfigError
from slowfast_gta.inference.network import FEATURES, HEAD, features_of


@torch.enable_grad()
def grad_cam(model: nn.Module, clip: Tensor, label: int, layer: str = FEATURES) -> list[Tensor]:
    """[(T, H, W)], one for each pathway of `layer`: relu(sum over channels of weight times activation).

    clip: (1, 3, T, S, S), normalised; label: among the classes of all outputs side by side. Raises ConfigError.
    """
    if layer.split(".")[0] == HEAD:
        raise ConfigError(f"--layer {layer} gives class scores, not maps: name a stage such as s5 or s4.")
    with features_of(model, layer, lambda out: list(out) if isinstance(out, list | tuple) else [out]) as kept:
        last = model.get_submodule("").features(clip)  # type: ignore[operator]  # the contract of networks
        logits = concat_heads(_logits(model, last))
    pathways = [x for output in kept for x in output] if layer != FEATURES else list(last)
    if not pathways or any(x.ndim != 5 for x in pathways):
        raise ConfigError(
            f"--layer {layer} gives no maps (C, T, H, W). Name a stage, or a block of one, for example s4."
        )
    gradients = torch.autograd.grad(logits[0, label], pathways, allow_unused=True)
    return [_map(x[0].detach(), gradient) for x, gradient in zip(pathways, gradients, strict=True)]


def _logits(model: nn.Module, features: list[Tensor]) -> Tensor | dict[str, Tensor]:
    """What the head gives in training, without what it only does there to learn (dropout is a part of its own)."""
    head = model.get_submodule("head")
    before = head.training
    head.training = True
    try:
        return head(features)
    finally:
        head.training = before


def _map(activations: Tensor, gradient: Tensor | None) -> Tensor:
    """(C, T, H, W) -> (T, H, W); zeros where the class does not depend on them."""
    if gradient is None:
        return torch.zeros_like(activations[0])
    weights = gradient[0].mean((2, 3), keepdim=True)
    return (weights * activations).sum(0).relu()
