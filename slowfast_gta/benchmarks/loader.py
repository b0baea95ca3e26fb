"""How fast clips are read from videos, beside PySlowFast's way: medians over alternating pairs in one run, one thread.

Ours is what the loader of a run does in a worker, from the path of a video to the batch that is handed to the device:
uint8, since it is normalised there. The other way is `PlainLoading`, to float batches. In testing the unit is a whole
video with all its views; in training a batch of clips, each from another random position.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch.utils.data import default_collate

from slowfast_gta.benchmarks.network import describe_machine
from slowfast_gta.benchmarks.plain_loading import PlainLoading
from slowfast_gta.benchmarks.videos import KINDS, write_benchmark_video
from slowfast_gta.datasets.records import VideoDataset, VideoRecord
from slowfast_gta.errors import DataError
from slowfast_gta.loading.clips import collate
from slowfast_gta.loading.loader import build_test_loader, build_train_loader
from slowfast_gta.video.readers import open_video

STAGES = ("open", "decode", "transform", "collate")
_BATCH_CLIPS = 8  # PySlowFast's 64 on 8 GPUs; as one float batch, 30 views would be 0.9 GB

Seconds = dict[str, float]  # of each stage
Load = Callable[[int], Seconds]  # does the work of pair number N
Pair = tuple[Seconds | None, Seconds]  # PySlowFast's way and ours


def build_loader_benchmark(cfg: CfgNode, files: Sequence[str] = (), pairs: int = 5) -> dict:
    """Time the loading that `cfg` asks for, of `files` or of two that are made for it. Raises DataError.

    A speed-up is the median over `pairs` of (seconds of PySlowFast's way / seconds of ours); None where `cfg` samples
    or resizes as PySlowFast's Kinetics loading cannot.
    """
    has_plain = cfg.DATA.SAMPLING == "dense" and not cfg.DATA.RESIZE
    num_views = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    rows: dict[str, list[list[Pair]]] = {"test": [], "train": []}  # of each file
    with _one_thread(), tempfile.TemporaryDirectory() as folder:
        paths = list(files) or [str(write_benchmark_video(Path(folder), kind)) for kind in KINDS]
        for path in paths:
            for split, of_files in rows.items():
                plain = _build_plain(cfg, path, split) if has_plain else None
                of_files.append(_run_pairs(plain, _build_ours(cfg, path, split), pairs))
        machine = describe_machine(torch.device("cpu"))
    result = _summary("test", "s_per_video", rows["test"], 1)
    result |= _summary("train", "s_per_clip", rows["train"], _BATCH_CLIPS)
    result["test_clips_per_s"] = num_views / result["test_s_per_video"]
    result["train_clips_per_s"] = 1 / result["train_s_per_clip"]
    of_files = zip(paths, rows["test"], rows["train"], strict=True)
    result["files"] = [
        {"file": Path(path).name, "test": _stages(test, num_views), "train": _stages(train, _BATCH_CLIPS)}
        for path, test, train in of_files
    ]
    return result | {"pairs": pairs, "num_views": num_views, "num_frames": cfg.DATA.NUM_FRAMES, "machine": machine}


def _build_ours(cfg: CfgNode, path: str, split: str) -> Load:
    """The work of a worker of the loader: one video in all its views, or one batch of training clips."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA_LOADER.NUM_WORKERS, cfg.TRAIN.BATCH_SIZE = 0, _BATCH_CLIPS
    testing = split == "test"
    loader = build_test_loader(cfg, "test", _OneVideo(path)) if testing else build_train_loader(cfg, _OneVideo(path))
    clips: Any = loader.clips
    clips.transform = timed = _Timed(clips.transform)

    def load(pair: int) -> Seconds:
        keys = [0] if testing else [(pair, number) for number in range(_BATCH_CLIPS)]
        opening = _Stopwatch()
        for _ in keys:
            with open_video(path):
                pass
        opening.lap("open")
        timed.watch = watch = _Stopwatch()
        items = []
        for key in keys:
            items.append(clips[key])
            if items[-1].frames is None:
                raise DataError(items[-1].errors[0][1])
            watch.lap("collate")  # the views laid out one after the other
        collate(items)
        watch.lap("collate")
        opened = opening.seconds["open"]  # inside our reading it is not seen apart from decoding
        return watch.seconds | {"open": opened, "decode": max(watch.seconds["decode"] - opened, 0.0)}

    return load


def _build_plain(cfg: CfgNode, path: str, split: str) -> Load:
    """The same videos and clips in PySlowFast's way."""
    plain = PlainLoading.from_cfg(cfg)
    num_clips, num_crops = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
    test_crop, train_crop, jitter = cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TRAIN_JITTER_SCALES
    crops = min(num_crops, 3)  # it has no ten crops

    def load(pair: int) -> Seconds:
        watch, generator = _Stopwatch(), np.random.default_rng(pair)
        batch = []
        for number in range(num_clips * num_crops if split == "test" else _BATCH_CLIPS):
            clip, crop = divmod(number, num_crops)
            container = plain.open(path)
            watch.lap("open")
            frames = plain.decode(container, clip / num_clips if split == "test" else generator.random())
            watch.lap("decode")
            if split == "test":
                batch.append(plain.test_transform(frames, test_crop, crop % crops, crops))
            else:
                batch.append(plain.train_transform(frames, jitter, train_crop, generator))
            watch.lap("transform")
            if len(batch) == _BATCH_CLIPS:
                default_collate(batch)
                batch.clear()
                watch.lap("collate")
        if batch:
            default_collate(batch)
        watch.lap("collate")
        return watch.seconds

    return load


class _OneVideo(VideoDataset):
    """The same video for every clip of a batch."""

    def __init__(self, path: str):
        super().__init__("")
        self._path = path

    def class_names(self) -> list[str]:
        return ["any"]

    def records(self, split: str) -> list[VideoRecord]:
        return [VideoRecord(self._path, 0, str(number)) for number in range(_BATCH_CLIPS)]


class _Stopwatch:
    """The seconds of each stage: those since the last lap."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] += now - self._last
        self._last = now


class _Timed:
    """A transform that tells a stopwatch when it begins and when it ends."""

    def __init__(self, transform: Callable):
        self._transform = transform
        self.watch = _Stopwatch()

    def __call__(self, *arguments: Any) -> Any:
        self.watch.lap("decode")
        result = self._transform(*arguments)
        self.watch.lap("transform")
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transform, name)


def _run_pairs(plain: Load | None, ours: Load, pairs: int) -> list[Pair]:
    """Both in turns, after an untimed run of each."""
    rows = []
    for number in range(pairs + 1):
        seconds = ours(number)  # first, since it says in words what is wrong with a file
        rows.append((plain(number) if plain else None, seconds))
    return rows[1:]


def _summary(split: str, unit: str, files: Sequence[Sequence[Pair]], num_units: int) -> dict:
    """Over all files together, medians over the pairs: the speed-up, and the seconds of a unit in both ways."""
    ours = [sum(sum(timed[1].values()) for timed in pair) for pair in zip(*files, strict=True)]
    result: dict[str, Any] = {
        f"{split}_speedup": None,
        f"{split}_{unit}": statistics.median(ours) / num_units / len(files),
    }
    if files[0][0][0]:
        plain = [sum(sum(timed[0].values()) for timed in pair) for pair in zip(*files, strict=True)]
        result[f"{split}_speedup"] = _median_ratio(plain, ours)
        result[f"plain_{split}_{unit}"] = statistics.median(plain) / num_units / len(files)
    return result


def _stages(rows: Sequence[Pair], num_clips: int) -> dict:
    """Of one file: its speed-up, and the milliseconds that each stage of a clip takes, medians over the pairs."""
    plain, ours = zip(*rows, strict=True)
    result: dict[str, Any] = {"speedup": None, "ms_per_clip": _stage_medians(ours, num_clips)}
    if plain[0]:
        result["speedup"] = _median_ratio(*([sum(timed.values()) for timed in way] for way in (plain, ours)))
        result["plain_ms_per_clip"] = _stage_medians(plain, num_clips)
    return result


def _median_ratio(first: Sequence[float], second: Sequence[float]) -> float:
    return statistics.median(timed / other for timed, other in zip(first, second, strict=True))


def _stage_medians(runs: Sequence[Seconds], num_clips: int) -> Seconds:
    return {stage: 1000 * statistics.median(run[stage] for run in runs) / num_clips for stage in STAGES}


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker of the loader: one thread for torch, none of OpenCV's own."""
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)
