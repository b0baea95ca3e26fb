"""What the proposals of the previous step become for the next: rows to attend to, pseudo labels, sampling weights."""

from dataclasses import dataclass

import numpy as np

from .row_map import RowMap
from .sampling import kept_for_sampling, segment_weights
from .segments import Segments
from .settings import RELEASED, Settings
from .timeline import Timeline


@dataclass(frozen=True)
class AttentionSpans:
    """First and last row of each proposal (N,), and how many proposals were left out, and why."""

    first: np.ndarray
    last: np.ndarray
    num_outside: int  # beyond the video's features
    num_over_limit: int  # more than the network takes; those of lowest score


def sampling_weights(segments: Segments, timeline: Timeline, settings: Settings) -> np.ndarray | None:
    """w (T,) of dynamic segment sampling, from all proposals of one video; None where it is switched off."""
    if not settings.dynamic_sampling:
        return None
    kept = kept_for_sampling(segments, settings.segments.keep_score)
    released = settings.options.snippet_time == RELEASED
    start, end = timeline.to_snippets(kept.start), timeline.to_snippets(kept.end)
    return segment_weights(start, end, timeline.num_snippets, settings.segments, released)


def outermost(segments: Segments) -> Segments:
    """One of each span, whatever its class, by rising start (then falling end), without those inside the last kept."""
    ranked = segments.best_first()
    _, once = np.unique(np.stack([ranked.start, -ranked.end], 1), axis=0, return_index=True)  # sorts, keeps the best
    spans, kept, reach = ranked[once], [], -np.inf
    for index, end in enumerate(spans.end):
        if end > reach:
            kept.append(index)
            reach = end
    return spans[np.array(kept, np.int64)]


def attention_spans(segments: Segments, timeline: Timeline, row_map: RowMap, settings: Settings) -> AttentionSpans:
    """The rows of the proposals for E6 and E7, widened on both sides after the map."""
    spans = outermost(segments)
    limit = settings.segments.max_proposals
    over = max(len(spans) - limit, 0)
    if over:
        spans = spans[np.sort(np.argsort(-spans.score, kind="stable")[:limit])]
    start, end = timeline.to_snippets(spans.start), timeline.to_snippets(spans.end)
    first, last = row_map.rows(start, end, settings.segments.widen)
    inside = last >= first
    return AttentionSpans(first[inside], last[inside], int((~inside).sum()), over)


def pseudo_labels(segments: Segments, timeline: Timeline, row_map: RowMap, num_classes: int) -> np.ndarray:
    """Q (R, K + 1) float32, E9: background, but the classes of the proposals (unwidened) on their rows, in equal parts.

    `segments` hold classes of the video only.
    """
    target = np.zeros((row_map.num_rows, num_classes + 1), np.float32)
    first, last = row_map.rows(timeline.to_snippets(segments.start), timeline.to_snippets(segments.end))
    for label, a, b in zip(segments.label, first, last, strict=True):
        target[a : b + 1, label] = 1
    target[:, -1] = ~target[:, :-1].any(1)
    return target / target.sum(1, keepdims=True)
