"""Folders of frames from video files: OUT/<path without suffix>/00001.jpg, ... T frame, H W space."""

import math
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from string import Formatter

import cv2
import numpy as np

from slowfast_gta.datasets.folders import FRAME_SUFFIXES
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.preparation.frame_sizes import SizeEstimate, estimate_size
from slowfast_gta.preparation.jobs import Outcome, find_files, make_all, targets_of
from slowfast_gta.preparation.resize import smaller_size, times_of
from slowfast_gta.video.readers import VideoFile

_MOST_FRAMES = 1_000_000  # of one video
_MEASURE_SEC = 60.0
_SLACK = 0.01  # of a frame: times are rounded, and a frame is shown at its own time


def extract_all(
    source: Path,
    output: Path,
    fps: float | None,
    short_side: int | None,
    name: str,
    num_workers: int,
    on_size: Callable[[SizeEstimate], None] = lambda estimate: None,
) -> tuple[Outcome, Counter]:
    """The frames of every video file below `source` into a folder of the same name below `output`.

    `fps` None: every frame once. `short_side` None: at their own size. `on_size` is called before anything is
    made, unless all is there already. Raises DataError, ConfigError.
    """
    check_name(name)
    files, others = find_files(source, output)
    targets, clashes = targets_of(source, output, files, "")
    settings = {"command": "extract-frames", "source": str(source.resolve()), "fps": fps, "short_side": short_side}
    missing = [video for video, target in targets.items() if not target.exists()]
    if missing:
        measure = partial(measure_frames, fps=fps, short_side=short_side, suffix=Path(name).suffix)
        on_size(estimate_size(measure, missing, output, num_workers))
    make = partial(extract_frames, fps=fps, short_side=short_side, name=name)
    return make_all(make, targets, output, settings | {"name": name}, num_workers, clashes), others


def check_name(name: str) -> None:
    """Raises ConfigError unless `name` makes one file name of a number, as {:05d}.jpg or {id}_{:06d}.jpg."""
    try:
        fields = [(field, spec) for _, field, spec, _ in Formatter().parse(name) if field is not None]
    except ValueError:
        fields = []
    numbers = [spec for field, spec in fields if field == ""]
    known = {("", *numbers), ("id", "")}
    good = len(numbers) == 1 and re.fullmatch(r"(0?\d{0,2}d)?", numbers[0] or "") and known.issuperset(fields)
    if not good or "/" in name or Path(name).suffix.lower() not in FRAME_SUFFIXES:
        raise ConfigError(
            f"--name {name} must have the frame's number once and end with .jpg or .png, for example {{:05d}}.jpg, "
            "img_{:05d}.jpg or {id}_{:06d}.jpg, where id is the video's name."
        )


def extract_frames(source: Path, target: Path, fps: float | None, short_side: int | None, name: str) -> int:
    """The frames of `source` into the folder `target`, numbered from 1.

    Returns for how many the nearest decoded frame was used. Raises DataError.
    """
    with VideoFile(source) as video:
        shown = frames_shown(video, fps) if fps else range(video.num_frames)
        target.mkdir()
        number = 0
        wanted, counts = np.unique(np.asarray(shown), return_counts=True)
        for frame, repeats in zip(video.frames(wanted.tolist()), counts, strict=True):
            image = _image(frame, short_side)
            for _ in range(repeats):
                number += 1
                file = target / name.format(number, id=source.stem)
                _, content = cv2.imencode(file.suffix, image)
                file.write_bytes(content.tobytes())  # cv2.imwrite would not say what went wrong
        return video.num_repeated


def measure_frames(source: Path, most: int, fps: float | None, short_side: int | None, suffix: str) -> tuple[int, list]:
    """How many frames `source` will have, and the bytes of up to `most` of them, evenly chosen. Raises DataError."""
    with VideoFile(source, timeout_sec=_MEASURE_SEC) as video:
        shown = np.asarray(frames_shown(video, fps) if fps else range(video.num_frames))
        positions = np.unique(np.linspace(0, len(shown) - 1, min(most, len(shown))).round().astype(int))
        images = (_image(frame, short_side) for frame in video.frames(np.unique(shown[positions]).tolist()))
        return len(shown), [len(cv2.imencode(suffix, image)[1]) for image in images]


def _image(frame: np.ndarray, short_side: int | None) -> np.ndarray:
    """(H, W, 3) RGB -> BGR, as it is written."""
    if short_side:
        height, width = smaller_size(frame.shape[0], frame.shape[1], short_side)
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)


def frames_shown(video: VideoFile, fps: float) -> np.ndarray:
    """The frame that is shown at each of the times 0, 1 / fps, 2 / fps, ... of `video`. Raises DataError."""
    times_sec = times_of(video)
    end_sec = times_sec[-1] + (np.median(np.diff(times_sec)) if len(times_sec) > 1 else 0.0)
    if end_sec * fps > _MOST_FRAMES:
        raise DataError(
            f"{video.path}: {fps:g} frames a second of {end_sec / 3600:.1f} hours are more than {_MOST_FRAMES:,}. The "
            "times in the file are damaged, or --fps is too high."
        )
    wanted_sec = np.arange(max(1, math.ceil(end_sec * fps - _SLACK))) / fps
    return np.searchsorted(times_sec, wanted_sec + _SLACK / fps, side="right") - 1
