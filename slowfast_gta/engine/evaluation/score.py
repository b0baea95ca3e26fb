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
from slowfast_gta.engine.device import Normalize, device_of, search_convolutions
from slowfast_gta.engine.fixed_batch import in_fixed_batches
from slowfast_gta.engine.logging import Progress
from slowfast_gta.engine.outputs import concat_heads
from slowfast_gta.engine.precision import Rounding, dtype_of
from slowfast_gta.loading.batch import BadVideo
from slowfast_gta.loading.loader import ClipLoader


@dataclass
class Scores:
    """Per-video scores, averaged over views. `missing` maps the id of a video that has no score to the reason."""

    video_ids: list[str]
    scores: np.ndarray  # (V, K) mean probability over views
    labels: np.ndarray  # (V,), or (V, outputs)
    num_views: int
    missing: dict[str, str] = field(default_factory=dict)
    repeated_frames: int = 0  # that could not be decoded; the nearest decoded frame was used
    counts: dict[str, int] = field(default_factory=dict)  # what became of the videos, as batches have it
    bad_videos: list[BadVideo] = field(default_factory=list)


@dataclass
class _Found:
    """What one process has so far: the mean of a video's views as soon as it has them all."""

    rows: dict[str, np.ndarray] = field(default_factory=dict)  # (K,)
    views: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)  # of videos that are not complete
    labels: dict[str, Any] = field(default_factory=dict)  # a number, or a list of one for each output
    bad_videos: list[BadVideo] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@torch.no_grad()
def score_videos(
    model: nn.Module,
    loader: ClipLoader,
    normalize: Normalize,
    batch_size: int,
    num_views: int,
    title: str,
    rounding: Rounding | None = None,
    backwards: bool = False,
) -> Scores | None:
    """The scores of all videos of `loader`, gathered on the main process; None on the others. `model` stays in the mode
    it was in. `rounding`: what the precision of `model` changes, to be found out on the first batch. `backwards`: the
    frames of every clip in reverse."""
    was_training = model.training
    model.eval()
    searching = search_convolutions(False)
    collected = _Found()
    progress = Progress(loader, len(loader), title)
    for batch in progress:
        collected.bad_videos += batch.errors
        collected.counts.update(batch.counts, num_alike_clips=batch.num_alike)
        if batch.frames is None:
            continue

        clips = batch.frames.flip(2) if backwards else batch.frames
        scores = in_fixed_batches(_forward_of(model, normalize), clips, batch_size)
        if rounding is not None and not rounding.is_done:
            exact = _forward_of(rounding.exact_on(model), normalize)
            rounding.compare(in_fixed_batches(exact, clips, batch_size), scores)
        rows = zip(batch.video_id, batch.view_id.tolist(), batch.label.tolist(), scores.cpu().numpy(), strict=True)
        for video_id, view_id, label, row in rows:
            if video_id not in collected.rows:
                collected.views.setdefault(video_id, {})[view_id] = row
            collected.labels[video_id] = label
        collected.rows |= _averaged(collected.views, num_views)
    model.train(was_training)
    search_convolutions(searching)
    return _gather(collected, num_views)


def _forward_of(model: nn.Module, normalize: Normalize) -> Callable[[torch.Tensor], torch.Tensor]:
    """`model` on uint8 clips (B, 3, T, H, W), computed in the precision of its weights: float32 (B, K)."""
    device, dtype = device_of(model), dtype_of(model)

    def forward(clips: torch.Tensor) -> torch.Tensor:
        return concat_heads(model(normalize(clips.to(device, non_blocking=True)).to(dtype))).float()

    return forward


def _averaged(views: dict[str, dict[int, np.ndarray]], num_views: int) -> dict[str, np.ndarray]:
    """Takes the videos that have all their views out of `views`; {video_id: the mean (K,) over them}."""
    complete = [video_id for video_id, scores in views.items() if len(scores) == num_views]
    in_order = {video_id: sorted(views.pop(video_id).items()) for video_id in complete}  # however the views came
    return {video_id: np.mean([row for _, row in scores], axis=0) for video_id, scores in in_order.items()}


def _gather(collected: _Found, num_views: int) -> Scores | None:
    """One row for each video that has all its views; what several processes have is joined, nothing counted twice.

    On the main process; None on the others.
    """
    parts: list[_Found] = distributed.gather_on_main(collected)
    if not parts:
        return None
    whole = _Found()
    for part in parts:
        for video_id, scores in part.views.items():
            whole.views.setdefault(video_id, {}).update(scores)
        whole.rows |= part.rows
        whole.labels |= part.labels
        whole.counts.update(part.counts)
        whole.bad_videos += part.bad_videos
    whole.rows |= _averaged(whole.views, num_views)
    missing = {bad.video_id: bad.reason for bad in whole.bad_videos}
    for video_id, scores in whole.views.items():
        missing.setdefault(video_id, f"views scored: only {len(scores)} of {num_views}")
    video_ids = sorted(video_id for video_id in whole.rows if video_id not in missing)
    return Scores(
        video_ids,
        np.stack([whole.rows[video_id] for video_id in video_ids]) if video_ids else np.zeros((0, 0), np.float32),
        np.array([whole.labels[video_id] for video_id in video_ids], dtype=np.int64),
        num_views,
        missing,
        whole.counts.pop("repeated_frames", 0),
        dict(whole.counts),
        whole.bad_videos,
    )
