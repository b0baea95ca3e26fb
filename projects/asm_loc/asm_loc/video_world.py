"""Untrimmed videos of drawn actions, for localisation end to end: real encoded files, and annotations as one's own.

The actions are Synthetic's. Half of the classes teach a network what actions look like, in trimmed videos; the other
half stand in untrimmed ones, at random times, between things that stand still or wander about. Training videos of the
second half have labels alone. A world is a pure function of its number and sizes.

    trimmed/{train,val}/CLASS/NUMBER.webm    half of the classes, for the network that makes features
    untrimmed/{train,test}/NUMBER.webm       the other half
    train.csv, test.csv                      video,label and video,label,start,end
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from slowfast_gta.datasets.synthetic.dataset import PAIRS, PRETENDED
from slowfast_gta.datasets.synthetic.encoding import CODECS, FRAMES_PER_SECOND, encode_video
from slowfast_gta.datasets.synthetic.rendering import Drawing, Scene
from slowfast_gta.errors import DataError, RunError
from slowfast_gta.files import write_whole
from slowfast_gta.processes.parallel import on_all_cores

from .annotations import Instance
from .detections import csv_text

CODEC = "vp9"
SUFFIX = f".{CODECS[CODEC][0]}"
SECOND_CLASS_PROB = 0.2  # of an untrimmed video, whose two classes then alternate
SHORT_PROB = 0.5  # of an action
SHORT_SEC, LONG_SEC, GAP_SEC, TRIMMED_SEC = (0.8, 1.5), (1.5, 3.5), (1.0, 4.0), (0.9, 3.0)


@dataclass(frozen=True)
class Action:
    """A class: a drawing whose phase goes from 0 to 1, or the same backwards, or there and back."""

    name: str
    drawing: Drawing
    backwards: bool = False
    returns: bool = False

    def phases(self, num_frames: int, generator: np.random.Generator) -> np.ndarray:
        """(F,) where the action is in each frame: moving from the first to the last, at a random, uneven speed."""
        even = np.linspace(0, 1, num_frames)
        if self.returns:
            return generator.uniform(0.45, 0.6) * (1 - np.abs(2 * even - 1))
        uneven = even + generator.uniform(-0.7, 0.7) * np.sin(2 * np.pi * even) / (2 * np.pi)
        return uneven[::-1] if self.backwards else uneven


def halves() -> tuple[list[Action], list[Action]]:
    """(the classes that features are learned on, the classes to be localised); no drawing of a pair is in both."""
    parts: tuple[list[Action], list[Action]] = ([], [])
    for number, (drawing, forwards, backwards) in enumerate(PAIRS):
        parts[number % 2].extend((Action(_plain(forwards), drawing), Action(_plain(backwards), drawing, True)))
    for number, (drawing, name) in enumerate(PRETENDED):
        parts[number % 2].append(Action(_plain(name), drawing, returns=True))
    return parts


def _plain(template: str) -> str:
    return template.replace("[", "").replace("]", "")


@dataclass(frozen=True)
class VideoSizes:
    """How many videos, and how large. `num_classes`: of each half, the first so many."""

    num_classes: int = 9
    num_trimmed: int = 90  # of each class, a tenth more for validation
    num_train: int = 90
    num_test: int = 45
    seconds: tuple[float, float] = (15.0, 30.0)  # of an untrimmed video
    height: int = 72
    width: int = 96


Piece = tuple[Drawing | None, np.ndarray]  # what is drawn (None: nothing), and its phase in each frame


class _Wandering:
    """A thing that goes round and to and fro, as no action does."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.at, self.speed = generator.uniform(-0.3, 0.3, 2), generator.uniform(0.5, 1.5, 2)
        self.shift, self.size = generator.uniform(0, 6, 2), generator.uniform(0.12, 0.2)

    def __call__(self, scene: Scene) -> None:
        x, y = self.at + 0.12 * np.sin(self.shift + self.speed * scene.phase)
        scene.thing(scene.point(x, y), self.size)


def gap(num_frames: int, generator: np.random.Generator) -> Piece:
    """Nothing, what an action is drawn with but standing still, or a wandering thing."""
    kind = generator.integers(3)
    if kind == 0:
        return None, np.zeros(num_frames)
    if kind == 1:
        drawing, *_ = PAIRS[generator.integers(len(PAIRS))]
        return drawing, np.full(num_frames, generator.uniform())
    return _Wandering(generator), np.arange(num_frames) * (2 * np.pi / FRAMES_PER_SECOND)


def render(pieces: list[Piece], sizes: VideoSizes, generator: np.random.Generator) -> np.ndarray:
    """uint8 (F, H, W, 3): one background throughout, other things in each piece, noise of each frame's own."""
    background = Scene(sizes.height, sizes.width, generator).background
    amount = np.float32(generator.uniform(2, 5))
    frames = []
    for drawing, phases in pieces:
        scene = Scene(sizes.height, sizes.width, generator)
        scene.background = background
        for phase in phases:
            scene.start_frame(float(phase))
            if drawing is not None:
                drawing(scene)
            noise = amount * generator.standard_normal((sizes.height, sizes.width, 1), np.float32)
            frames.append(np.clip(scene.canvas + noise, 0, 255).astype(np.uint8))
    return np.stack(frames)


