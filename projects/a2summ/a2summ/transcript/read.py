"""A transcript file as the sentences of one video, and what had to be repaired or does not fit."""

from dataclasses import dataclass, field
from pathlib import Path

from a2summ.transcript.cues import read_cues
from a2summ.transcript.sentences import Sentence, sentences_of
from slowfast_gta.errors import DataError

# More than this share of the video, and this many seconds, between the two ends: a warning.
_FAR_SHARE, _FAR_SEC = 0.1, 10.0


@dataclass(frozen=True)
class Transcript:
    """The sentences of a video, in order, all of them beginning before it ends; and what is worth telling."""

    sentences: list[Sentence]
    repairs: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_transcript(path: str | Path, duration_sec: float, offset_sec: float = 0.0) -> Transcript:
    """Raises DataError when nothing of the transcript lies in the video, or it is far from being this video's."""
    cues, repairs = read_cues(path, offset_sec)
    if cues[0].start_sec is None:
        note = f"{path}: plain text has no times; its sentences were spread evenly over the video."
        return Transcript(sentences_of(cues, duration_sec), dict(+repairs), [note])
    end_sec = max(cue.stop_sec for cue in cues)
    inside = [cue for cue in cues if cue.start_sec < duration_sec]
    late = len(cues) - len(inside)
    if late > len(cues) / 3 or not inside:
        raise DataError(
            f"{path}: subtitles that begin after the end of the video: {late} of {len(cues)}. The transcript "
            f"ends at {end_sec:.1f} s, and the video at {duration_sec:.1f} s. Is it of another video? Shift a "
            "transcript by --offset SECONDS (negative: earlier)."
        )
    repairs["after the end of the video, left out"] += late
    return Transcript(sentences_of(inside, duration_sec), dict(+repairs), _warnings(path, end_sec, duration_sec))


def _warnings(path: str | Path, end_sec: float, duration_sec: float) -> list[str]:
    apart = abs(end_sec - duration_sec)
    if apart <= max(_FAR_SEC, _FAR_SHARE * duration_sec):
        return []
    return [f"{path}: the last subtitle ends at {end_sec:.1f} s and the video at {duration_sec:.1f} s. Check --offset."]
