"""Subtitle files (.srt, .vtt, .ass) and plain text (.txt) as cues: what is said, from when to when.

What is wrong with a file is repaired where everybody would repair it the same way, and every repair is counted:
cues without text, reversed or without extent, out of order, and the rolling repeats of automatic captions.
"""

import codecs
import html
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pysubs2

from slowfast_gta.errors import DataError

SUFFIXES = (".srt", ".vtt", ".ass", ".ssa", ".txt")
_MAX_BYTES = 64 * 2**20
# What pysubs2 leaves of a VTT: the times of words, and tags of classes, voices and fonts.
_TAGS = re.compile(
    r"</?(?:\d{1,2}:)?\d{2}:\d{2}[.,]\d{1,3}>|</?[cibuv](?:[.\s][^<>]*)?>|</?(?:font|ruby|rt|lang)[^<>]*>"
)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Cue:
    """Text that is shown from start_sec until stop_sec; both None where a plain text has no times."""

    text: str
    start_sec: float | None
    stop_sec: float | None


def read_cues(path: str | Path, offset_sec: float = 0.0) -> tuple[list[Cue], Counter]:
    """The cues of a file in the order of their times, `offset_sec` added, and what was repaired: {what: how many}.

    Raises DataError where the file cannot be read or holds no cue.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: a transcript must be one of {', '.join(SUFFIXES)}.")
    text, encoding = _read_text(path)
    repairs = Counter({f"read as {encoding}": 1} if encoding != "utf-8" else {})
    if path.suffix.lower() == ".txt":
        cues = [Cue(_cleaned(line), None, None) for line in text.splitlines() if _cleaned(line)]
    else:
        cues = _drop_repeats(_in_order(_parse(text, path, offset_sec), repairs), repairs)
    if not cues:
        raise DataError(
            f"{path}: the file contains no subtitles. Expected: cues with times such as 00:00:01,000 --> 00:00:03,500, "
            "or a .txt file with one sentence a line."
        )
    return cues, repairs


def _read_text(path: Path) -> tuple[str, str]:
    """The text, and the encoding it was read in: UTF-8 (with or without a mark), UTF-16 with a mark, else cp1252."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(
                f"{path}: {path.stat().st_size / 2**20:.0f} MiB is too large for a transcript; the limit is 64 MiB."
            )
        content = path.read_bytes()
    except OSError as fault:
        raise DataError(f"{path}: {fault.strerror or fault}.") from None
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for name, encoding in (("utf-16", "utf-16"),) if utf16 else (("utf-8", "utf-8-sig"), ("cp1252", "cp1252")):
        try:
            text = content.decode(encoding)
        except UnicodeError:
            continue
        if "\x00" not in text:
            return text, name
    raise DataError(f"{path}: the file is not text in UTF-8, UTF-16 or Windows-1252. Save it as UTF-8.")


def _parse(text: str, path: Path, offset_sec: float) -> list[Cue]:
    kind = {".srt": "srt", ".vtt": "vtt", ".ass": "ass", ".ssa": "ssa"}[path.suffix.lower()]
    try:
        # of an unknown tag, such as <yeast>, pysubs2 would leave nothing
        kept = {"keep_unknown_html_tags": True} if kind == "srt" else {}
        events = pysubs2.SSAFile.from_string(text, format_=kind, **kept)
    except (pysubs2.Pysubs2Error, ValueError, IndexError, KeyError, OverflowError) as fault:
        raise DataError(f"{path}: not a valid {kind} file ({type(fault).__name__}: {fault}).") from None
    return [
        Cue(_cleaned(event.plaintext), event.start / 1000 + offset_sec, event.end / 1000 + offset_sec)
        for event in events
        if not event.is_comment
    ]


def _cleaned(text: str) -> str:
    """Without tags, the word times of VTT and HTML's &amp;, in one line."""
    text = html.unescape(_TAGS.sub("", text))
    return _SPACE.sub(" ", text.replace("\u200b", "")).strip()


def _in_order(cues: list[Cue], repairs: Counter) -> list[Cue]:
    """Without empty and reversed ones and those before the video begins, by their start."""
    kept = []
    for cue in cues:
        if not cue.text:
            repairs["without text, left out"] += 1
        elif cue.stop_sec <= cue.start_sec:
            repairs["reversed or without extent, left out"] += 1
        elif cue.stop_sec <= 0:
            repairs["before the video begins, left out"] += 1
        else:
            kept.append(Cue(cue.text, max(cue.start_sec, 0.0), cue.stop_sec))
    ordered = sorted(kept, key=lambda cue: (cue.start_sec, cue.stop_sec))
    repairs["out of order, sorted"] += sum(later.start_sec < earlier.start_sec for earlier, later in pairwise(kept))
    repairs["overlapping, kept"] += sum(later.start_sec < earlier.stop_sec for earlier, later in pairwise(ordered))
    return ordered


def _drop_repeats(cues: list[Cue], repairs: Counter) -> list[Cue]:
    """Automatic captions roll: a cue begins with the words that the one before it ended with. Those words are dropped,
    and a cue that has no others only makes the one before it last longer."""
    kept: list[Cue] = []
    before: list[str] = []  # the words of the last cue, as they were shown
    for cue in cues:
        words = cue.text.split()
        near = bool(kept) and cue.start_sec <= kept[-1].stop_sec + 0.1
        shared = _overlap(before, words) if near else 0
        before = words
        if shared == len(words):
            repairs["rolling repeats, joined"] += 1
            kept[-1] = Cue(kept[-1].text, kept[-1].start_sec, max(kept[-1].stop_sec, cue.stop_sec))
        elif shared >= 3:
            repairs["rolling repeats, joined"] += 1
            kept.append(Cue(" ".join(words[shared:]), cue.start_sec, cue.stop_sec))
        else:
            kept.append(cue)
    return kept


def _overlap(before: list[str], words: list[str]) -> int:
    """The most words that `before` ends and `words` begins with."""
    most = min(len(before), len(words))
    return next((n for n in range(most, 0, -1) if before[-n:] == words[:n]), 0)
