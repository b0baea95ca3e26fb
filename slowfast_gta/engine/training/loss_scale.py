"""The factor of the loss in float16: torch.amp.GradScaler's rules and state, without asking the device for numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_GROWTH, _BACKOFF, _INTERVAL = 2.0, 0.5, 2000  # torch's
_FIRST = 65536.0


class LossScale:
    """Halved after a gradient that overflowed, doubled after 2000 that did not. Where it is not `enabled`, it is 1."""

    def __init__(self, device: torch.device, enabled: bool):
        self._enabled = enabled
        self._scale = torch.full((), _FIRST, device=device)
        self._tracker = torch.zeros((), dtype=torch.int32, device=device)  # steps since it last changed

    def is_enabled(self) -> bool:
        return self._enabled

    def get_scale(self) -> float:
        """For the host, which waits for it."""
        return self._scale.item() if self._enabled else 1.0

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to go backward from."""
        return loss * self._scale if self._enabled else loss

    def unscale_(self, gradients: Sequence[Tensor]) -> None:
        """Back to the true gradients, in place."""
        if self._enabled:
            torch._foreach_mul_(list(gradients), self._scale.double().reciprocal().float())

    def may_overflow(self) -> Tensor:
        """Whether a gradient that is not finite may be the scale's fault."""
        return self._scale > 1 if self._enabled else torch.zeros_like(self._scale, dtype=torch.bool)

    def update_(self, overflowed: Tensor, skipped: Tensor) -> None:
        """After a step. A skipped one, whose fault lies elsewhere, changes nothing."""
        if not self._enabled:
            return
        tracker = self._tracker + 1
        grown = self._scale * _GROWTH
        grows = (tracker == _INTERVAL) & torch.isfinite(grown)
        scale = torch.where(grows, grown, self._scale)
        tracker = torch.where(tracker == _INTERVAL, 0, tracker)
        scale = torch.where(overflowed, self._scale * _BACKOFF, scale)
        tracker = torch.where(overflowed, 0, tracker)
        self._scale.copy_(torch.where(skipped, self._scale, scale))
        self._tracker.copy_(torch.where(skipped, self._tracker, tracker))

    def state_dict(self) -> dict[str, Any]:
        """As GradScaler has it; empty where it is not enabled."""
        if not self._enabled:
            return {}
        factors = {"growth_factor": _GROWTH, "backoff_factor": _BACKOFF, "growth_interval": _INTERVAL}
        return {"scale": self.get_scale(), **factors, "_growth_tracker": int(self._tracker)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """A `state_dict()`, or GradScaler's."""
        if self._enabled:
            self._scale.fill_(state["scale"])
            self._tracker.fill_(state["_growth_tracker"])
