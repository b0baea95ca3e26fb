"""Reading exactly the frames that are asked for, from a video file or from a folder of frames.

    with open_video(path) as video:
        frames = video.read(indices_of(video.num_frames))      # uint8 (T, H, W, 3), RGB

A video file is demultiplexed whole when it is opened: its packets are few and small, they give the true number
of frames whatever the header says, and the frames wanted can then be decoded from the nearest keyframe on. Of a
part of a long video (`span`), only that part is demultiplexed.
Decoding is single-threaded: the workers of the loader are the parallelism, and FFmpeg's threads can deadlock.

T frame, H W space.
"""

import os
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from slowfast_gta.datasets.frames import FrameFolder, FrameRange
from slowfast_gta.errors import DataError

# Containers that say when each frame is shown. In the others (avi) only the order of the decoded frames counts.
_TIMED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")

# Readers disagree on the last frames of some files: a frame this many places away stands in for a missing one.
_NEAR_FRAMES = 3

# Times that are this near to those of a constant rate were rounded by a container, most of them to milliseconds.
_ROUNDING_SEC = 1.5e-3

# Titles and comments that are not UTF-8 must not stop the reading: PyAV 19 sees to that itself and has no such option.
_OPEN_OPTIONS = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


class VideoFile:
    """An open video file. `num_repeated` counts the frames asked for that did not decode and are a near one instead.

    With `span`, (start, stop) in seconds, the frames shown from `start` until before `stop` are its frames.
    """

    def __init__(self, path: str | Path, span: tuple[float, float] | None = None):
        self.path = str(path)
        self.num_repeated = 0
        _check_is_file(self.path)
        try:
            self._container = av.open(f"file:{self.path}", **_OPEN_OPTIONS)
        except av.error.FFmpegError as fault:
            raise DataError(f"{self.path}: this is not a video that can be read ({fault.strerror}).") from None
        try:
            self._open_stream()
            if span is None:
                self._index_packets()
            else:
                self._index_span(*span)
        except BaseException:
            self.close()
            raise

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
        shown = np.array(self._times[self._first : self._first + self.num_frames])
        times = (shown - shown[0]) * float(self._stream.time_base)
        if self.fps:
            even = np.arange(self.num_frames) / self.fps
            if np.abs(times - even).max() <= _ROUNDING_SEC:
                return even
        return times

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames `indices` (non-decreasing, repeats allowed) as uint8 (T, H, W, 3), RGB."""
        out = None
        reformatter = VideoReformatter()  # one for all frames, in one thread: ten times faster than one for each
        previous = None
        frames = self._decode(sorted({self._first + index for index in indices}))
        for place, index in enumerate(indices):
            if index == previous:
                out[place] = out[place - 1]
                continue
            frame = next(frames)
            if out is None:
                out = np.empty((len(indices), frame.height, frame.width, 3), np.uint8)
            height, width = out.shape[1:3]
            out[place] = reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
            previous = index
        return out

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """`read`, one frame (H, W, 3) after the other and each once, for more than fits into memory."""
        reformatter, size = VideoReformatter(), None
        for frame in self._decode([self._first + index for index in indices]):
            size = size or (frame.width, frame.height)
            yield reformatter.reformat(frame, *size, "rgb24", threads=1).to_ndarray()

    def _open_stream(self) -> None:
        if not self._container.streams.video:
            raise DataError(f"{self.path}: there is no video in this file.")
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1
        self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
        self._timed = self._container.format.name in _TIMED_FORMATS
        self._packets, self._first = [], 0

    def _index_packets(self) -> None:
        """Collects the packets of the video stream, and the time and place of each frame."""
        times, ends = [], {}
        try:
            for packet in self._container.demux():
                if packet.size and packet.dts is not None:
                    ends[packet.stream] = max(ends.get(packet.stream, 0), packet.dts + (packet.duration or 0))
                if packet.size and packet.stream is self._stream:
                    self._packets.append(packet)
                    if not packet.is_discard:  # an edit list may hide frames that others need to be decoded
                        times.append(packet.pts)
        except av.error.FFmpegError as fault:
            raise DataError(f"{self.path}: after {len(times)} frames, {fault.strerror}.") from None
        self.num_frames = len(times)
        if not times:
            raise DataError(f"{self.path}: there is not one frame in this video.")
        self._check_not_truncated(max((float(end * stream.time_base) for stream, end in ends.items()), default=0.0))
        self._timed = self._timed and None not in times
        self._times = sorted(times) if self._timed else []
        self._keys = [place for place, packet in enumerate(self._packets) if packet.is_keyframe] or [0]

    def _index_span(self, start_sec: float, stop_sec: float) -> None:
        """The same for the packets that the frames between two times need, of a file that may be hours long."""
        if not self._timed:
            raise DataError(
                f"{self.path}: a part of a video is found by the times of its frames, and this kind of file "
                f"({self._container.format.name}) has none. Convert it to .mp4 or .webm, or extract its frames."
            )
        begin = self._stream.start_time or 0
        start, stop = (begin + round(seconds / self._stream.time_base) for seconds in (start_sec, stop_sec))
        back_sec = 0.0
        while True:  # a keyframe may come before the start in the file and be shown after it: look further back
            self._packets = self._packets_between(max(start - round(back_sec / self._stream.time_base), begin), stop)
            self._keys = [place for place, packet in enumerate(self._packets) if packet.is_keyframe]
            from_keyframe = self._keys and self._packets[self._keys[0]].pts <= start
            if from_keyframe or back_sec > start_sec:
                break
            back_sec = 2 * back_sec + 1
        self._keys = self._keys or [0]
        self._times = sorted(packet.pts for packet in self._packets if not packet.is_discard)
        self._first = bisect_left(self._times, start)
        self.num_frames = bisect_left(self._times, stop) - self._first
        ends = [packet.pts + (packet.duration or 0) - begin for packet in self._packets]
        end_sec = float(max(ends, default=0) * self._stream.time_base)
        slack_sec = max(0.1 * (stop_sec - start_sec), _NEAR_FRAMES / (self.fps or 1.0))
        if self.num_frames < 1 or end_sec < stop_sec - slack_sec:
            raise DataError(
                f"{self.path}: the part from {start_sec:.2f} s to {stop_sec:.2f} s is not in this video, "
                f"which has frames until {end_sec:.2f} s. The file is cut off, or the list is not of this video."
            )

    def _packets_between(self, start: int, stop: int) -> list[av.Packet]:
        """The packets from the keyframe before `start` on, until no later one can be shown before `stop`."""
        packets = []
        try:
            self._container.seek(start, stream=self._stream, backward=True)
            for packet in self._container.demux(self._stream):
                if packet.size and packet.pts is not None:
                    packets.append(packet)
                if packet.dts is not None and packet.dts >= stop:  # it is shown no earlier than it is decoded
                    break
        except av.error.FFmpegError as fault:
            raise DataError(f"{self.path}: after {len(packets)} frames, {fault.strerror}.") from None
        return packets

    def _check_not_truncated(self, end_sec: float) -> None:
        """Raises DataError when the packets of all streams end well before the header says that the file does."""
        if not self._container.duration:
            return
        start_sec = max(self._container.start_time or 0, 0) / av.time_base
        announced_sec = start_sec + self._container.duration / av.time_base
        if announced_sec - end_sec > max(0.1 * announced_sec, _NEAR_FRAMES / (self.fps or 1.0)):
            raise DataError(
                f"{self.path}: the file is cut off: its header says {announced_sec:.2f} s, and it ends after "
                f"{end_sec:.2f} s, {self.num_frames} frames. Fetch or convert it again."
            )

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
                index = bisect_right(self._times, frame.pts) - 1 if self._timed else order
                while done < len(wanted) and wanted[done] < index:
                    yield self._stand_in(wanted[done], last if last is not None else frame, max(last_index, 0))
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
        if frame is None or abs(wanted - index) > _NEAR_FRAMES:
            raise DataError(
                f"{self.path}: frame {wanted} of {self.num_frames} cannot be decoded; "
                f"the last good frame before it is {'none' if frame is None else index}. The file is damaged."
            )
        self.num_repeated += 1
        return frame

    def _frames_from(self, start: int, wanted: list[int]) -> Iterator[av.VideoFrame]:
        """All frames from packet `start` on, in the order they are shown."""
        context = self._stream.codec_context
        wanted_times = {self._times[index] for index in wanted} if self._timed else None
        for packet in self._packets[start:]:
            if wanted_times is not None:  # frames that no other frame needs, and we neither, are not decoded
                context.skip_frame = "DEFAULT" if packet.pts in wanted_times else "NONREF"
            yield from context.decode(packet)
        yield from context.decode(None)

    def _keyframe_before(self, time: int) -> int:
        """The place of the last packet from which the frame shown at `time` can be decoded."""
        return max((key for key in self._keys if self._packets[key].pts <= time), default=0)


def open_video(path: str | Path, span: tuple[float, float] | None = None) -> VideoFile | FrameFolder:
    """The video at `path`, a file or a folder of frames; of it the part `span`, as VideoRecord has it.

    Use it in a `with`. Raises DataError.
    """
    if not Path(path).is_dir():
        return VideoFile(path, span)
    return FrameFolder(path) if span is None else FrameRange(path, int(span[0]), int(span[1]))


def read_frames(path: str | Path, indices: Sequence[int]) -> np.ndarray:
    """The frames `indices` (non-decreasing, repeats allowed) as uint8 (T, H, W, 3), RGB. Raises DataError."""
    with open_video(path) as video:
        return video.read(indices)


def count_frames(path: str | Path) -> int:
    """How many frames there are, without decoding one. Raises DataError."""
    with open_video(path) as video:
        return video.num_frames


def _check_is_file(path: str) -> None:
    """Raises DataError unless `path` is a file with something in it that we may read."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file or folder.") from None
    except OSError as fault:
        raise DataError(f"{path}: the file cannot be reached ({fault.strerror}).") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: this is not a regular file.")
    if status.st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes).")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: there is no permission to read the file.")
