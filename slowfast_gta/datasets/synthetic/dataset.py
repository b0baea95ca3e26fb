"""Synthetic: real encoded videos of actions and of the same actions backwards, in Something-Something v2's layout.

A network that cannot tell the order of frames is at a coin toss between the two classes of a pair. The videos are made
on first use, in parallel; the same settings give the same frames, whatever the number of processes.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode
from tqdm import tqdm

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.lists import to_records
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.datasets.something import SSv2
from slowfast_gta.datasets.synthetic import rendering
from slowfast_gta.datasets.synthetic.encoding import CODECS, encode_video
from slowfast_gta.datasets.synthetic.levels import num_frames_at, render_at
from slowfast_gta.errors import DataError, Interrupted, counted
from slowfast_gta.files import write_whole
from slowfast_gta.processes.parallel import on_all_cores

# One drawing and the two names it has, forwards and backwards.
PAIRS = (
    (rendering.move_right, "Moving [something] from left to right", "Moving [something] from right to left"),
    (rendering.move_up, "Moving [something] up", "Moving [something] down"),
    (rendering.come_closer, "Moving [something] closer to the camera", "Moving [something] away from the camera"),
    (rendering.cover, "Covering [something] with [something]", "Uncovering [something]"),
    (rendering.put_into, "Putting [something] into [something]", "Taking [something] out of [something]"),
    (rendering.turn_clockwise, "Turning [something] clockwise", "Turning [something] anticlockwise"),
    (rendering.open_up, "Opening [something]", "Closing [something]"),
    (rendering.light_up, "Lighting [something] up", "Dimming [something]"),
)

# Actions that turn back half-way: their own reversal.
PRETENDED = (
    (rendering.cover, "Pretending to cover [something] with [something]"),
    (rendering.put_into, "Pretending to put [something] into [something]"),
)

TEMPLATES = [name for _, *names in PAIRS for name in names] + [name for _, name in PRETENDED]
_NAMES = [template.replace("[", "").replace("]", "") for template in TEMPLATES]  # of the classes

TEST_ANSWERS = "test-answers"  # the list of the test videos with their labels, which the official one has not
_VIDEOS = "20bn-something-something-v2"
_OF_LISTS, _OF_TEST = 1, 2  # what random numbers are for, beside the frames of training and validation videos

_THINGS = ("a cup", "a ball", "a book", "a stone", "a leaf", "a coin", "a key", "a lamp")


@dataclass(frozen=True)
class Settings:
    """What the videos depend on: the SYNTHETIC node of the config."""

    num_train: int
    num_val: int
    num_frames: int
    height: int
    width: int
    codec: str
    seed: int
    level: int = 0
    num_test: int = 0  # of a seed of their own; 0: testing is on the validation videos

    def entries(self) -> dict[str, object]:
        """What the manifest says of them: what earlier versions did not know is left out where it is as it was."""
        return {key: value for key, value in asdict(self).items() if value or key not in ("level", "num_test")}


@DATASET_REGISTRY.register()
class Synthetic(SSv2):
    """18 classes: eight pairs that are each other's reversal, and two pretended actions."""

    creates_itself = True

    def __init__(self, data_dir: str | Path, settings: Settings):
        super().__init__(data_dir)
        self.settings = settings
        self.video_extensions = ("." + CODECS[settings.codec][0],)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "Synthetic":
        return cls(cfg.DATA.PATH_TO_DATA_DIR, Settings(**{key.lower(): value for key, value in cfg.SYNTHETIC.items()}))

    def records(self, split: str) -> list[VideoRecord]:
        if split != "test" or not self.settings.num_test:
            return super().records(split)
        source = _json(self.data_dir, TEST_ANSWERS)
        root = self.data_dir / _VIDEOS
        return to_records(self._videos("official", source, root), root, len(TEMPLATES), source)

    def reversed_pairs(self) -> list[tuple[int, int]]:
        return [(2 * number, 2 * number + 1) for number in range(len(PAIRS))]

    def class_names(self) -> list[str]:
        return list(_NAMES)

    def prepare(self) -> None:
        """Make the videos and lists that are not there yet. Raises DataError."""
        try:
            make_videos(self.data_dir, self.settings)
        except OSError as fault:
            raise DataError(
                f"The Synthetic videos could not be made in {self.data_dir}: {fault.strerror or fault}. "
                "Free space there, or name another folder with DATA.PATH_TO_DATA_DIR; finished videos are kept."
            ) from fault


def make_videos(data_dir: Path, settings: Settings) -> None:
    """Write the data set into `data_dir`, going on where an earlier call was cut off.

    "synthetic.json" holds the settings and, when everything is there, "complete". Raises DataError where the folder
    holds other videos, Interrupted on Ctrl-C.
    """
    manifest = data_dir / "synthetic.json"
    wanted = {**settings.entries(), "drawing": rendering.VERSION}
    complete = _check_manifest(manifest, wanted)
    folder = data_dir / _VIDEOS
    folder.mkdir(parents=True, exist_ok=True)
    made = {path.name for path in folder.iterdir()}
    total = settings.num_train + settings.num_val + settings.num_test
    jobs = [(folder, settings, index) for index in range(total) if _file_name(settings, index) not in made]
    if complete and not jobs:
        return
    _write_json(manifest, {"settings": wanted, "complete": False})
    _make_all(jobs, f"making {total} videos in {data_dir}", total)
    _write_lists(data_dir, settings)
    _write_json(manifest, {"settings": wanted, "complete": True})


