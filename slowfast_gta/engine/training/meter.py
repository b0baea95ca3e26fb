"""Averages and counts over the samples of an epoch, of all processes."""

from collections.abc import Mapping, Sequence

import torch

from slowfast_gta import distributed
from slowfast_gta.engine.task import TaskBatch
from slowfast_gta.engine.training.step import StepResult

# Checkpoints of version 0.1.0 hold a list of sums in this order; its "right" counted clips whose top-1 was.
_SUMS_OF_0_1 = ("loss", "right", "samples", "grad_norm", "steps")
_SUMS_OF_0_1 += ("num_requested", "num_decoded", "num_skipped", "num_replaced", "num_timed_out")
_SUMS_OF_0_1 += ("broken_videos", "repeated_frames", "skipped_steps")

# The sums when the last period began: checkpoints hold them, so that a resumed period has the same mean.
_BEFORE = ("loss_before", "samples_before")


class Meter:
    """Sums since the epoch's start. An interrupted epoch continues with those of its checkpoint."""

    def __init__(
        self,
        metrics: Mapping[str, int] | None = None,
        counts: Sequence[str] = (),
        total: Mapping[str, float] | Sequence[float] | None = None,
    ):
        """`metrics` and `counts`: those of the Task; `total`: what `Meter.total` was when the checkpoint was made."""
        self.recent_loss = 0.0
        self._digits = dict(metrics or {})
        counted = ["broken_videos", "repeated_frames", "skipped_steps", "overflowed_steps", "steps_of_too_few"]
        self._counts = [*(name for name in counts if name not in counted), *counted]
        self._names = ["loss", *self._digits, "samples", "grad_norm", "steps", *self._counts, *_BEFORE]
        self._sums = torch.zeros(len(self._names), dtype=torch.float64)
        if total is not None and distributed.is_main():
            self._add(**{name: value for name, value in _by_name(total).items() if name in self._names})

    def _add(self, **values: float) -> None:
        for name, value in values.items():
            self._sums[self._names.index(name)] += value

    def add(self, step: StepResult) -> None:
        """What a step gave. One that was left out, on all processes together, is counted once, and nothing else."""
        if step.skipped:
            self._add(skipped_steps=distributed.is_main())
            return
        if step.too_few:
            self._add(steps_of_too_few=distributed.is_main())
            return
        if step.overflowed:  # which has no gradient norm; its loss is a number
            self._add(overflowed_steps=distributed.is_main())
        else:
            self._add(grad_norm=step.grad_norm, steps=1)
        if step.num_samples:
            self.recent_loss = step.loss
            self._add(loss=step.loss * step.num_samples, samples=step.num_samples, **step.sums)

    def period(self) -> dict[str, float]:
        """ "loss_recent": the mean since the last call, of all processes, which must call it at the same step; nothing
        where no sample came since."""
        total = self.total()
        samples = total["samples"] - total["samples_before"]
        loss = total["loss"] - total["loss_before"]
        if distributed.is_main():
            for name in ("loss", "samples"):
                self._sums[self._names.index(f"{name}_before")] = total[name]
        return {"loss_recent": round(loss / samples, 6)} if samples else {}

    def count(self, batch: TaskBatch) -> None:
        """What became of the samples that `batch` was to be made of."""
        self._add(**batch.counts, broken_videos=len(batch.errors))

    def total(self) -> dict[str, float]:
        """The sums over all processes, which must all ask at the same step."""
        sums = (distributed.get_world_size() * distributed.all_reduce_mean(self._sums)).tolist()
        return dict(zip(self._names, sums, strict=True))

    def summary(self) -> dict[str, float]:
        """The numbers so far. All processes must ask at the same step."""
        total = self.total()
        samples, steps = max(total["samples"], 1), max(total["steps"], 1)
        return {
            "loss": round(total["loss"] / samples, 6),
            **{name: round(total[name] / samples, digits) for name, digits in self._digits.items()},
            "grad_norm": round(total["grad_norm"] / steps, 6),
            **{name: round(total[name]) for name in self._counts},
        }


def _by_name(total: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
    if isinstance(total, Mapping):
        return dict(total)
    sums = dict(zip(_SUMS_OF_0_1, total, strict=True))
    return sums | {"top1": 100 * sums.pop("right")}
