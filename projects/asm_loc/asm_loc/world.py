"""A synthetic world of features in which multiple-instance learning is incomplete and misses short actions.

Each class has a core (the middle 40 % of an action) and a scene (faintly present in the whole video); the rest of an
action looks like one of three edges, which classes share. Learning from video labels alone finds cores, and skips short
actions, which are weak. No file is needed: a world is a pure function of its number.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .annotations import Annotation, Instance
from .datasets import VideoSet
from .features import Features
from .timeline import Timeline

SUB_STEPS = 8  # of a snippet: actions start and end inside of snippets
SEC_PER_SNIPPET = 0.5
NUM_EDGES, NUM_BACKGROUNDS = 3, 12
MAX_ACTIONS = 5  # of a video, as many of them as there is room for


@dataclass(frozen=True)
class WorldSizes:
    dim: int = 96
    num_classes: int = 10
    num_train: int = 200
    num_test: int = 50


@dataclass(frozen=True)
class _Directions:
    """Unit vectors (n, C)."""

    core: np.ndarray
    scene: np.ndarray
    edge: np.ndarray
    background: np.ndarray


class InMemory:
    """A FeatureSource of arrays."""

    def __init__(self, features: dict[str, Features]) -> None:
        self._features = features

    def videos(self) -> list[str]:
        return sorted(self._features)

    def load(self, video: str) -> Features:
        return self._features[video]

    def describe(self) -> dict[str, object]:
        return {"sec_per_snippet": SEC_PER_SNIPPET}


def make_world(number: int, sizes: WorldSizes | None = None) -> tuple[VideoSet, VideoSet, dict[str, np.ndarray]]:
    """(training videos, test videos, {test video: which of its instances are short})."""
    sizes = sizes or WorldSizes()
    rng = np.random.default_rng([number, 14])
    directions = _Directions(
        *(_unit(rng, n, sizes.dim) for n in (sizes.num_classes, sizes.num_classes, NUM_EDGES, NUM_BACKGROUNDS))
    )
    classes = [f"action{c:02d}" for c in range(sizes.num_classes)]
    sets, short = [], {}
    for split, num in (("train", sizes.num_train), ("test", sizes.num_test)):
        features, annotations = {}, []
        for i in range(num):
            name = f"{split}_{i:04d}"
            features[name], annotation, is_short = _video(rng, name, split, directions, classes)
            annotations.append(annotation)
            if split == "test":
                short[name] = is_short
        sets.append(VideoSet(split, classes, annotations, InMemory(features)))
    return sets[0], sets[1], short


def _unit(rng: np.random.Generator, num: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((num, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _video(
    rng: np.random.Generator, name: str, split: str, directions: _Directions, classes: list[str]
) -> tuple[Features, Annotation, np.ndarray]:
    num_snippets = int(rng.integers(45, 100))
    shown = rng.choice(len(classes), size=2 if rng.random() < 0.2 else 1, replace=False)
    background = _background(rng, num_snippets, directions, shown)
    signal, instances, short = background.copy(), [], []
    at = 0.0
    for order in range(MAX_ACTIONS):
        is_short = rng.random() < 0.6
        at += rng.uniform(2, 14) if is_short else rng.uniform(5, 20)
        length = rng.uniform(1.5, 4) if is_short else rng.uniform(10, 26)
        if at + length > num_snippets and instances:
            break
        length = min(length, num_snippets - at)
        label = int(shown[order % len(shown)])
        _act(signal, background, at, at + length, label, 0.5 if is_short else 1.0, directions)
        instances.append(Instance(classes[label], at * SEC_PER_SNIPPET, (at + length) * SEC_PER_SNIPPET))
        short.append(is_short)
        at += length
    rows = signal.reshape(num_snippets, SUB_STEPS, -1).mean(1) + rng.normal(0, 0.2, (num_snippets, signal.shape[1]))
    labels = tuple(dict.fromkeys(i.label for i in instances))
    features = Features(rows.astype(np.float32), Timeline.uniform(num_snippets, SEC_PER_SNIPPET))
    return features, Annotation(name, split, labels, tuple(instances)), np.array(short)


def _background(rng: np.random.Generator, num_snippets: int, directions: _Directions, shown: np.ndarray) -> np.ndarray:
    """(T * SUB_STEPS, C): pieces of changing background, with the scene of the video's classes throughout."""
    pieces: list[np.ndarray] = []
    total = 0
    while total < num_snippets:
        length = int(rng.integers(8, 30))
        pieces.append(np.repeat(directions.background[rng.integers(NUM_BACKGROUNDS)][None], length * SUB_STEPS, axis=0))
        total += length
    background = 0.7 * np.concatenate(pieces)[: num_snippets * SUB_STEPS]
    return background + 0.35 * directions.scene[shown].mean(0)


def _act(
    signal: np.ndarray, background: np.ndarray, start: float, end: float, label: int, amplitude: float, d: _Directions
) -> None:
    """Write one action (snippet coordinates) into `signal`, sub-step by sub-step."""
    centre = (np.arange(len(signal)) + 0.5) / SUB_STEPS
    share = (centre - start) / (end - start)
    inside, middle = (share >= 0) & (share < 1), np.abs(share - 0.5) < 0.2
    edge = 0.12 * d.core[label] + 0.8 * d.edge[label % NUM_EDGES]
    signal[inside] = background[inside] / 2 + 1.9 * amplitude * np.where(middle[inside, None], d.core[label], edge)


def write_pack(number: int, folder: Path, sizes: WorldSizes | None = None) -> None:
    """The world as files in ACM-Net's layout; its classes are those of gt.json."""
    train, test, _ = make_world(number, sizes)
    database = {}
    for split, videos, subset in (("train", train, "validation"), ("test", test, "test")):
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / f"split_{split}.txt").write_text("".join(f"{a.video}\n" for a in videos.videos), encoding="utf-8")
        for index, annotation in enumerate(videos.videos):
            np.save(folder / split / f"{annotation.video}.npy", videos.features(index).rows)
            listed = [{"segment": [i.start, i.end], "label": i.label} for i in annotation.instances]
            database[annotation.video] = {"subset": subset, "annotations": listed}
    text = json.dumps({"version": f"world {number}", "taxonomy": [], "database": database})
    (folder / "gt.json").write_text(text, encoding="utf-8")