def _num_frames(span: tuple[float, float], generator: np.random.Generator) -> int:
    return round(generator.uniform(*span) * FRAMES_PER_SECOND)


def untrimmed(
    actions: list[Action], sizes: VideoSizes, generator: np.random.Generator
) -> tuple[list[Piece], list[Instance]]:
    """A video's pieces, and its instances in seconds, of which there is at least one."""
    total = _num_frames(sizes.seconds, generator)
    num = 2 if len(actions) > 1 and generator.random() < SECOND_CLASS_PROB else 1
    shown = generator.choice(len(actions), num, replace=False)
    pieces, instances, at = [gap(_num_frames(GAP_SEC, generator), generator)], [], 0
    at = len(pieces[0][1])
    while True:
        length = _num_frames(SHORT_SEC if generator.random() < SHORT_PROB else LONG_SEC, generator)
        if at + length > total and instances:
            break
        action = actions[shown[len(instances) % num]]
        pieces.append((action.drawing, action.phases(length, generator)))
        instances.append(Instance(action.name, at / FRAMES_PER_SECOND, (at + length) / FRAMES_PER_SECOND))
        pieces.append(gap(_num_frames(GAP_SEC, generator), generator))
        at += length + len(pieces[-1][1])
    return pieces, instances


# ------------------------------------------------------------------------------------------------------------- files

Job = tuple[Path, Callable[[np.random.Generator], list[Piece]], VideoSizes, list[int]]


def make_video_world(root: Path, number: int, sizes: VideoSizes) -> None:
    """Write the world's files into `root`; videos that are there already are kept. Raises DataError, RunError."""
    manifest, wanted = root / "world.json", json.loads(json.dumps({"number": number, **asdict(sizes)}))
    if manifest.exists() and json.loads(manifest.read_text(encoding="utf-8")) != wanted:
        raise DataError(f"{root} contains the videos of another world or of other sizes: name another folder.")
    root.mkdir(parents=True, exist_ok=True)
    write_whole(manifest, json.dumps(wanted, indent=1))
    learned, localised = (half[: sizes.num_classes] for half in halves())
    jobs = _trimmed_jobs(root / "trimmed", number, sizes, learned)
    jobs += _untrimmed_jobs(root, number, sizes, localised)
    for fault in on_all_cores(_make, [job for job in jobs if not job[0].exists()]):
        if fault is not None:
            raise RunError(f"{root}: a video could not be written ({fault}).")


@dataclass(frozen=True)
class _Trimmed:
    action: Action

    def __call__(self, generator: np.random.Generator) -> list[Piece]:
        return [(self.action.drawing, self.action.phases(_num_frames(TRIMMED_SEC, generator), generator))]


@dataclass(frozen=True)
class _Untrimmed:
    actions: list[Action]
    sizes: VideoSizes

    def __call__(self, generator: np.random.Generator) -> list[Piece]:
        return untrimmed(self.actions, self.sizes, generator)[0]


def _trimmed_jobs(folder: Path, number: int, sizes: VideoSizes, actions: list[Action]) -> list[Job]:
    held_out = -(-sizes.num_trimmed // 10)
    return [
        (folder / split / action.name / f"{index:03d}{SUFFIX}", _Trimmed(action), sizes, [number, 0, label, index])
        for label, action in enumerate(actions)
        for split, first, num in (("train", 0, sizes.num_trimmed), ("val", sizes.num_trimmed, held_out))
        for index in range(first, first + num)
    ]


def _untrimmed_jobs(root: Path, number: int, sizes: VideoSizes, actions: list[Action]) -> list[Job]:
    """The videos to be made; their annotations are written at once."""
    jobs: list[Job] = []
    for part, (split, num) in enumerate((("train", sizes.num_train), ("test", sizes.num_test)), 1):
        rows = []
        for index in range(num):
            seed = [number, part, index]
            name = f"{split}/{index:03d}"
            jobs.append((root / "untrimmed" / f"{name}{SUFFIX}", _Untrimmed(actions, sizes), sizes, seed))
            _, instances = untrimmed(actions, sizes, np.random.default_rng(seed))
            if split == "train":
                rows += [[name, label] for label in dict.fromkeys(i.label for i in instances)]
            else:
                rows += [[name, i.label, f"{i.start:.6f}", f"{i.end:.6f}"] for i in instances]
        header = ["video", "label", "start", "end"][: len(rows[0])]
        write_whole(root / f"{split}.csv", csv_text(header, rows))
    return jobs


def _make(job: Job) -> str | None:
    path, pieces_of, sizes, seed = job
    generator = np.random.default_rng(seed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, encode_video(render(pieces_of(generator), sizes, generator), CODEC))
    except OSError as fault:
        return fault.strerror
    return None
