"""Synthetic: real encoded videos of actions and of the same actions backwards, in Something-Something v2's layout.

A network that cannot tell the order of frames is at a coin toss between the two classes of a pair. The videos are made
on first use, in parallel; the same settings give the same frames, whatever the number of processes.
"""

import json
import logging
import multiprocessing
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from tqdm import tqdm

from slowfast_gta.datasets import rendering
from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.something import SSv2
from slowfast_gta.errors import DataError

logger = logging.getLogger(__name__)

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

_THINGS = ("a cup", "a ball", "a book", "a stone", "a leaf", "a coin", "a key", "a lamp")

# (container, encoder, options). Fine enough that what encoding loses is below the noise of the frames in every frame
# alike, so that no single frame tells how far into the video it is; and fast.
CODECS = {
    "vp9": ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "8", "b": "0"}),
    "h264": ("mp4", "libx264", {"preset": "ultrafast", "crf": "10"}),
}
_FRAMES_PER_SECOND = 12


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


@DATASET_REGISTRY.register()
class Synthetic(SSv2):
    """18 classes: eight pairs that are each other's reversal, and two pretended actions."""

    direction_words = ("left", "right", "clockwise", "anticlockwise")
    creates_itself = True

    def __init__(self, data_dir: str | Path, settings: Settings):
        super().__init__(data_dir)
        self.settings = settings
        self.video_extension = "." + CODECS[settings.codec][0]

    @classmethod
    def from_cfg(cls, cfg) -> "Synthetic":
        return cls(cfg.DATA.PATH_TO_DATA_DIR, Settings(**{key.lower(): value for key, value in cfg.SYNTHETIC.items()}))

    def reversed_pairs(self) -> list[tuple[int, int]]:
        return [(2 * number, 2 * number + 1) for number in range(len(PAIRS))]

    def class_names(self) -> list[str]:
        return [template.replace("[", "").replace("]", "") for template in TEMPLATES]

    def prepare(self) -> None:
        """Make the videos and lists that are not there yet. Raises DataError."""
        try:
            make_videos(self.data_dir, self.settings)
        except OSError as fault:
            raise DataError(
                f"The Synthetic videos could not be made in {self.data_dir}: {fault.strerror or fault}. "
                "Free space there, or name another folder with DATA.PATH_TO_DATA_DIR; what is made is kept."
            ) from fault


def make_videos(data_dir: Path, settings: Settings) -> None:
    """Write the data set into `data_dir`, going on where an earlier call was cut off.

    "synthetic.json" holds the settings and, when everything is there, "complete". Raises DataError where the folder
    holds videos of other settings.
    """
    manifest = data_dir / "synthetic.json"
    stored = _stored_settings(manifest)
    if stored.get("complete") and stored["settings"] == asdict(settings):
        return
    if stored and stored["settings"] != asdict(settings):
        changed = [
            f"SYNTHETIC.{key.upper()} is {value}, there it is {stored['settings'].get(key)}"
            for key, value in asdict(settings).items()
            if stored["settings"].get(key) != value
        ]
        raise DataError(
            f"{data_dir} holds Synthetic videos of other settings: {'; '.join(changed)}. "
            "Name another DATA.PATH_TO_DATA_DIR, or remove that folder."
        )
    folder = data_dir / "20bn-something-something-v2"
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(manifest, {"settings": asdict(settings), "complete": False})
    total = settings.num_train + settings.num_val
    jobs = [(folder, settings, index) for index in range(total) if not _path(folder, settings, index).exists()]
    _make_all(jobs, f"making {total} videos in {data_dir}")
    _write_lists(data_dir, settings)
    _write_json(manifest, {"settings": asdict(settings), "complete": True})


def render_video(settings: Settings, index: int) -> np.ndarray:
    """The frames (T, H, W, 3) of video `index`, before encoding; its label is label_of_index(index)."""
    generator = np.random.default_rng([settings.seed, index])
    label = index % len(TEMPLATES)
    if label >= 2 * len(PAIRS):
        drawing, _ = PRETENDED[label - 2 * len(PAIRS)]
        path = rendering.there_and_back(settings.num_frames, generator)
    else:
        drawing, *_ = PAIRS[label // 2]
        path = rendering.phases(settings.num_frames, generator)
    frames = rendering.render(drawing, path, settings.height, settings.width, generator)
    return frames[::-1] if label < 2 * len(PAIRS) and label % 2 else frames


def encode_video(path: Path, frames: np.ndarray, codec: str) -> None:
    """Write frames (T, H, W, 3) to `path`, under a temporary name until the file is whole."""
    container_format, encoder, options = CODECS[codec]
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with av.open(str(temporary), "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=_FRAMES_PER_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.thread_count = 1  # the processes are the parallelism
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    temporary.replace(path)


def _stored_settings(manifest: Path) -> dict:
    if not manifest.exists():
        return {}
    try:
        stored = json.loads(manifest.read_text())
        return {"settings": dict(stored["settings"]), "complete": bool(stored["complete"])}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{manifest} is not the settings file of a Synthetic data set. Remove that folder.") from None


def _path(folder: Path, settings: Settings, index: int) -> Path:
    return folder / f"{index + 1}.{CODECS[settings.codec][0]}"


def _make_all(jobs: list, title: str) -> None:
    """All `jobs`, on all cores, with a progress bar."""
    if not jobs:
        return
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    with context.Pool(min(os.cpu_count() or 1, len(jobs)), initializer=_start_worker) as pool:
        for fault in tqdm(pool.imap_unordered(_make, jobs, chunksize=8), total=len(jobs), desc=title, unit="video"):
            if fault is not None:
                raise fault


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    cv2.setNumThreads(0)


def _make(job: tuple[Path, Settings, int]) -> OSError | None:
    """Render and encode one video; a full disk comes back as a value, since an exception would bring its traceback."""
    folder, settings, index = job
    try:
        encode_video(_path(folder, settings, index), render_video(settings, index), settings.codec)
    except OSError as fault:
        return OSError(fault.errno, fault.strerror)
    return None


def _write_lists(data_dir: Path, settings: Settings) -> None:
    """labels, train, validation and test in Something-Something v2's json layout."""
    names = [template.replace("[", "").replace("]", "") for template in TEMPLATES]
    _write_json(_json(data_dir, "labels"), {name: str(label) for label, name in enumerate(names)})
    entries = []
    for index in range(settings.num_train + settings.num_val):
        generator = np.random.default_rng([settings.seed, index, 1])
        template = TEMPLATES[index % len(TEMPLATES)]
        things = [str(thing) for thing in generator.choice(_THINGS, template.count("[something]"), replace=False)]
        label = template.lower()
        for thing in things:
            label = label.replace("[something]", thing, 1)
        entries.append({"id": str(index + 1), "label": label, "template": template, "placeholders": things})
    validation = entries[settings.num_train :]
    _write_json(_json(data_dir, "train"), entries[: settings.num_train])
    _write_json(_json(data_dir, "validation"), validation)
    _write_json(_json(data_dir, "test"), [{"id": entry["id"]} for entry in validation])


def _json(data_dir: Path, name: str) -> Path:
    return data_dir / f"something-something-v2-{name}.json"


def _write_json(path: Path, content: object) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)
