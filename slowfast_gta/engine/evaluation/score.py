"""Scores of videos, one deterministic path: every view of every video once, the mean over a video's views.

Legend: B views at a time, V videos, K classes; with several outputs (verb, noun), of all of them side by side.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.engine.device import Normalize, device_of
from slowfast_gta.engine.fixed_batch import in_fixed_batches
from slowfast_gta.engine.logging import Progress
from slowfast_gta.engine.outputs import side_by_side
from slowfast_gta.engine.precision import Rounding, dtype_of
from slowfast_gta.loading.batch import BadVideo
from slowfast_gta.loading.loader import ClipLoader


@dataclass
class Scores:
    """What a network said of each video. `missing` maps the id of a video that has no score to the reason."""

    video_ids: list[str]
    scores: np.ndarray  # (V, K) mean probability over views
    labels: np.ndarray  # (V,), or (V, outputs)
    num_views: int
    missing: dict[str, str] = field(default_factory=dict)
    repeated_frames: int = 0  # that did not decode; a near one was taken
    counts: dict[str, int] = field(default_factory=dict)  # what became of the videos, as batches have it
    bad_videos: list[BadVideo] = field(default_factory=list)


@torch.no_grad()
def score_videos(
    model: nn.Module,
    loader: ClipLoader,
    normalize: Normalize,
    batch_size: int,
    num_views: int,
    title: str,
    rounding: Rounding | None = None,
) -> Scores | None:
    """The scores of all videos of `loader`, gathered on the main process; None on the others. `model` stays in the mode
    it was in. `rounding`: what the precision of `model` changes, to be found out on the first batch."""
    was_training = model.training
    model.eval()
    views: dict[str, dict[int, np.ndarray]] = {}
    labels: dict[str, Any] = {}  # a number, or a list of one for each output
    bad_videos: list[BadVideo] = []
    counts: Counter[str] = Counter()
    progress = Progress(loader, len(loader), title)
    for batch in progress:
        bad_videos += batch.errors
        counts.update(batch.counts, num_alike_clips=batch.num_alike)
        if batch.frames is None:
            continue

        found = in_fixed_batches(_answer_of(model, normalize), batch.frames, batch_size)
        if rounding is not None and not rounding.is_done:
            exact = _answer_of(rounding.exact_on(model), normalize)
            rounding.compare(in_fixed_batches(exact, batch.frames, batch_size), found)
        rows = zip(batch.video_id, batch.view_id.tolist(), batch.label.tolist(), found.cpu().numpy(), strict=True)
        for video_id, view_id, label, row in rows:
            views.setdefault(video_id, {})[view_id] = row
            labels[video_id] = label
    model.train(was_training)
    scores = _gather(views, labels, bad_videos, counts, num_views)
    return scores if distributed.is_main() else None


def _answer_of(model: nn.Module, normalize: Normalize) -> Callable[[torch.Tensor], torch.Tensor]:
    """What `model` says of uint8 clips (B, 3, T, H, W), computed in the precision of its weights: float32 (B, K)."""
    device, dtype = device_of(model), dtype_of(model)

    def answer(clips: torch.Tensor) -> torch.Tensor:
        return side_by_side(model(normalize(clips.to(device, non_blocking=True)).to(dtype))).float()

    return answer


def _gather(views: dict, labels: dict, bad_videos: list[BadVideo], counts: Counter, num_views: int) -> Scores:
    """One row for each video that has all its views; what several processes have is joined, nothing counted twice."""
    all_views: dict[str, dict[int, np.ndarray]] = {}
    all_labels: dict[str, Any] = {}
    all_bad: list[BadVideo] = []
    all_counts: Counter[str] = Counter()
    for part_views, part_labels, part_bad, part_counts in distributed.gather((views, labels, bad_videos, counts)):
        for video_id, answers in part_views.items():
            all_views.setdefault(video_id, {}).update(answers)
        all_labels.update(part_labels)
        all_bad += part_bad
        all_counts.update(part_counts)
    all_missing = {bad.video_id: bad.reason for bad in all_bad}
    for video_id, answers in all_views.items():
        if len(answers) != num_views:
            all_missing.setdefault(video_id, f"only {len(answers)} of its {num_views} views were scored")
    video_ids = sorted(video_id for video_id in all_views if video_id not in all_missing)
    rows = [np.mean([answer for _, answer in sorted(all_views[video_id].items())], axis=0) for video_id in video_ids]
    return Scores(
        video_ids,
        np.stack(rows) if rows else np.zeros((0, 0), np.float32),
        np.array([all_labels[video_id] for video_id in video_ids], dtype=np.int64),
        num_views,
        all_missing,
        all_counts.pop("repeated_frames", 0),
        dict(all_counts),
        all_bad,
    )
