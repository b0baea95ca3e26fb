"""Annotations and features joined: which videos are trained on and tested on, and what had to be left out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from slowfast_gta.datasets.folders import VIDEO_SUFFIXES
from slowfast_gta.errors import DataError, counted
from slowfast_gta.pickles import load_object_array

from .annotations import Annotation, class_names, instance, read_activitynet_json
from .features import Features, FeatureSource, NpyFolders, ObjectArrayFeatures
from .segments import Segments


@dataclass
class VideoSet:
    """Videos of one split that have features. `missing`: annotated ones without; their instances are counted."""

    name: str
    classes: list[str]
    videos: list[Annotation]
    source: FeatureSource
    missing: list[Annotation] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.videos)

    def features(self, index: int) -> Features:
        """Read from disk."""
        return self.source.load(self.videos[index].video)

    def labels(self) -> np.ndarray:
        """(V, K) float32: 1 for each class that a video shows."""
        index = {name: i for i, name in enumerate(self.classes)}
        table = np.zeros((len(self.videos), len(self.classes)), np.float32)
        for row, annotation in enumerate(self.videos):
            table[row, [index[label] for label in annotation.labels]] = 1
        return table

    def truth(self, with_missing: bool = False) -> dict[str, Segments]:
        """{video: instances}; `with_missing` counts videos without features too, as ASM-Loc's evaluator does."""
        videos = self.videos + (self.missing if with_missing else [])
        return {annotation.video: annotation.segments(self.classes) for annotation in videos}

    def counts(self) -> dict[str, int]:
        """What was found and what is missing, for the log and results.json."""
        return {
            "num_videos": len(self.videos),
            "num_instances": sum(len(a.instances) for a in self.videos),
            "num_videos_without_features": len(self.missing),
            "num_instances_without_features": sum(len(a.instances) for a in self.missing),
        }

    def summary(self) -> str:
        """`counts` as a sentence."""
        n = self.counts()
        text = f"{self.name}: {counted(n['num_videos'], 'video')}"
        if n["num_instances"]:
            text += f", {counted(n['num_instances'], 'instance')}"
        if self.missing:
            named = ", ".join(a.video for a in self.missing[:3]) + (", ..." if len(self.missing) > 3 else "")
            lacking, more = n["num_videos_without_features"], n["num_instances_without_features"]
            text += f"; {counted(lacking, 'annotated video')} without features ({named})"
            total = n["num_instances"] + more
            text += (
                f" with {more} more: mAP is reported over {n['num_instances']} and over {counted(total, 'instance')}"
                if more
                else ", left out"
            )
        return text + "."


def join(
    name: str,
    annotations: Iterable[Annotation],
    source: FeatureSource,
    classes: list[str],
    listed: list[str] | None = None,
) -> VideoSet:
    """Those of `annotations` that have features and, where `listed` is given, are in that list.

    A listed video without features or without annotation is an error; an annotated one that is not listed or has no
    features goes to `missing`.
    """
    annotations = list(annotations)
    have, by_name = set(source.videos()), {a.video: a for a in annotations}
    if listed is not None:
        for video in listed:
            if video not in by_name:
                raise DataError(f"{name}: {video} is in the list of the split, but not annotated.")
            if video not in have:
                raise DataError(f"{name}: {video} is in the list of the split, but has no features.")
    chosen = set(have if listed is None else listed)
    order = [by_name[v] for v in listed] if listed is not None else [a for a in annotations if a.video in chosen]
    known = set(classes)
    for annotation in order:
        unknown = [label for label in annotation.labels if label not in known]
        if unknown:
            raise DataError(
                f'{name}: {annotation.video} has the label "{unknown[0]}", not one of the classes ({len(known)}).'
            )
    missing = [a for a in annotations if a.video not in chosen and set(a.labels) <= known]
    if not order:
        annotated, present = next(iter(by_name), "nothing"), next(iter(sorted(have)), "nothing")
        raise DataError(
            f"{name}: no annotated video has features (of {len(annotations)}). For example, "
            f"{annotated} is annotated; there are features of {present}."
        )
    return VideoSet(name, classes, order, source, missing)


def for_training(videos: VideoSet) -> VideoSet:
    """The same without a single instance: training reads labels only, and cannot read more. All must have a label."""
    for annotation in videos.videos:
        if not annotation.labels:
            raise DataError(f"{videos.name}: {annotation.video} has no label; a training video needs at least one.")
    have, missing = (
        [Annotation(a.video, a.subset, a.labels) for a in part] for part in (videos.videos, videos.missing)
    )
    return VideoSet(videos.name, videos.classes, have, videos.source, missing)


def named_as_features(annotations: Iterable[Annotation], source: FeatureSource) -> list[Annotation]:
    """The same, but "run.mp4" is called "run" where the features are: extraction leaves suffixes out."""
    have = set(source.videos())

    def named(annotation: Annotation) -> Annotation:
        path = PurePosixPath(annotation.video.replace("\\", "/"))
        short = str(path.with_suffix("")) if path.suffix.lower() in VIDEO_SUFFIXES else annotation.video
        return annotation if annotation.video in have or short not in have else replace(annotation, video=short)

    return [named(annotation) for annotation in annotations]


