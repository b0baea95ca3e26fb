"""Frames with their times into a video file (H.264 in .mp4, .mov or .mkv), whole or not at all. H W space."""

import logging
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np

from slowfast_gta.errors import ConfigError
from slowfast_gta.files import whole_file

logger = logging.getLogger("slowfast_gta")

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".m4v": "mp4", ".mkv": "matroska"}
_TICKS = 90_000  # a second
_BT709 = 1


def container_of(path: str | Path) -> str:
    """FFmpeg's name of the container of a file. Raises ConfigError for one that is not written."""
    suffix = Path(path).suffix.lower()
    if suffix not in CONTAINERS:
        raise ConfigError(f"{path}: the name of an output video must end with {', '.join(CONTAINERS)}, not {suffix!r}.")
    return CONTAINERS[suffix]


class VideoWriter:
    """The picture of a video, frame by frame. Into `file`, which stays open; `container` is FFmpeg's name of it.

    Times are kept as they are, whatever the rate. H.264 takes even sizes: an odd one gets its last row or column again.
    """

    def __init__(
        self,
        file: IO[bytes],
        container: str,
        size: tuple[int, int],
        fps: float | None,
        live: bool = False,
        repeatable: bool = False,
    ):
        """size: H, W. fps: what players are shown, the times decide. live: for somebody who watches meanwhile.
        repeatable: the same bytes each time. x264's mbtree is left out for that: with AVX-512 it decides now and then
        otherwise (seen with PyAV 18.1)."""
        height, width = (side + side % 2 for side in size)
        self.size = (height, width)
        self.container = av.open(file, "w", format=container)
        rate = Fraction(fps or 25).limit_denominator(1001)
        options = {"preset": "ultrafast", "tune": "zerolatency"} if live else {"preset": "veryfast", "crf": "20"}
        if repeatable:
            options["x264-params"] = "mbtree=0"
        self._stream = self.container.add_stream("libx264", rate=rate, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream.codec_context.colorspace = self._stream.codec_context.color_primaries = _BT709
        self._stream.codec_context.color_trc = _BT709
        self._last = -_TICKS  # a second before the first
        self.num_frames = 0

    def write(self, image: np.ndarray, time_sec: float) -> None:
        """uint8 (H, W, 3), RGB, shown from `time_sec` on; never before the frame that came last."""
        padding = [(0, whole - have) for whole, have in zip(self.size, image.shape[:2], strict=True)]
        if any(more for _, more in padding):
            image = np.pad(image, [*padding, (0, 0)], mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        self._last = max(self._last + _TICKS // 1000, round(time_sec * _TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self.container.mux(self._stream.encode(frame))
        self.num_frames += 1

    def close(self) -> None:
        """Whatever there is by now is a video that plays."""
        if self.num_frames:
            self.container.mux(self._stream.encode(None))
        self.container.close()


def save_video(path: str | Path, images: Sequence[np.ndarray], times: Iterable[float]) -> None:
    """A file of a few frames, each shown from its time on; from 0 at 2 a second where a time is not known (NaN)."""
    moments = list(times)
    if any(moment != moment for moment in moments):
        moments = [number / 2 for number in range(len(images))]
    lasting = (moments[-1] - moments[0]) / (len(moments) - 1) if len(moments) > 1 else 1.0
    with whole_file(path) as file:
        writer = VideoWriter(file, container_of(path), images[0].shape[:2], 1 / lasting if lasting > 0 else None)
        for image, moment in zip(images, moments, strict=True):
            writer.write(image, moment - moments[0])
        writer.write(images[-1], moments[-1] - moments[0] + lasting)
        writer.close()
