"""Captions: MSRVTT, MSVD, YouCook2.

{id: {caption, video, frame_length}}; YouCook2 adds segment, start_time, end_time (seconds). References for testing in
COCO's format, {images: [{id}], annotations: [{image_id, caption, id}]}, else the captions of the list itself.
"""

from collections import defaultdict
from functools import partial
from pathlib import Path

from ma_lmm.prompts import clean_text
from ma_lmm.tasks.samples import Sample, field_of, of_split, read_json, read_table
from ma_lmm.tasks.video_task import Source, VideoTask
from slowfast_gta.errors import DataError

PROMPT = "what does the video describe?"
_NUMBER = (int, float)


def caption_task(segments: bool = False) -> VideoTask:
    return VideoTask(partial(_read, segments), "captions", index_rule="floor" if segments else "round")


def _read(segments: bool, source: Source, split: str) -> list[Sample]:
    """In training a sample for every caption; in testing one for every video or segment, with all its references."""
    path = source.annotations
    entries = list(of_split(path, read_table(path, "the list of captions"), split))
    captions: dict[str, list[str]] = defaultdict(list)
    for name, entry in entries:
        captions[_clip(path, name, entry, segments)].append(field_of(path, name, entry, "caption", str))
    references = read_references(source.references) if source.references and split != "train" else None
    samples, seen = [], set()
    for name, entry in entries:
        clip = _clip(path, name, entry, segments)
        if split != "train" and clip in seen:
            continue
        seen.add(clip)
        found, fps = source.videos.of(field_of(path, name, entry, "video", str))
        span = None
        if segments:
            span = tuple(float(field_of(path, name, entry, field, _NUMBER)) for field in ("start_time", "end_time"))
        if split == "train":
            samples.append(Sample(name, found, PROMPT, (clean_text(entry["caption"]),), span, fps))
        else:
            right = (
                captions[clip] if references is None else _references(references, (name, clip, entry["video"]), path)
            )
            samples.append(Sample(clip, found, PROMPT, tuple(right), span, fps))
    return samples


def read_references(path: Path) -> dict[str, list[str]]:
    """{image_id: captions} of a file in COCO's format."""
    content = read_json(path, "the file of reference captions")
    found: dict[str, list[str]] = defaultdict(list)
    try:
        for annotation in content["annotations"]:
            found[str(annotation["image_id"])].append(str(annotation["caption"]))
    except (KeyError, TypeError):
        raise DataError(
            f"{path}: it must have the format of COCO's captions: annotations, a list of objects with image_id "
            "and caption."
        ) from None
    return found


def _clip(path: Path, name: str, entry: dict, segments: bool) -> str:
    video = field_of(path, name, entry, "video", str)
    return f"{video}@{field_of(path, name, entry, 'segment', (str, int))}" if segments else video


def _references(references: dict[str, list[str]], names: tuple[str, ...], path: Path) -> list[str]:
    for name in names:
        if name in references:
            return references[name]
    raise DataError(f"{path}: {names[0]!r} has no reference caption, under none of {', '.join(map(repr, names))}.")
