"""A video from its first to its last frame, in constant memory, whatever its length.

    with open_stream("long.mp4") as stream:
        for index, time_sec, frame in stream:                  # frame: uint8 (H, W, 3), RGB, upright
            ...
        print(stream.num_missing, stream.num_broken)

A frame has the number and the pixels that `open_video` gives it. Nothing stands in for frames that do not decode: their
numbers are left out, and counted. H W space.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import Closing, open_container_of, video_stream
from slowfast_gta.video.frame_folders import FrameFolder
from slowfast_gta.video.images import read_image
from slowfast_gta.video.pixels import FrameConverter
from slowfast_gta.video.readers import VideoFile

_WITHOUT_RATE = float("nan")  # the time of a frame where nobody knows it


class StreamedFrame(NamedTuple):
    index: int  # type: ignore[assignment]  # from 0, as for open_video; nobody looks for a value in this tuple
    time_sec: float  # after the first frame; NaN where nobody knows
    image: np.ndarray  # uint8 (H, W, 3), RGB


class VideoStream(Closing):
    """The frames of a video file, one after the other. It can be run through again from its begin.

    `num_missing` frames did not decode, or not in the size of the first; `num_broken` packets were refused by the
    decoder. `fault`: what is wrong with the file as a whole, of which the rest is read (cut off), or None.
    """

    def __init__(self, path: str | Path, span: tuple[float, float] | None = None):
        """With `span`, (start, stop) in seconds, of the frames shown meanwhile. Raises DataError."""
        self._video = VideoFile(path, span, tolerant=True)
        self.path, self.fps, self.num_frames = self._video.path, self._video.fps, self._video.num_frames
        self.fault = self._video.fault
        self.num_missing = self.num_broken = 0

    def close(self) -> None:
        self._video.close()

    def __iter__(self) -> Iterator[StreamedFrame]:
        """Raises DataError where not one frame decodes, or the file changes meanwhile."""
        times = self._video.times_sec
        self.num_missing = self.num_frames
        converter = FrameConverter(self.path)
        for index, frame in self._video.good_frames():
            self.num_broken = self._video.num_broken
            if not converter.fits(frame):
                continue
            self.num_missing -= 1
            yield StreamedFrame(index, _time(index, times, self.fps), converter.upright_rgb(frame))
        self.num_broken = self._video.num_broken
        if self.num_missing == self.num_frames:
            raise DataError(
                f"{self.path}: none of its frames can be decoded (of {self.num_frames}). The file is damaged."
            )


class FolderStream(Closing):
    """The same of a folder of frames; `fps` is the rate at which they were extracted, where it is known."""

    num_broken = 0

    def __init__(self, path: str | Path, fps: float | None = None, frame_pattern: str = ""):
        self.fault: str | None = None
        self._folder = FrameFolder(path, pattern=frame_pattern)
        self.path, self.fps, self.num_frames = self._folder.path, fps, self._folder.num_frames
        self.num_missing = 0

    def __iter__(self) -> Iterator[StreamedFrame]:
        """Raises DataError where not one frame can be read."""
        self.num_missing, shape, fault = self.num_frames, None, None
        for index, file in enumerate(self._folder.files):
            try:
                image = read_image(file)
            except DataError as broken:
                fault = broken
                continue
            shape = shape or image.shape
            if image.shape == shape:
                self.num_missing -= 1
                yield StreamedFrame(index, _time(index, None, self.fps), image)
        if fault and self.num_missing == self.num_frames:
            raise fault


class LiveStream(Closing):
    """The frames of what can only be read once, from front to back: a pipe, a socket, an open file.

    Nothing is known before it comes: `num_frames` is None, and frames are counted as they are decoded.
    """

    num_frames = None

    def __init__(self, source: BinaryIO | av.container.InputContainer, name: str = "stream"):
        """`source` is read where it stands, and left open. Raises DataError."""
        self.path = name
        self.fault: str | None = None
        self.num_missing = self.num_broken = 0
        self._is_ours = not isinstance(source, av.container.InputContainer)
        self._container: av.container.InputContainer
        self._container = source if isinstance(source, av.container.InputContainer) else open_container_of(source, name)
        self._stream = video_stream(self._container, name)
        self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
        self.sound = next(iter(self._container.streams.audio), None)
        self.on_sound: Callable[[av.Packet], None] | None = None  # is given the packets of the sound, as they come
        self.first_sec: float | None = None  # the time of the first frame by the source's own clock, once it is there

    def close(self) -> None:
        if self._is_ours:
            self._container.close()

    def __iter__(self) -> Iterator[StreamedFrame]:
        """Once. Raises DataError where it has no frame."""
        converter, index, first_pts = FrameConverter(self.path), -1, None
        for frame in self._decoded():
            index += 1
            if not converter.fits(frame):
                self.num_missing += 1
                continue
            time_sec = _time(index, None, self.fps)
            if frame.pts is not None:
                first_pts = frame.pts if first_pts is None else first_pts
                self.first_sec = float(first_pts * self._stream.time_base)  # type: ignore[operator]
                time_sec = float((frame.pts - first_pts) * self._stream.time_base)  # type: ignore[operator]  # an open stream has one
            yield StreamedFrame(index, time_sec, converter.upright_rgb(frame))
        if index < 0:
            raise DataError(f"{self.path}: the video contains no frames.")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        sounds = [self.sound] if self.sound is not None and self.on_sound is not None else []
        packets = self._container.demux(self._stream, *sounds)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as fault:  # what came is what there is
                self.fault, packet = f"{self.path}: the stream was interrupted ({fault.strerror}).", None
            if packet is not None and self.on_sound is not None and packet.stream in sounds:
                self.on_sound(packet)
                continue
            try:
                yield from self._stream.codec_context.decode(packet if packet and packet.size else None)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.num_broken += 1
            if packet is None or not packet.size:
                return


def open_stream(
    source: str | Path | BinaryIO | av.container.InputContainer,
    span: tuple[float, float] | None = None,
    fps: float | None = None,
    frame_pattern: str = "",
) -> VideoStream | FolderStream | LiveStream:
    """The frames of a file, a folder of frames, or anything open that PyAV reads, in order. Use it in a `with`.

    `span` is a part of a file in seconds; `fps` and `frame_pattern` are for folders. Raises DataError.
    """
    if not isinstance(source, str | os.PathLike):
        return LiveStream(source)
    if os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises where a folder cannot be reached
        return FolderStream(source, fps, frame_pattern)
    return VideoStream(source, span)


def _time(index: int, times: np.ndarray | None, fps: float | None) -> float:
    if times is not None:
        return float(times[index])
    return index / fps if fps else _WITHOUT_RATE
