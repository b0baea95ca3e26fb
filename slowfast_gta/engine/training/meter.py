"""Averages and counts over the clips of an epoch, of all processes."""

import torch
from torch import Tensor

from slowfast_gta import distributed
from slowfast_gta.engine.outputs import Answers, num_right

# What is summed: over clips, over steps, over videos.
_COUNTS = ("num_requested", "num_decoded", "num_skipped", "num_replaced", "num_timed_out")  # as batches have them
_COUNTS += ("broken_videos", "repeated_frames", "skipped_steps")
_SUMS = ("loss", "right", "clips", "grad_norm", "steps", *_COUNTS)


class Meter:
    """Sums since the epoch's start. An interrupted epoch goes on with those of its checkpoint."""

    def __init__(self, total: list[float] | None = None):
        """`total`: what `Meter.total` said when the checkpoint was made."""
        self.recent_loss = 0.0
        self._sums = torch.zeros(len(_SUMS), dtype=torch.float64)
        if total is not None and distributed.is_main():
            self._sums += torch.tensor(total, dtype=torch.float64)

    def _add(self, **values: float) -> None:
        for name, value in values.items():
            self._sums[_SUMS.index(name)] += value

    def add(self, loss: Tensor, logits: Answers, labels: Tensor | None, grad_norm: float) -> None:
        """A step's mean loss, its answers (B, K) to clips of `labels` (None: it had none), and the length of its
        gradient."""
        self._add(grad_norm=grad_norm, steps=1)
        if labels is not None:
            self.recent_loss = loss.item()
            clips = len(labels)
            self._add(loss=self.recent_loss * clips, right=num_right(logits, labels), clips=clips)

    def add_skipped(self) -> None:
        """A step that all processes left out together, since its gradient was not a number; counted once."""
        self._add(skipped_steps=distributed.is_main())

    def count_videos(self, batch: dict) -> None:
        """What became of the videos that `batch` was to be made of."""
        self._add(**batch["counts"], broken_videos=len(batch["errors"]), repeated_frames=batch["num_repeated"])

    def total(self) -> list[float]:
        """The sums over all processes, which must all ask at the same step."""
        return (distributed.get_world_size() * distributed.mean(self._sums)).tolist()

    def summary(self) -> dict[str, float]:
        """The numbers so far. All processes must ask at the same step."""
        total = dict(zip(_SUMS, self.total(), strict=True))
        clips, steps = max(total["clips"], 1), max(total["steps"], 1)
        return {
            "loss": round(total["loss"] / clips, 6),
            "top1": round(100 * total["right"] / clips, 3),
            "grad_norm": round(total["grad_norm"] / steps, 6),
            **{name: round(total[name]) for name in _COUNTS},
        }


def sentence(values: dict[str, float]) -> str:
    """A line of `Meter.summary()` for people."""
    line = f"loss {values['loss']:.4f}, top-1 {values['top1']:.1f} %, gradient {values['grad_norm']:.3g}"
    if values["skipped_steps"]:
        line += f", {values['skipped_steps']} steps left out (loss or gradient not a number)"
    return line
