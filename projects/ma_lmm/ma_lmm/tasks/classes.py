"""Videos of a class, whose name is to be written: LVU, Breakfast, COIN.

LVU: {video: {subset, duration (seconds), num_frames, TASK: label, TASK_answer}}; Breakfast: {video: {duration,
frame_length, class_name, class_label}}; COIN: {video: {subset, duration, target, num_frames_actual}}.
"""

from functools import partial
from typing import Any

from ma_lmm.prompts import clean_text
from ma_lmm.tasks.samples import Sample, field_of, of_split, read_table
from ma_lmm.tasks.video_task import Source, VideoTask

LVU_TASKS = ("director", "genre", "relationship", "scene", "way_speaking", "writer", "year")
WINDOW_SEC, STRIDE_SEC = 100, 20  # LVU's samples are windows of long videos
_NUMBER = (int, float)


def lvu_task(name: str) -> VideoTask:
    return VideoTask(partial(_read_lvu, name), "exact", partial(_class_names, f"{name}_answer"))


def breakfast_task() -> VideoTask:
    prompt = "what type of breakfast is shown in the video?"
    return VideoTask(partial(_read_videos, prompt, "class_name"), "exact", partial(_class_names, "class_name"))


def coin_task() -> VideoTask:
    prompt = "what is the activity in the video?"
    return VideoTask(partial(_read_videos, prompt, "target"), "exact", partial(_class_names, "target"))


def windows(duration_sec: float) -> list[tuple[float, float]]:
    """The windows of a video, one every STRIDE_SEC that lies within it; the first always."""
    starts = range(0, max(0, int(duration_sec - WINDOW_SEC)) + 1, STRIDE_SEC)
    return [(float(start), float(start + WINDOW_SEC)) for start in starts]


def _read_lvu(name: str, source: Source, split: str) -> list[Sample]:
    path, samples = source.annotations, []
    for video, entry in of_split(path, read_table(path, "the list of videos"), split):
        if name not in entry:
            continue  # one file may hold several tasks, and not every video has a label of each
        answer = _answer(path, video, entry, f"{name}_answer")
        found, fps = source.videos.of(video)
        prompt = f"what is the {name} of the movie?"
        for start, stop in windows(field_of(path, video, entry, "duration", _NUMBER)):
            samples.append(Sample(f"{video}@{start:g}", found, prompt, (answer,), (start, stop), fps))
    return samples


def _read_videos(prompt: str, field: str, source: Source, split: str) -> list[Sample]:
    path, samples = source.annotations, []
    for video, entry in of_split(path, read_table(path, "the list of videos"), split):
        found, fps = source.videos.of(video)
        samples.append(Sample(video, found, prompt, (_answer(path, video, entry, field),), fps=fps))
    return samples


def _answer(path, video: str, entry: dict[str, Any], field: str) -> str:
    return clean_text(str(field_of(path, video, entry, field, (str, *_NUMBER))))


def _class_names(field: str, source: Source) -> list[str]:
    table = read_table(source.annotations, "the list of videos")
    return sorted({clean_text(str(entry[field])) for entry in table.values() if field in entry})