def split_off(videos: VideoSet, share: float, seed: int) -> tuple[VideoSet, VideoSet]:
    """(rest, held out): `share` of the videos, drawn by `seed`, for choosing a model without the test set."""
    num = round(share * len(videos))
    if not 0 < num < len(videos):
        raise DataError(
            f"{videos.name}: a share of {share} of {counted(len(videos), 'video')} leaves one of the two parts empty."
        )
    drawn = set(np.random.default_rng(seed).permutation(len(videos))[:num].tolist())
    parts = [[a for i, a in enumerate(videos.videos) if (i in drawn) == out] for out in (False, True)]
    rest = VideoSet(videos.name, videos.classes, parts[0], videos.source, videos.missing)
    return rest, VideoSet(f"{videos.name}, held out", videos.classes, parts[1], videos.source)


def read_list(path: Path) -> list[str]:
    """One video a line, each once."""
    try:
        videos = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8: {error}. It must name one video per line.") from None
    twice = next((video for video, num in Counter(videos).items() if num > 1), None)
    if twice is not None:
        raise DataError(
            f"{path} lists {twice} more than once, so it would count more than others. Remove the repetition."
        )
    return videos


def acmnet_pack(
    folder: Path, sec_per_snippet: float, subsets: dict[str, str], annotation_file: Path | None = None
) -> dict[str, VideoSet]:
    """{"train": ..., "test": ...} of ACM-Net's layout: gt.json, split_{train,test}.txt, {train,test}/ID.npy.

    `subsets`: what gt.json calls the two ({"train": "validation", "test": "test"} in THUMOS-14); `annotation_file`:
    read instead of the pack's gt.json (BaS-Net's, which lacks the videos that are excluded).
    """
    annotations = read_activitynet_json(annotation_file or folder / "gt.json")
    classes, sets = class_names(annotations), {}
    for split, subset in subsets.items():
        own = [a for a in annotations.values() if a.subset == subset]
        source = NpyFolders((folder / split,), sec_per_snippet)
        sets[split] = join(split, own, source, classes, read_list(folder / f"split_{split}.txt"))
    return sets


_LISTS = ("labels", "segments", "labels_all")  # of each video
ANNOTATION_ARRAYS = ("classlist", "videoname", "subset", "labels", "labels_all", "segments")


def wtalc_pack(features: Path, folder: Path, sec_per_snippet: float, subsets: dict[str, str]) -> dict[str, VideoSet]:
    """W-TALC's and CO2-Net's layout: one object array of features and a folder of annotation arrays.

    extracted_fps.npy is not read: it says 10 where the features have another rate.
    """
    files = {name: folder / f"{name}.npy" for name in ANNOTATION_ARRAYS}
    arrays = {name: load_object_array(file) for name, file in files.items()}
    of_all = ("classlist", "videoname", "subset")
    text = {name: [_text(v, files[name]) for v in arrays[name].reshape(-1)] for name in of_all}
    num = len(text["videoname"])
    for name in ("subset", "labels", "labels_all", "segments"):
        if arrays[name].ndim == 0 or len(arrays[name]) != num:
            raise DataError(f"{folder / name}.npy has the shape {arrays[name].shape}, for {counted(num, 'video')}.")
    annotations = []
    for i, video in enumerate(text["videoname"]):
        names, segments, all_names = (_listed(folder, name, arrays[name][i]) for name in _LISTS)
        if len(names) != len(segments):
            raise DataError(
                f"{files['labels']}: {video} has {counted(len(names), 'label')} for "
                f"{counted(len(segments), 'segment')} of segments.npy."
            )
        instances = tuple(
            instance(files["segments"], video, _text(name, files["labels"]), segment)
            for name, segment in zip(names, segments, strict=True)
        )
        labels = tuple(dict.fromkeys(_text(name, files["labels_all"]) for name in all_names))
        annotations.append(Annotation(video, text["subset"][i], labels, instances))
    source = ObjectArrayFeatures(features, text["videoname"], sec_per_snippet)
    classes = sorted(text["classlist"])
    return {
        split: join(split, [a for a in annotations if a.subset == s], source, classes) for split, s in subsets.items()
    }


def _listed(folder: Path, name: str, value: object) -> list:
    """What an annotation array lists of one video."""
    if not isinstance(value, list | tuple) and not (isinstance(value, np.ndarray) and value.ndim):
        raise DataError(f"{folder / name}.npy: expected a list for each video, found {type(value).__name__}.")
    return list(value)


def _text(value: object, file: Path) -> str:
    """W-TALC's strings are bytes (S17). Raises DataError for what is no text: a list can stand for 10 ** 14 letters."""
    if not isinstance(value, bytes | str | int | float | np.generic):
        raise DataError(f"{file}: names and labels must be text, found {type(value).__name__}.")
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except ValueError as fault:
        raise DataError(f"{file}: names and labels must be UTF-8 text ({fault}).") from None
