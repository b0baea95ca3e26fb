"""The packets of a video, before anything is decoded: few and small, they give the true number of frames, and the
time of each, whatever the header says."""

from bisect import bisect_left
from typing import NamedTuple

import av

from slowfast_gta.errors import DataError
from slowfast_gta.video.limits import Deadline, check_packets_size

# Readers disagree on the last frames of some files: a frame this many places away stands in for a missing one.
NEAR_FRAMES = 3

# Containers that say when each frame is shown. In the others (avi) only the order of the decoded frames counts.
_TIMED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")


class Packets(NamedTuple):
    """What is needed to decode the frames of a video, or of a part of one."""

    packets: list[av.Packet]
    keys: list[int]  # the places of those that decoding can start from
    times: list[int]  # when each of the frames is shown, ascending, in ticks of the stream; empty where nobody knows
    first: int  # the place in `times` of the first frame of the part
    num_frames: int


class PacketReader:
    """Demultiplexes the video `stream` of an open container, all of it or a part."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream, path: str, deadline: Deadline):
        self._container, self._stream, self._path, self._deadline = container, stream, path, deadline
        self._timed = container.format.name in _TIMED_FORMATS
        self._slack_sec = NEAR_FRAMES / float(stream.average_rate or 1)

    def whole(self) -> Packets:
        """The packets of the whole video. Raises DataError."""
        packets, times, ends, num_bytes = [], [], {}, 0
        try:
            for packet in self._container.demux():
                self._deadline.check()
                shown = packet.dts if packet.pts is None else packet.pts
                if packet.size and shown is not None:
                    ends[packet.stream] = max(ends.get(packet.stream, 0), shown + (packet.duration or 0))
                if packet.size and packet.stream is self._stream:
                    num_bytes += packet.size
                    check_packets_size(self._path, num_bytes)
                    packets.append(packet)
                    if not packet.is_discard:  # an edit list may hide frames that others need to be decoded
                        times.append(packet.pts)
        except av.error.FFmpegError as fault:
            raise self._fault(fault, len(times)) from None
        if not times:
            raise DataError(f"{self._path}: there is not one frame in this video.")
        end_sec = max((float(end * stream.time_base) for stream, end in ends.items()), default=0.0)
        self._check_not_truncated(end_sec, len(times))
        known = self._timed and None not in times
        return Packets(packets, _keys(packets), sorted(times) if known else [], 0, len(times))

    def part(self, start_sec: float, stop_sec: float) -> Packets:
        """The packets that the frames between two times need, of a file that may be hours long. Raises DataError."""
        if not self._timed:
            raise DataError(
                f"{self._path}: a part of a video is found by the times of its frames, and this kind of file "
                f"({self._container.format.name}) has none. Convert it to .mp4 or .webm, or extract its frames."
            )
        begin = self._stream.start_time or 0
        start, stop = (begin + round(seconds / self._stream.time_base) for seconds in (start_sec, stop_sec))
        back_sec = 0.0
        while True:  # a keyframe may come before the start in the file and be shown after it: look further back
            packets = self._between(max(start - round(back_sec / self._stream.time_base), begin), stop)
            keys = _keys(packets)
            if (packets and packets[keys[0]].is_keyframe and packets[keys[0]].pts <= start) or back_sec > start_sec:
                break
            back_sec = 2 * back_sec + 1
        times = sorted(packet.pts for packet in packets if not packet.is_discard)
        first = bisect_left(times, start)
        num_frames = bisect_left(times, stop) - first
        ends = [packet.pts + (packet.duration or 0) - begin for packet in packets]
        end_sec = float(max(ends, default=0) * self._stream.time_base)
        if num_frames < 1 or end_sec < stop_sec - max(0.1 * (stop_sec - start_sec), self._slack_sec):
            raise DataError(
                f"{self._path}: the part from {start_sec:.2f} s to {stop_sec:.2f} s is not in this video, "
                f"which has frames until {end_sec:.2f} s. The file is cut off, or the list is not of this video."
            )
        return Packets(packets, keys, times, first, num_frames)

    def _between(self, start: int, stop: int) -> list[av.Packet]:
        """The packets from the keyframe before `start` on, until no later one can be shown before `stop`."""
        packets, num_bytes = [], 0
        try:
            self._container.seek(start, stream=self._stream, backward=True)
            for packet in self._container.demux(self._stream):
                self._deadline.check()
                if packet.size and packet.pts is not None:
                    num_bytes += packet.size
                    check_packets_size(self._path, num_bytes)
                    packets.append(packet)
                if packet.dts is not None and packet.dts >= stop:  # it is shown no earlier than it is decoded
                    break
        except av.error.FFmpegError as fault:
            raise self._fault(fault, len(packets)) from None
        return packets

    def _fault(self, fault: av.error.FFmpegError, num_frames: int) -> DataError:
        if isinstance(fault, av.error.ExitError):  # FFmpeg itself noticed that the time is over
            return self._deadline.passed()
        return DataError(f"{self._path}: after {num_frames} frames, {fault.strerror}.")

    def _check_not_truncated(self, end_sec: float, num_frames: int) -> None:
        """Raises DataError when the packets of all streams end well before the header says that the file does."""
        if not self._container.duration:
            return
        announced_sec = self._container.duration / av.time_base  # from 0 or from the first frame: containers differ
        if announced_sec - end_sec > max(0.1 * announced_sec, self._slack_sec):
            raise DataError(
                f"{self._path}: the file is cut off: its header says {announced_sec:.2f} s, and it ends after "
                f"{end_sec:.2f} s, {num_frames} frames. Fetch or convert it again."
            )


def _keys(packets: list[av.Packet]) -> list[int]:
    """The places of the keyframes; of a video that has none, its begin."""
    return [place for place, packet in enumerate(packets) if packet.is_keyframe] or [0]
