"""Reading exactly the frames that are asked for, from a video file or from a folder of frames.

    with open_video(path) as video:
        frames = video.read(indices_of(video.num_frames))      # uint8 (T, H, W, 3), RGB

A video file is demultiplexed whole when it is opened (see packets), and the frames wanted are then decoded from the
nearest keyframe on. Decoding is single-threaded: the workers of the loader are the parallelism, and FFmpeg's
threads can deadlock.

T frame, H W space.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import open_container, video_stream
from slowfast_gta.video.frame_folders import FrameFolder, FrameRange
from slowfast_gta.video.limits import Deadline, check_frame_size, empty_frames
from slowfast_gta.video.orientation import display_matrix, upright
from slowfast_gta.video.packets import NEAR_FRAMES, PacketReader

# Times that are this near to those of a constant rate were rounded by a container, most of them to milliseconds.
_ROUNDING_SEC = 1.5e-3


class VideoFile:
    """An open video file. `num_repeated` counts the frames asked for that did not decode and are a near one instead.

    With `span`, (start, stop) in seconds, the frames shown from `start` until before `stop` are its frames. Opening
    and reading it together may take `timeout_sec`.
    """

    def __init__(self, path: str | Path, span: tuple[float, float] | None = None, timeout_sec: float | None = None):
        self.path = str(path)
        self.num_repeated = 0
        self._deadline = Deadline(self.path, timeout_sec)
        self._container = open_container(self.path, self._deadline)
        try:
            self._stream = video_stream(self._container, self.path)
            self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
            reader = PacketReader(self._container, self._stream, self.path, self._deadline)
            part = reader.whole() if span is None else reader.part(*span)
        except BaseException:
            self.close()
            raise
        self._packets, self._keys, self._times, self._first, self.num_frames = part
        self._timed = bool(self._times)

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    @property
    def times_sec(self) -> np.ndarray | None:
        """float64 (num_frames,): when each frame is shown, the first at 0; None where the file has no times.

        At a constant rate they are exact multiples of 1 / fps, however the container rounded them.
        """
        if not self._timed:
            return None
        shown = np.array(self._times[self._first : self._first + self.num_frames], float)
        times = (shown - shown[0]) * float(self._stream.time_base)
        if self.fps:
            even = np.arange(self.num_frames) / self.fps
            if np.abs(times - even).max() <= _ROUNDING_SEC:
                return even
        return times

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames `indices` (non-decreasing, repeats allowed) as uint8 (T, H, W, 3), RGB."""
        out, previous = None, None
        frames = self.frames(indices)
        for place, index in enumerate(indices):
            if index == previous:
                out[place] = out[place - 1]
                continue
            frame = next(frames)
            if out is None:
                out = empty_frames(self.path, len(indices), *frame.shape[:2])
            out[place] = frame
            previous = index
        return out

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """`read`, one frame (H, W, 3) after the other and each once, for more than fits into memory."""
        reformatter = VideoReformatter()  # one for all frames, in one thread: ten times faster than one for each
        size, matrix = None, None
        for frame in self._decode(sorted({self._first + index for index in indices})):
            if size is None:
                check_frame_size(self.path, frame.width, frame.height)
                size, matrix = (frame.width, frame.height), display_matrix(frame)
            if size != (frame.width, frame.height):
                raise DataError(
                    f"{self.path}: the size of its frames changes, from {size[0]} x {size[1]} to "
                    f"{frame.width} x {frame.height} pixels. Convert it to one (ffmpeg -i IN -vf scale=-2:480 OUT)."
                )
            yield np.ascontiguousarray(upright(self._in_rgb(frame, reformatter), matrix))

    def _in_rgb(self, frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
        try:
            return reformatter.reformat(frame, frame.width, frame.height, "rgb24", threads=1).to_ndarray()
        except (av.error.FFmpegError, ValueError):
            raise DataError(
                f"{self.path}: its frames ({frame.format.name}) cannot be made RGB. Convert it to H.264 (.mp4)."
            ) from None

    def _decode(self, wanted: list[int]) -> Iterator[av.VideoFrame]:
        """One decoded frame for each of the `wanted` places, ascending."""
        if self._timed:
            runs = groupby(wanted, key=lambda index: self._keyframe_before(self._times[index]))
        else:
            runs = [(0, wanted)]
        for start, run in runs:
            if self._stream.codec_context.is_open:
                self._stream.codec_context.flush_buffers()
            yield from self._decode_run(start, list(run))

    def _decode_run(self, start: int, wanted: list[int]) -> Iterator[av.VideoFrame]:
        """The `wanted` frames, decoded from packet `start` on. A missing one is replaced by a near one."""
        done, last, last_index = 0, None, -1
        try:
            for order, frame in enumerate(self._frames_from(start, wanted)):
                if self._timed and frame.pts is None:
                    continue  # of a damaged packet: nobody knows where it belongs
                index = bisect_right(self._times, frame.pts) - 1 if self._timed else order
                while done < len(wanted) and wanted[done] < index:
                    near = (frame, index) if last is None else (last, last_index)
                    yield self._stand_in(wanted[done], *near)
                    done += 1
                if done < len(wanted) and wanted[done] == index:
                    yield frame
                    done += 1
                if done == len(wanted):
                    return
                last, last_index = frame, index
        except av.error.FFmpegError as fault:
            place = f"frame {wanted[done]} of {self.num_frames}"
            raise DataError(f"{self.path}: {place} cannot be decoded ({fault.strerror}).") from None
        for index in wanted[done:]:
            yield self._stand_in(index, last, last_index)

    def _stand_in(self, wanted: int, frame: av.VideoFrame | None, index: int) -> av.VideoFrame:
        """`frame`, the one at `index`, in the place of the one wanted. Raises DataError when it is not near."""
        if frame is None or abs(wanted - index) > NEAR_FRAMES:
            raise DataError(
                f"{self.path}: frame {wanted} of {self.num_frames} cannot be decoded; "
                f"the nearest good frame is {'none' if frame is None else index}. The file is damaged."
            )
        self.num_repeated += 1
        return frame

    def _frames_from(self, start: int, wanted: list[int]) -> Iterator[av.VideoFrame]:
        """All frames from packet `start` on, in the order they are shown."""
        context = self._stream.codec_context
        wanted_times = {self._times[index] for index in wanted} if self._timed else None
        for packet in self._packets[start:]:
            self._deadline.check()
            if wanted_times is not None:  # frames that no other frame needs, and we neither, are not decoded
                context.skip_frame = "DEFAULT" if packet.pts in wanted_times else "NONREF"
            yield from context.decode(packet)
        yield from context.decode(None)

    def _keyframe_before(self, time: int) -> int:
        """The place of the last packet from which the frame shown at `time` can be decoded."""
        return max((key for key in self._keys if self._packets[key].pts <= time), default=0)


def open_video(
    path: str | Path, span: tuple[float, float] | None = None, timeout_sec: float | None = None
) -> VideoFile | FrameFolder:
    """The video at `path`, a file or a folder of frames; of it the part `span`, as VideoRecord has it.

    Use it in a `with`. Raises DataError, and ReadTimeoutError when opening and reading take more than `timeout_sec`.
    """
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a folder cannot be reached
        return VideoFile(path, span, timeout_sec)
    if span is None:
        return FrameFolder(path, timeout_sec)
    return FrameRange(path, int(span[0]), int(span[1]), timeout_sec)


def read_frames(path: str | Path, indices: Sequence[int]) -> np.ndarray:
    """The frames `indices` (non-decreasing, repeats allowed) as uint8 (T, H, W, 3), RGB. Raises DataError."""
    with open_video(path) as video:
        return video.read(indices)


def count_frames(path: str | Path) -> int:
    """How many frames there are, without decoding one. Raises DataError."""
    with open_video(path) as video:
        return video.num_frames
