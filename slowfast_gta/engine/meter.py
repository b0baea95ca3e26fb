"""Averages and counts over the clips of an epoch, of all processes."""

import logging

import torch
from torch import Tensor

from slowfast_gta import distributed
from slowfast_gta.datasets.clips import BadVideo
from slowfast_gta.engine.outputs import Answers, num_right

logger = logging.getLogger("slowfast_gta")

# What is summed: over clips, over steps, over videos, over frames.
_SUMS = ("loss", "right", "clips", "grad_norm", "steps", "skipped_steps", "broken_videos", "repeated_frames")


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

    def add(self, loss: Tensor, logits: Answers, labels: Tensor, grad_norm: float) -> None:
        """A step's mean loss, its answers (B, K) to clips of `labels`, and the length of its gradient."""
        self.recent_loss = loss.item()
        clips = len(labels)
        self._add(loss=self.recent_loss * clips, right=num_right(logits, labels), clips=clips)
        self._add(grad_norm=grad_norm, steps=1)

    def add_skipped(self) -> None:
        """A step that all processes left out together, since its gradient was not a number; counted once."""
        self._add(skipped_steps=distributed.is_main())

    def count_faults(self, errors: list[BadVideo], num_repeated: int) -> None:
        """Videos that were skipped or replaced, with the reasons; frames that another stands for."""
        for bad in errors:
            logger.warning("skipped or replaced: %s: %s", bad.video_id, bad.reason)
        self._add(broken_videos=len(errors), repeated_frames=num_repeated)

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
            "skipped_steps": round(total["skipped_steps"]),
            "broken_videos": round(total["broken_videos"]),
            "repeated_frames": round(total["repeated_frames"]),
        }


def sentence(values: dict[str, float]) -> str:
    """A line of `Meter.summary()` for people."""
    line = f"loss {values['loss']:.4f}, top-1 {values['top1']:.1f} %, gradient {values['grad_norm']:.3g}"
    if values["skipped_steps"]:
        line += f", {values['skipped_steps']} steps left out (loss or gradient not a number)"
    if values["broken_videos"]:
        line += f", {values['broken_videos']} broken videos skipped or replaced"
    if values["repeated_frames"]:
        line += f", {values['repeated_frames']} frames that did not decode replaced by a near one"
    return line
