"""Key sentences and subtitles as text files."""

from collections.abc import Sequence
from pathlib import Path

import pysubs2

from a2summ.frames import VideoTimes
from a2summ.plan import Plan, summary_time
from a2summ.transcript.sentences import Sentence
from slowfast_gta.errors import RunError
from slowfast_gta.files import write_whole


def clock(seconds: float) -> str:
    """83.25 -> 0:01:23.250"""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def write_key_sentences(folder: Path, sentences: Sequence[Sentence], plan: Plan, times: VideoTimes) -> None:
    """key_sentences.txt, with the times in the original and, where it is shown, in the summary; key_sentences.srt, with
    those of the original."""
    lines = []
    for sentence in sentences:
        shown = summary_time((sentence.start_sec + sentence.stop_sec) / 2, plan, times)
        where = "not in the summary" if shown is None else f"in the summary at {clock(shown)}"
        lines.append(f"[{clock(sentence.start_sec)} - {clock(sentence.stop_sec)}, {where}] {sentence.text}")
    write_file(folder / "key_sentences.txt", "".join(line + "\n" for line in lines))
    cues = [(sentence.start_sec, sentence.stop_sec, sentence.text) for sentence in sentences]
    write_subtitles(folder / "key_sentences.srt", cues)


def summary_subtitles(sentences: Sequence[Sentence], plan: Plan, times: VideoTimes) -> list[tuple[float, float, str]]:
    """What is said in the chosen shots: (start, stop, text), in the summary's time. A shot cuts its sentences too."""
    cues, before = [], 0.0
    for first, stop in plan.chosen:
        start_sec, stop_sec = float(times.bounds_sec[first]), float(times.bounds_sec[stop])
        for sentence in sentences:
            low, high = max(sentence.start_sec, start_sec), min(sentence.stop_sec, stop_sec)
            if high - low > 0.05:
                cues.append((before + low - start_sec, before + high - start_sec, sentence.text))
        before += stop_sec - start_sec
    return cues


def write_subtitles(path: Path, cues: Sequence[tuple[float, float, str]]) -> None:
    subtitles = pysubs2.SSAFile()
    for start, stop, text in cues:
        event = pysubs2.SSAEvent(round(1000 * start), round(1000 * stop))
        event.plaintext = text
        subtitles.append(event)
    write_file(path, subtitles.to_string("srt"))


def write_file(path: Path, content: str | bytes) -> None:
    """Whole or not at all. Raises RunError."""
    try:
        write_whole(path, content)
    except OSError as fault:
        raise RunError(f"{path}: cannot be written ({fault.strerror}).") from None