def render_video(settings: Settings, index: int) -> np.ndarray:
    """The frames (T, H, W, 3) of video `index`, before encoding: training, then validation, then test videos.

    Its label is `label_of_video`. Test videos have numbers of their own, which do not depend on how many others
    there are.
    """
    seed, label = _seed(settings, index), label_of_video(settings, index)
    generator = np.random.default_rng(seed)
    num_frames = num_frames_at(settings.level, settings.num_frames)
    if label >= 2 * len(PAIRS):
        drawing, _ = PRETENDED[label - 2 * len(PAIRS)]
        path = rendering.there_and_back(num_frames, generator)
    else:
        drawing, *_ = PAIRS[label // 2]
        path = rendering.phases(num_frames, generator)
    if settings.level:
        frames = render_at(settings.level, drawing, path, settings.height, settings.width, generator)
    else:
        frames = rendering.render(drawing, path, settings.height, settings.width, generator)
    return frames[::-1] if label < 2 * len(PAIRS) and label % 2 else frames


def label_of_video(settings: Settings, index: int) -> int:
    """Labels take turns; anew from the first test video on."""
    _, number, *_ = _seed(settings, index)
    return number % len(TEMPLATES)


def _seed(settings: Settings, index: int) -> list[int]:
    first_test = settings.num_train + settings.num_val
    if settings.num_test and index >= first_test:
        return [settings.seed, index - first_test, _OF_TEST]
    return [settings.seed, index]


def _check_manifest(manifest: Path, wanted: dict) -> bool:
    """Whether its folder was completed with the settings `wanted`. Raises DataError if it holds anything else."""
    folder = manifest.parent
    if not manifest.exists():
        if (lists := sorted(folder.glob("something-something-v2-*.json"))) != []:
            raise DataError(
                f"{lists[0]} belongs to a data set that is not Synthetic, but its folder was to be filled with "
                "Synthetic videos. Name another DATA.PATH_TO_DATA_DIR, or set TRAIN.DATASET and TEST.DATASET to SSv2."
            )
        return False
    try:
        stored = json.loads(manifest.read_text())
        settings, complete = dict(stored["settings"]), bool(stored["complete"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            f"{manifest} is not the settings file of a Synthetic data set. Remove the folder {folder}, "
            "or name another DATA.PATH_TO_DATA_DIR."
        ) from None
    if settings != wanted:
        raise DataError(
            f"{folder} contains Synthetic videos of other settings: {'; '.join(_differences(settings, wanted))}. "
            "Name another DATA.PATH_TO_DATA_DIR, or remove that folder."
        )
    return complete


def _differences(stored: dict, wanted: dict) -> Iterator[str]:
    unsaid = {"level": 0, "num_test": 0}
    for key in dict.fromkeys([*wanted, *(key for key in unsaid if key in stored)]):
        value, there = wanted.get(key, unsaid.get(key)), stored.get(key, unsaid.get(key))
        if there == value:
            continue
        if key == "drawing":
            yield f"they were drawn by version {there} of the drawing code, which is now version {value}"
        else:
            yield f"SYNTHETIC.{key.upper()} is {value}, there it is {there}"


def _file_name(settings: Settings, index: int) -> str:
    return f"{index + 1}.{CODECS[settings.codec][0]}"


Job = tuple[Path, Settings, int]  # folder, settings, index of the video


def _make_all(jobs: list[Job], title: str, total: int) -> None:
    """All `jobs`, on all cores, with a progress bar. Raises OSError, or Interrupted on Ctrl-C."""
    with tqdm(total=total, initial=total - len(jobs), desc=title, unit="video") as bar:
        try:
            for fault in on_all_cores(_make, jobs):
                if fault is not None:
                    raise fault
                bar.update()
        except KeyboardInterrupt:
            raise Interrupted(f"Stopped: {bar.n} of {counted(total, 'video')} made.") from None


def _make(job: Job) -> OSError | None:
    """Render, encode and write one video; a full disk comes back as a value, an exception would print a traceback.

    The file gets its name when it is whole.
    """
    folder, settings, index = job
    path = folder / _file_name(settings, index)
    try:
        write_whole(path, encode_video(render_video(settings, index), settings.codec), shared=True)
    except OSError as fault:
        return OSError(fault.errno, fault.strerror)
    return None


def _write_lists(data_dir: Path, settings: Settings) -> None:
    """labels, train, validation and test in Something-Something v2's json layout; with test videos of their own, the
    answers to those too."""
    _write_json(_json(data_dir, "labels"), {name: str(label) for label, name in enumerate(_NAMES)})
    entries = []
    first_test = settings.num_train + settings.num_val
    for index in range(first_test + settings.num_test):
        generator = np.random.default_rng([settings.seed, index, _OF_LISTS])
        template = TEMPLATES[label_of_video(settings, index)]
        things = [str(thing) for thing in generator.choice(_THINGS, template.count("[something]"), replace=False)]
        label = template.lower()
        for thing in things:
            label = label.replace("[something]", thing, 1)
        entries.append({"id": str(index + 1), "label": label, "template": template, "placeholders": things})
    validation, test = entries[settings.num_train : first_test], entries[first_test:]
    _write_json(_json(data_dir, "train"), entries[: settings.num_train])
    _write_json(_json(data_dir, "validation"), validation)
    _write_json(_json(data_dir, "test"), [{"id": entry["id"]} for entry in test or validation])
    if test:
        _write_json(_json(data_dir, TEST_ANSWERS), test)


def _json(data_dir: Path, name: str) -> Path:
    return data_dir / f"something-something-v2-{name}.json"


def _write_json(path: Path, content: object) -> None:
    write_whole(path, json.dumps(content, indent=1), shared=True)
