"""Smaller videos: H.264 in .mp4, without sound, of the same frames at the same times. H, W space."""

from collections import Counter
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.preparation.jobs import Outcome, find_files, make_all, targets_of
from slowfast_gta.video.readers import VideoFile, count_frames

_TICKS_PER_SEC = 90_000  # the times of frames; all usual frame rates are whole numbers of these
# A keyframe every 32 frames: clips begin anywhere, and are decoded from the keyframe before them.
_ENCODING = {"crf": "18", "preset": "fast", "g": "32"}


def resize_videos(source: Path, output: Path, short_side: int, num_workers: int) -> tuple[Outcome, Counter]:
    """Re-encode every video file below `source` into the same place below `output`. Raises DataError."""
    files, others = find_files(source, output)
    targets, clashes = targets_of(source, output, files, ".mp4")
    settings = {"command": "resize", "source": str(source.resolve()), "short_side": short_side}
    outcome = make_all(partial(resize_video, short_side=short_side), targets, output, settings, num_workers, clashes)
    return outcome, others


def resize_video(source: Path, target: Path, short_side: int) -> int:
    """The frames of `source`, their shorter side at most `short_side` px, into the .mp4 `target`.

    Returns for how many the nearest decoded frame was used. Raises DataError.
    """
    with VideoFile(source) as video:
        times_sec = times_of(video)
        frames = video.frames(range(video.num_frames))
        first = next(frames)
        height, width = smaller_size(first.shape[0], first.shape[1], short_side)
        with av.open(str(target), "w") as container:
            stream: Any = container.add_stream("libx264", rate=Fraction(video.fps or 25).limit_denominator(1001))
            stream.width, stream.height, stream.pix_fmt, stream.options = width, height, "yuv420p", _ENCODING
            stream.codec_context.thread_count = 1  # the processes are the parallelism
            stream.codec_context.time_base = Fraction(1, _TICKS_PER_SEC)
            for array, time_sec in zip(chain([first], frames), times_sec, strict=True):
                array = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
                planes: Any = cv2.cvtColor(array, cv2.COLOR_RGB2YUV_I420)
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame.pts, frame.time_base = round(time_sec * _TICKS_PER_SEC), Fraction(1, _TICKS_PER_SEC)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        expected, num_repeated = video.num_frames, video.num_repeated
    if (made := count_frames(target)) != expected:
        raise DataError(f"{source}: {made} of its {expected} frames were written. Its times are out of order.")
    return num_repeated


def times_of(video: VideoFile) -> np.ndarray:
    """(T,) in s: when each frame is shown, by its time or else by the rate. Raises DataError where there is neither."""
    if (times_sec := video.times_sec) is not None:
        return times_sec
    if not video.fps:
        raise DataError(f"{video.path}: the file gives neither its frame rate nor the times of its frames.")
    return np.arange(video.num_frames) / video.fps


def smaller_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with the shorter side `short_side`, never larger than they are; even, as H.264 wants them."""
    scale = min(1.0, short_side / min(height, width))
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)
