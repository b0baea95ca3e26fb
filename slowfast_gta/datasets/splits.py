"""Disjoint splits of class folders, drawn by source: clips of one recording or film are never in two splits.

The same on every machine, whatever order the videos come in; a video that is added later moves few others.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

# File names that say what a clip was cut from. UCF101 has 25 groups a class, HMDB51 begins with the film or the title
# of the upload and then says class, visible body parts, camera motion, people, viewpoint, quality and number; Kinetics
# has the id of the upload and the seconds; KTH and others begin with the person.
_TAGS = r"_[fhlu]_[cn]m_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+"
_SOURCES = (
    re.compile(r"(?i)(?P<source>.*(?<![a-z0-9])g\d+)(?![a-z0-9]).*"),
    re.compile(rf"(?P<source>.+?){_TAGS}"),
    re.compile(r"(?P<source>[\w-]{11})_\d{6}_\d{6}"),
    re.compile(r"(?i)(?P<source>(?:person|subject|actor|participant)[-_ ]?\d+)(?![0-9]).*"),
)
_HELD_OUT = ("test", "val")  # in the order in which they are drawn; the rest trains

Videos = Mapping[str, Sequence[str]]  # class -> paths


def source_of(video: str, class_name: str = "") -> str:
    """What the clip `video` was cut from, where its name says so; else its path, which no other has."""
    name = Path(video).name
    stem = name.rpartition(".")[0] or name
    for pattern in _SOURCES:
        if match := pattern.fullmatch(stem) or pattern.fullmatch(name):
            return match["source"].removesuffix(f"_{class_name}")  # HMDB51: one film has clips in several classes
    return video


def draw_splits(
    classes: Videos, val_fraction: float, test_fraction: float, seed: int
) -> dict[str, dict[str, list[str]]]:
    """{"train" | "val" | "test": {class: [path]}}, disjoint, about those parts of each class and at least one video.

    A class of fewer sources than there are splits has none in "test", or in "val" and "test" with one source. A
    fraction of 0 draws nothing.
    """
    fractions = {"test": test_fraction, "val": val_fraction}
    members: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # source -> class -> its clips
    for name, videos in classes.items():
        for video in videos:
            members[source_of(video, name)][name].append(video)
    sizes = {source: Counter({name: len(clips) for name, clips in of.items()}) for source, of in members.items()}
    rest = dict(sorted(sizes.items(), key=lambda item: _rank(item[0], seed)))
    split_of: dict[str, str] = {}
    for number, split in enumerate(_HELD_OUT):
        if fractions[split]:
            later = 1 + sum(
                fractions[other_split] > 0 for other_split in _HELD_OUT[number + 1 :]
            )  # splits that still need a source
            wanted = {name: max(1, round(len(videos) * fractions[split])) for name, videos in classes.items()}
            for source in _drawn(rest, wanted, later):
                split_of[source] = split
                del rest[source]
    splits: dict[str, dict[str, list[str]]] = {
        split: {name: [] for name in classes} for split in ("train", "val", "test")
    }
    for source, of_class in members.items():
        for name, videos in of_class.items():
            splits[split_of.get(source, "train")][name] += videos
    return {split: {name: sorted(ids_of_class) for name, ids_of_class in of.items()} for split, of in splits.items()}


def _rank(source: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{source}".encode(errors="surrogateescape")).digest()


def _drawn(sizes: Mapping[str, Counter], wanted: Mapping[str, int], later: int) -> list[str]:
    """The first sources that give each class about as many clips as it wants, and at least one.

    `sizes`: {source: clips of each class}, in the order of drawing. A class keeps `later` sources. A source is taken
    where at least half of its clips are still wanted, or a class has none yet.
    """
    left = Counter(name for size in sizes.values() for name in size)
    drawn: Counter = Counter()
    sources = []
    for source, size in sizes.items():
        useful = sum(min(count, max(0, wanted[name] - drawn[name])) for name, count in size.items())
        helps = 2 * useful >= size.total() or any(not drawn[name] for name in size)
        if useful and helps and all(left[name] > later for name in size):
            sources.append(source)
            drawn += size
            left.subtract(dict.fromkeys(size, 1))
    return sources
