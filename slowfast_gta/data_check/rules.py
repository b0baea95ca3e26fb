"""What can be wrong with a data set beyond a single video: its lists, its labels, its splits against each other.

A finding is one sentence of a kind; KINDS says of each kind whether it is a fault, and what to do about it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from slowfast_gta.datasets.records import VideoDataset, VideoRecord
from slowfast_gta.errors import counted

Records = dict[str, Sequence[VideoRecord]]  # by split
Facts = Callable[[VideoRecord], dict]  # what `examine` found out about its video


@dataclass(frozen=True)
class Finding:
    kind: str
    split: str  # "" where it is about all of them
    message: str
    videos: tuple[tuple[str, str], ...] = ()  # (split, video id): lists without these are without this fault


@dataclass(frozen=True)
class Kind:
    is_fault: bool  # else a remark, that leaves the data set clean
    advice: str


KINDS = {
    "list": Kind(True, "Correct the list, or the key that says how to read it; until then its videos are not checked."),
    "classes": Kind(True, "Set MODEL.NUM_CLASSES to the number of classes of the data set."),
    "label": Kind(True, "Correct the list, or MODEL.NUM_CLASSES."),
    "missing": Kind(True, "Fetch the videos, or remove their lines; DATA.PATH_PREFIX says where they are."),
    "unreadable": Kind(True, "Fetch or convert them again, or remove their lines; DATA.ON_ERROR skip leaves them out."),
    "hangs or crashes": Kind(
        True, "Convert them again or remove their lines: they would hang or crash a training too."
    ),
    "frame sizes": Kind(True, "Extract or convert them again."),
    "frame count": Kind(True, "Correct the list, or extract the frames again: another FFmpeg may give other counts."),
    "in two splits": Kind(True, "Remove them from one of the splits: they would be tested on what was trained on."),
    "two labels": Kind(True, "Keep the right one of the lines."),
    "label order": Kind(True, "Weights trained on the official order would score near zero: see DATA.LABEL_ORDER."),
    "class without videos": Kind(False, "Such a class cannot be learned, or not be tested."),
    "twice": Kind(False, "They count twice; remove one of the lines."),
    "replaced frames": Kind(False, "Frames that are missing or do not decode; the nearest one is used."),
    "short": Kind(
        False, "Frames are repeated to fill the clip: fewer DATA.NUM_FRAMES, or a smaller DATA.SAMPLING_RATE."
    ),
    "numbers left out": Kind(
        False, "Frames have been lost, if every one was extracted: fetch or extract these videos again."
    ),
    "sizes of videos": Kind(False, "Every video is resized as it is read; prepare_data.py resize would do it once."),
    "official size": Kind(False, "Results are comparable with published ones only on the same videos."),
}

# Videos of the data sets as published. Something-Something: confirmed by others who counted the files. Kinetics,
# EgoGesture, EPIC: from their papers and pages, as remembered; Kinetics has lost videos ever since.
_KINETICS = {
    400: {"train": 246_245, "val": 20_000, "test": 40_000},
    600: {"train": 392_622, "val": 30_000, "test": 60_000},
    700: {"train": 545_317, "val": 35_000, "test": 70_000},
}
_OFFICIAL: dict[str, Any] = {
    "SSv1": {174: {"train": 86_017, "val": 11_522, "test": 11_522}},
    "SSv2": {174: {"train": 168_913, "val": 24_777, "test": 24_777}},
    "Kinetics": _KINETICS,
    "EgoGesture": {83: {"train": 14_416, "val": 4_768, "test": 4_977}},
    "EPIC": {(97, 300): {"train": 67_217, "val": 9_668, "test": 9_668}},
}
# Classes that are each other's mirror image, by their official numbers; another order has them elsewhere.
_MIRROR_PAIRS = {("SSv1", "file"): {(2, 4), (30, 41), (52, 66)}, ("SSv2", "file"): {(86, 87), (93, 94), (166, 167)}}


def num_classes_of(dataset: VideoDataset) -> int | tuple[int, ...]:
    names = dataset.class_names()
    return tuple(map(len, names.values())) if isinstance(names, dict) else len(names)


def official_size(dataset: VideoDataset, split: str) -> int | None:
    """How many videos `split` ("val, test": one list for both) has as published; None where that is not known."""
    sizes = _OFFICIAL.get(type(dataset).__name__, {}).get(num_classes_of(dataset), {})
    return sizes.get(split.partition(",")[0])


def label_findings(dataset: VideoDataset, split: str, records: Sequence[VideoRecord]) -> Iterator[Finding]:
    """Labels that are no class, classes without videos."""
    sizes = num_classes_of(dataset)
    for output, size in enumerate(sizes if isinstance(sizes, tuple) else (sizes,)):
        name = f" ({dataset.outputs[output]})" if dataset.outputs else ""
        counts = Counter(
            record.label[output] if isinstance(record.label, tuple) else record.label for record in records
        )
        for label in sorted(set(counts) - set(range(size))):
            message = f"the label {label}{name} of {counted(counts[label], 'video')} is outside 0..{size - 1}."
            yield Finding("label", split, message)
        empty = [label for label in range(size) if label not in counts]
        if empty:
            some = ", ".join(map(str, empty[:5])) + (" ..." if len(empty) > 5 else "")
            yield Finding(
                "class without videos",
                split,
                f"{len(empty)} of {counted(size, 'class')}{name} without a video: {some}.",
            )


def size_findings(dataset: VideoDataset, split: str, records: Sequence[VideoRecord]) -> Iterator[Finding]:
    """How many videos the list has, against the official number."""
    official = official_size(dataset, split)
    if official and official != len(records):
        share = 100 * len(records) / official
        yield Finding(
            "official size",
            split,
            f"{counted(len(records), 'video', ',')} of {official:,} as published ({share:.1f} %).",
        )


def order_findings(dataset: VideoDataset) -> Iterator[Finding]:
    """Whether the classes have their official numbers, by those of the directed ones."""
    official = _MIRROR_PAIRS.get((type(dataset).__name__, getattr(dataset, "label_order", "file")))
    if official is None:
        return
    partners: Any = enumerate(dataset.mirror_labels())  # of one output: these data sets have no more
    swapped = {(label, partner) for label, partner in partners if partner is not None and label < partner}
    if swapped != official and len(swapped) == len(official):  # without them it is another list of classes
        names = dataset.class_names()
        what = "alphabetical" if names == sorted(names) else "another"
        shown = [
            ", ".join(f"{first_label}/{other}" for first_label, other in sorted(pairs)) or "none"
            for pairs in (swapped, official)
        ]
        message = f"the order of the classes is {what}: left and right are {shown[0]}, officially {shown[1]}."
        yield Finding("label order", "", message)


def pair_findings(splits: Records, facts: Facts) -> Iterator[Finding]:
    """The same video in two splits, or twice in one: by id, by path, by content."""
    for first, second in combinations(splits, 2):
        for same, ids in _same(splits[first], splits[second], facts):  # what is tested stays as it is
            yield Finding("in two splits", f"{first} and {second}", same, tuple((first, video_id) for video_id in ids))
    for split, records in splits.items():
        by_digest = defaultdict(list)
        for record in records:
            if digest := facts(record).get("digest"):
                by_digest[digest].append(record)
        for same in by_digest.values():
            if len(same) > 1:
                of_labels = {record.label: record for record in reversed(same)}  # the first of each
                kind, shown = ("two labels", [*of_labels.values()][::-1]) if len(of_labels) > 1 else ("twice", same)
                names = " and ".join(f"{record.video_id} (label {record.label})" for record in shown[:3])
                videos = tuple((split, record.video_id) for record in same)  # which label is right is not known
                yield Finding(kind, split, f"{names} have the same content.", videos)


def _same(first: Sequence[VideoRecord], second: Sequence[VideoRecord], facts: Facts) -> Iterator[tuple[str, list[str]]]:
    """(sentence, ids in `first`) of the videos of `second` that are in `first` too, one for each video."""
    ids = {record.video_id for record in first}
    paths = defaultdict(list)
    contents = defaultdict(list)
    for record in first:
        paths[record.path, record.span].append(record.video_id)
        contents[facts(record).get("digest")].append(record.video_id)
    contents[None] = []
    for record in second:
        twins = contents.get(facts(record).get("digest"), [])
        if same := paths.get((record.path, record.span)):
            yield f"{record.path} is listed in both.", same + twins
        elif record.video_id in ids:
            yield f"the id {record.video_id} is listed in both.", [record.video_id, *twins]
        elif twins:
            yield f"{record.video_id} has the same content as {twins[-1]}.", twins


def video_findings(
    split: str, records: Sequence[VideoRecord], facts: Facts, clip_frames: Callable
) -> Iterator[Finding]:
    """What examining the videos has shown. `clip_frames(fps)`: frames of a video that a clip spans."""
    sizes: Counter[tuple[int, int]] = Counter()
    for record in records:
        known = facts(record)
        if known.get("kind"):
            yield Finding(known["kind"], split, known["fault"], ((split, record.video_id),))
        if "num_frames" not in known:
            continue
        sizes.update(map(tuple, known["sizes"]))
        listed, num_frames = record.num_frames, known["num_frames"]
        if listed is not None and listed != num_frames:
            message = f"{record.path}: {counted(num_frames, 'frame')}; the list says {listed}."
            yield Finding("frame count", split, message, ((split, record.video_id),))
        if known["num_repeated"]:
            yield Finding("replaced frames", split, f"{record.path}: {known['num_repeated']} of the frames read.")
        if gaps := known.get("num_gaps"):
            yield Finding("numbers left out", split, f"{record.path}: {gaps} between the first and the last frame's.")
        if num_frames < (needed := clip_frames(known["fps"])):
            yield Finding("short", split, f"{record.path}: {counted(num_frames, 'frame')}; a clip spans {needed}.")
    if len(sizes) > 1:
        most = ", ".join(f"{width} x {height} ({count})" for (height, width), count in sizes.most_common(3))
        yield Finding("sizes of videos", split, f"{len(sizes)} sizes, most often {most}.")
