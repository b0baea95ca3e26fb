"""Cues are not sentences: they are joined until a sentence ends, and a sentence gets the frames of its time.

T frame, M sentence.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from a2summ.transcript.cues import Cue

MAX_PAUSE_SEC = 1.5
MAX_WORDS = 30
_END = re.compile(r"(?<=[.?!…])[\"'»”’)\]]*\s+(?=[\"'«“‘(\[¿¡]*[A-ZÀ-Þ0-9])")
_ENDS = re.compile(r"[.?!…][\"'»”’)\]]*$")


@dataclass(frozen=True)
class Sentence:
    """What is said from start_sec until stop_sec."""

    text: str
    start_sec: float
    stop_sec: float


def sentences_of(cues: Sequence[Cue], duration_sec: float) -> list[Sentence]:
    """Cues with times are joined until . ? or !, a pause of more than 1.5 s, or 30 words; a sentence lasts from its
    first cue's start to its last cue's stop. A cue that holds the end of one sentence and the start of the next is
    divided by the number of letters. Cues without times (.txt) are spread evenly over `duration_sec`.
    """
    if cues and cues[0].start_sec is None:
        parts = [part for cue in cues for part in _END.split(cue.text)]
        bounds = np.linspace(0.0, duration_sec, len(parts) + 1)
        return [Sentence(part, *map(float, bounds[i : i + 2])) for i, part in enumerate(parts)]
    sentences: list[Sentence] = []
    open_parts: list[Cue] = []

    def close() -> None:
        if open_parts:
            text = " ".join(part.text for part in open_parts)
            sentences.append(Sentence(text, open_parts[0].start_sec, max(part.stop_sec for part in open_parts)))
            open_parts.clear()

    for part in (part for cue in cues for part in _divided(cue)):
        num_words = sum(len(one.text.split()) for one in open_parts)
        if open_parts and (
            part.start_sec - open_parts[-1].stop_sec > MAX_PAUSE_SEC or num_words + len(part.text.split()) > MAX_WORDS
        ):
            close()
        open_parts.append(part)
        if _ENDS.search(part.text):
            close()
    close()
    return sentences


def _divided(cue: Cue) -> list[Cue]:
    """A cue at the ends of its sentences, its time divided by the number of letters."""
    parts = _END.split(cue.text)
    if len(parts) == 1:
        return [cue]
    lengths = np.cumsum([0] + [len(part) for part in parts])
    times = cue.start_sec + (cue.stop_sec - cue.start_sec) * lengths / lengths[-1]
    return [Cue(part, float(times[i]), float(times[i + 1])) for i, part in enumerate(parts)]


def spans_of(sentences: Sequence[Sentence], times_sec: np.ndarray) -> np.ndarray:
    """int64 (M, 2): frame t belongs to a sentence when start <= times_sec[t] < stop. `times_sec` (T,) ascends.

    A sentence between two frames gets the nearest one.
    """
    starts = np.searchsorted(times_sec, [sentence.start_sec for sentence in sentences], side="left")
    stops = np.searchsorted(times_sec, [sentence.stop_sec for sentence in sentences], side="left")
    spans = np.stack([starts, stops], axis=1).astype(np.int64).reshape(-1, 2)
    for row in np.flatnonzero(spans[:, 0] >= spans[:, 1]):
        middle = (sentences[row].start_sec + sentences[row].stop_sec) / 2
        nearest = int(np.abs(times_sec - middle).argmin())
        spans[row] = nearest, nearest + 1
    return spans
