"""The timeline as a picture: the score over time, the shots and the sentences, the chosen ones filled."""

from collections.abc import Sequence

import cv2
import numpy as np

from a2summ.frames import VideoTimes
from a2summ.plan import Plan
from a2summ.transcript.sentences import Sentence

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _FAINT = (60, 60, 60), (205, 205, 205)  # BGR, as all colours here
_SHOT, _SENTENCE, _CURVE = (74, 140, 46), (160, 96, 34), (60, 60, 60)
_WIDTH, _LEFT, _RIGHT = 1200, 90, 20
_CURVE_TOP, _CURVE_HEIGHT, _ROW = 44, 150, 30
_MAX_LANES = 4


def draw_timeline(
    scores: np.ndarray,
    indices: np.ndarray,
    plan: Plan,
    times: VideoTimes,
    sentences: Sequence[Sentence],
    chosen_sentences: Sequence[int],
    title: str,
) -> np.ndarray:
    """uint8 (H, W, 3), BGR. `scores` (N,) are of the sampled frames `indices`; overlapping sentences get own rows."""
    lanes = _lanes(sentences)
    shots_top = _CURVE_TOP + _CURVE_HEIGHT + 16
    sentences_top = shots_top + _ROW + 12
    num_lanes = max(lanes, default=-1) + 1
    axis = sentences_top + (num_lanes * _ROW + 12 if num_lanes else 0)
    canvas = np.full((axis + 40, _WIDTH, 3), 255, np.uint8)
    bounds, duration = times.bounds_sec, times.duration_sec

    def x_of(seconds: float) -> int:
        return _LEFT + round((_WIDTH - _LEFT - _RIGHT) * min(max(seconds / duration, 0.0), 1.0))

    cv2.putText(canvas, _printable(title), (_LEFT, 24), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    for first, stop in plan.chosen:  # a band behind everything
        low, high = x_of(bounds[first]), x_of(bounds[stop])
        canvas[_CURVE_TOP : shots_top + _ROW, low : max(high, low + 1)] = (226, 242, 220)
    _draw_curve(canvas, scores, [x_of(times.times_sec[index]) for index in indices], x_of(duration))
    _label(canvas, "score", _CURVE_TOP + _CURVE_HEIGHT // 2)
    _label(canvas, "shots", shots_top + _ROW // 2)
    for first, stop in plan.shots:
        _box(canvas, x_of(bounds[first]), x_of(bounds[stop]), shots_top, None)
    for first, stop in plan.chosen:
        _box(canvas, x_of(bounds[first]), x_of(bounds[stop]), shots_top, _SHOT)
    if num_lanes:
        _label(canvas, "sentences", sentences_top + num_lanes * _ROW // 2)
    for number, (sentence, lane) in enumerate(zip(sentences, lanes, strict=True)):
        colour = _SENTENCE if number in chosen_sentences else None
        _box(canvas, x_of(sentence.start_sec), x_of(sentence.stop_sec), sentences_top + lane * _ROW, colour)
    _draw_axis(canvas, duration, axis, x_of)
    return canvas


def _lanes(sentences: Sequence[Sentence]) -> list[int]:
    """The row of each sentence, so that none covers another as long as the rows last."""
    free_from: list[float] = []
    lanes = []
    for sentence in sentences:
        lane = next((i for i, end in enumerate(free_from) if end <= sentence.start_sec + 1e-6), len(free_from))
        lane = min(lane, _MAX_LANES - 1)
        free_from[lane:] = [sentence.stop_sec, *free_from[lane + 1 :]]
        lanes.append(lane)
    return lanes


def _draw_curve(canvas: np.ndarray, scores: np.ndarray, columns: list[int], end: int) -> None:
    """Steps, since a score holds until the next sampled frame; from 0 to the largest score."""
    top = max(float(np.max(scores)), 1e-9)
    heights = [_CURVE_TOP + round(_CURVE_HEIGHT * (1 - max(float(score), 0.0) / top)) for score in scores]
    points = []
    for column, stop, y in zip(columns, [*columns[1:], end], heights, strict=True):
        points += [(column, y), (stop, y)]
    cv2.line(canvas, (_LEFT, _CURVE_TOP + _CURVE_HEIGHT), (end, _CURVE_TOP + _CURVE_HEIGHT), _FAINT, 1)
    cv2.polylines(canvas, [np.array(points, np.int32)], False, _CURVE, 1, cv2.LINE_AA)
    cv2.putText(canvas, f"{top:.2f}", (_LEFT - 40, _CURVE_TOP + 8), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
    cv2.putText(canvas, "0", (_LEFT - 16, _CURVE_TOP + _CURVE_HEIGHT + 4), _FONT, 0.4, _INK, 1, cv2.LINE_AA)


def _box(canvas: np.ndarray, left: int, right: int, top: int, colour: tuple[int, int, int] | None) -> None:
    corners = (left, top + 3), (max(right - 1, left + 1), top + _ROW - 3)
    if colour is not None:
        cv2.rectangle(canvas, *corners, colour, -1)
    cv2.rectangle(canvas, *corners, (150, 150, 150), 1)


def _label(canvas: np.ndarray, text: str, y: int) -> None:
    cv2.putText(canvas, text, (8, y + 4), _FONT, 0.45, _INK, 1, cv2.LINE_AA)


def _draw_axis(canvas: np.ndarray, duration: float, y: int, x_of) -> None:
    """About ten ticks at round seconds."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
    step = next((step for step in steps if duration / step <= 12), 7200)
    cv2.line(canvas, (_LEFT, y), (x_of(duration), y), _INK, 1)
    for number in range(int(duration / step + 1e-9) + 1):
        x, seconds = x_of(number * step), number * step
        cv2.line(canvas, (x, y), (x, y + 5), _INK, 1)
        minutes = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
        text = minutes if step >= 1 and duration >= 60 else f"{seconds:g} s"
        cv2.putText(canvas, text, (x - 12, y + 20), _FONT, 0.4, _INK, 1, cv2.LINE_AA)


def _printable(text: str) -> str:
    """OpenCV's letters are ASCII."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)
