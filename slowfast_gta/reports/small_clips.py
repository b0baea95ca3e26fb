"""Small clips of videos, to be played inside a page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.reports.history import TestedVideo
from slowfast_gta.video.readers import open_video

MOST_FRAMES, SHORT_SIDE, LONGEST_SIDE = 40, 128, 320
_PLAYED_SEC = (1.0, 6.0)  # the shortest and the longest that a clip is played
_TIMEOUT_SEC = 20.0


@dataclass(frozen=True)
class SmallClip:
    """`data`: a WebM file in base64, empty where `fault` says why there is none. `speed`: of the original, 1 as shot,
    None where the video does not say its rate."""

    data: str = ""
    speed: float | None = None
    num_frames: int = 0
    fault: str = ""


def build_small_clip(video: TestedVideo) -> SmallClip:
    """The whole video in at most 40 frames, its short side 128 px."""
    if not video.path:
        return SmallClip(fault="Its path was not stored.")
    if not Path(video.path).exists():
        return SmallClip(fault=f"{video.path} no longer exists.")
    try:
        with open_video(video.path, video.span, _TIMEOUT_SEC) as opened:
            count = opened.num_frames
            indices = np.linspace(0, count - 1, min(count, MOST_FRAMES)).astype(int).tolist()
            frames = opened.read(indices)
            duration = count / opened.fps if opened.fps else None
    except (DataError, OSError) as fault:
        return SmallClip(fault=str(fault))
    played = min(max(duration or len(frames) / 8, _PLAYED_SEC[0]), _PLAYED_SEC[1])
    rate = max(1, round(len(frames) / played))
    speed = None if duration is None else round(duration * rate / len(frames), 2)
    return SmallClip(base64.b64encode(encode_webm(shrunk(frames), rate)).decode(), speed, len(frames))


def shrunk(frames: np.ndarray) -> np.ndarray:
    """uint8 (T, H, W, 3) with even sides, the short one 128 px unless the long one would be above 320."""
    height, width = frames.shape[1:3]
    scale = min(SHORT_SIDE / min(height, width), LONGEST_SIDE / max(height, width))
    size = tuple(max(2, round(side * scale / 2) * 2) for side in (width, height))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def encode_webm(frames: np.ndarray, rate: int) -> bytes:
    """VP9, which every browser of today plays."""
    file = io.BytesIO()
    options = {"deadline": "realtime", "cpu-used": "8", "crf": "38", "b": "0"}
    with av.open(file, "w", format="webm", container_options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("libvpx-vp9", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
