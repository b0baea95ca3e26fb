"""The message for a step whose loss or gradient is non-finite (NaN or Inf)."""

import math

from slowfast_gta.engine.checkpoint.checkpoint import Position

_NUM_SHOWN = 8


def bad_step_message(position: Position, by_rank: list[tuple[float, list[str]]]) -> str:
    """`by_rank`: each process's loss and the ids of its videos; those whose loss is a number are not to blame."""
    losses = [loss for loss, _ in by_rank if not math.isfinite(loss)]
    videos = [video for loss, ids in by_rank if not losses or not math.isfinite(loss) for video in ids]
    what = f"loss is {losses[0]}" if losses else "gradient is non-finite (NaN or Inf)"
    shown = ", ".join(videos[:_NUM_SHOWN]) + " ..." * (len(videos) > _NUM_SHOWN)
    return f"The {what} in epoch {position.epoch + 1}, step {position.step + 1} (videos {shown})."
