"""EPIC-Kitchens 100: what action comes next? The official lists, EPIC_100_train.csv, EPIC_100_validation.csv, and the
lists of classes EPIC_100_verb_classes.csv, EPIC_100_noun_classes.csv beside them.

The authors released no code for it: prompt and length of the part watched are ours, and configurable in the source
below. The gap of a second before the action is the challenge's.
"""

from functools import partial
from pathlib import Path

from ma_lmm.tasks.samples import Sample
from ma_lmm.tasks.video_task import Source, VideoTask
from slowfast_gta.datasets.tables import read_rows
from slowfast_gta.errors import DataError

GAP_SEC, OBSERVED_SEC = 1.0, 60.0
PROMPTS = {
    "verb": "what will the person do next?",
    "noun": "what object will the person use next?",
    "action": "what action will the person do next?",
}
_LISTS = {"train": "EPIC_100_train.csv", "val": "EPIC_100_validation.csv", "test": "EPIC_100_validation.csv"}
_COLUMNS = ("narration_id", "participant_id", "video_id", "start_timestamp", "verb_class", "noun_class")


def anticipation_task(output: str) -> VideoTask:
    return VideoTask(partial(_read, output), "anticipation", partial(_class_names, output))


def _read(output: str, source: Source, split: str) -> list[Sample]:
    """Actions that begin too early to be preceded by anything are left out."""
    path, samples = source.annotations / _LISTS[split], []
    names = {name: _names(source.annotations, name) for name in ("verb", "noun")}
    for where, row in read_rows(path, "the list of actions", _COLUMNS):
        stop = _seconds(where, row["start_timestamp"]) - GAP_SEC
        if stop <= 0:
            continue
        found, fps = source.videos.of(f"{row['participant_id']}/{row['video_id']}")
        answer = _answer(where, row, output, names)
        span = (max(0.0, stop - OBSERVED_SEC), stop)
        samples.append(Sample(row["narration_id"], found, PROMPTS[output], (answer,), span, fps))
    return samples


def _answer(where: str, row: dict[str, str], output: str, names: dict[str, dict[int, str]]) -> str:
    words = []
    for name in ("verb", "noun") if output == "action" else (output,):
        try:
            words.append(names[name][int(row[f"{name}_class"])])
        except (ValueError, KeyError):
            raise DataError(f"{where}: {name}_class {row[f'{name}_class']!r} is not in the list of classes.") from None
    return " ".join(words)


def _class_names(output: str, source: Source) -> list[str]:
    if output != "action":
        return list(_names(source.annotations, output).values())
    names = {name: _names(source.annotations, name) for name in ("verb", "noun")}
    actions = set()
    for split in ("train", "val"):
        for where, row in read_rows(source.annotations / _LISTS[split], "the list of actions", _COLUMNS):
            actions.add(_answer(where, row, output, names))
    return sorted(actions)


def _names(folder: Path, name: str) -> dict[int, str]:
    """{class: its key}; put-down and cup:coffee become words."""
    path = folder / f"EPIC_100_{name}_classes.csv"
    found = {}
    for where, row in read_rows(path, "the list of classes", ("id", "key")):
        try:
            found[int(row["id"])] = " ".join(row["key"].replace("-", " ").replace(":", " ").split())
        except ValueError:
            raise DataError(f"{where}: the id {row['id']!r} is not a number.") from None
    return found


def _seconds(where: str, text: str) -> float:
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        raise DataError(f"{where}: the time {text!r} is not hours:minutes:seconds.") from None
