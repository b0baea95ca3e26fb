"""One training step as numbers: those that stay on the device, and what the host learns of them, later.

A GPU works behind the host. To ask it for a number makes the host wait for all that came before, and the GPU then for
the host; so what a step gave is asked for once, when the next one is on its way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from slowfast_gta.engine.checkpoint.checkpoint import Position
from slowfast_gta.engine.task import TaskBatch


@dataclass(frozen=True)
class StepResult:
    """What one step gave on this process."""

    loss: float  # mean over this process's samples
    sums: Mapping[str, float]  # what the Task counts, summed over them
    num_samples: int
    grad_norm: float  # of the whole gradient, over all processes, before clipping
    skipped: bool  # the gradient was not finite: weights, statistics and optimiser are as they were
    # float16: the gradient alone was not finite; the scale is halved, and nothing else changes.
    overflowed: bool = False
    too_few: bool = False  # on some process there were fewer samples than BatchNorm needs: nothing was computed


TOO_FEW = StepResult(0.0, {}, 0, 0.0, skipped=False, too_few=True)


class Numbers:
    """Scalars of a device on their way to the host, in one copy."""

    def __init__(self, scalars: Sequence[Tensor]):
        on_device = torch.stack([scalar.detach().double() for scalar in scalars])
        self._host, self._arrived = on_device, None
        if on_device.is_cuda:
            self._host = torch.empty(on_device.shape, dtype=on_device.dtype, pin_memory=True)
            self._host.copy_(on_device, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> list[float]:
        """Waits for them."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host.tolist()


@dataclass(frozen=True)
class Begun:
    """A step that is on its way."""

    position: Position
    batch: TaskBatch
    outcome: "StepOutcome | None"


@dataclass
class StepOutcome:
    """What a step found, on its device: 0-d tensors."""

    loss: Tensor
    grad_norm: Tensor
    skipped: Tensor  # bool
    overflowed: Tensor  # bool
    sums: Mapping[str, float | Tensor]
    num_samples: int
    _numbers: Numbers | None = field(default=None, repr=False)

    def send(self) -> None:
        """Start the way to the host."""
        counted = [value for value in self.sums.values() if isinstance(value, Tensor)]
        self._numbers = Numbers([self.loss, self.grad_norm, self.skipped, self.overflowed, *counted])

    def result(self) -> StepResult:
        """For the host, which waits for it."""
        if self._numbers is None:
            self.send()
        assert self._numbers is not None
        loss, grad_norm, skipped, overflowed, *counted = self._numbers.read()
        values = iter(counted)
        sums = {name: next(values) if isinstance(value, Tensor) else float(value) for name, value in self.sums.items()}
        return StepResult(loss, sums, self.num_samples, grad_norm, bool(skipped), bool(overflowed))
