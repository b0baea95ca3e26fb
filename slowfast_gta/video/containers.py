"""Opening a video file of unknown origin: a plain container, of bounded size, that opens no other file; and closing it.

FFmpeg also opens lists that point to other files or into the network (m3u8, concat, sdp), and images; here they are
refused whatever their name says.
"""

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Self

import av
from av.stream import Disposition

from slowfast_gta.errors import DataError
from slowfast_gta.video.limits import MAX_PIXELS, Deadline, check_frame_size

_FORMATS = "mov,mp4,3gp,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,asf,ogg,rm,dv,mxf,nut,gif"
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, "max_pixels": str(MAX_PIXELS)}

# Titles and comments that are not UTF-8 must not stop the reading: PyAV 19 sees to that itself and has no such option.
_TEXT_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails  # a cover, or a list of them


class Closing:
    """What is closed at the end of its `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing, where nothing stays open."""


def open_container(path: str, deadline: Deadline) -> av.container.InputContainer:
    """The container of the video file at `path`. Raises DataError."""
    check_is_file(path)
    try:
        return av.open(f"file:{path}", options=_OPTIONS, timeout=deadline.limit_sec, **_TEXT_OPTIONS)
    except av.error.ExitError:
        raise deadline.passed() from None
    except av.error.FFmpegError as fault:
        raise DataError(f"{path}: this is not a video that can be read ({fault.strerror}).") from None


def open_container_of(source: BinaryIO, name: str) -> av.container.InputContainer:
    """The container that `source` gives, a file that is open or a pipe. Raises DataError."""
    try:
        return av.open(source, options=_OPTIONS, **_TEXT_OPTIONS)
    except (av.error.FFmpegError, OSError, ValueError) as fault:
        raise DataError(f"{name}: this is not a video that can be read ({fault}).") from None


def video_stream(container: av.container.InputContainer, path: str) -> av.VideoStream:
    """The first video stream that is no cover picture, to be decoded in one thread. Raises DataError."""
    streams = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if not streams:
        pictures = ", only a cover picture" if container.streams.video else ""
        raise DataError(f"{path}: this file contains no video{pictures}.")
    context = streams[0].codec_context
    if context is None:
        raise DataError(f"{path}: no decoder is installed for its video codec. Convert it to H.264 (.mp4).")
    check_frame_size(path, context.width, context.height)
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return streams[0]


def check_is_file(path: str | Path) -> int:
    """The size in bytes of the file at `path`. Raises DataError unless it has something in it that we may read."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file or folder.") from None
    except (OSError, ValueError) as fault:  # ValueError: a name that no file can have
        raise DataError(f"{path}: the file cannot be reached ({getattr(fault, 'strerror', fault)}).") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: this is not a regular file.")
    if status.st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes).")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: there is no permission to read the file.")
    return status.st_size
