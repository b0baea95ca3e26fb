"""The packets of a video, before anything is decoded: few and small, they give the true number of frames, and the
time of each, whatever the header says.

A packet that is handed to the decoder carries its number instead of its time, so that each frame tells which
packet it is from.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import av
import numpy as np

from slowfast_gta.errors import DataError, ReadTimeoutError, counted
from slowfast_gta.video import index_cache
from slowfast_gta.video.containers import open_container, video_stream
from slowfast_gta.video.limits import MAX_KEPT_BYTES, MAX_KEPT_PACKETS, Deadline, check_part_size
from slowfast_gta.video.packet_index import IS_KEY, IS_SHOWN, NO_TIME, PacketIndex, PacketTable

# Readers disagree on the last frames of some files: a frame this many positions away stands in for a missing one.
NEAR_FRAMES = 3

# Containers that say when each frame is shown. In the others (avi) only the order of the decoded frames counts.
_TIMED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")

# Of the others, containers that say which packets are keyframes: in these, decoding can begin there where the codec
# keeps the order of the frames.
_KEYED_FORMATS = ("avi", "flv")

_VOP_START = b"\x00\x00\x01\xb6"  # MPEG-4: a picture follows
_MAY_HAVE_NO_PICTURE = {"mpeg4", "vp8", "libvpx"}  # decoders
_MAX_EMPTY_BYTES = 64  # a packet without a picture is small


class Part(NamedTuple):
    """The frames of a video, or of a part of one, among those of an index."""

    index: PacketIndex  # type: ignore[assignment]  # nobody looks for a value in this tuple
    first: int
    num_frames: int


class _Changed(Exception):  # noqa: N818 - never seen outside
    """A packet is not what the index says."""


class PacketReader:
    """Demultiplexes the video `stream` of an open container, all of it or a part."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        path: str,
        deadline: Deadline,
        tolerant: bool = False,
    ):
        """With `tolerant`, of a file that is cut off what is there is read, and `fault` is set."""
        self.fault: str | None = None
        self._tolerant = tolerant
        self._container, self._stream, self._path, self._deadline = container, stream, path, deadline
        self._timed = container.format.name in _TIMED_FORMATS
        stores_order = container.format.name in (*_TIMED_FORMATS, *_KEYED_FORMATS)
        self._reorders = bool(stream.codec_context.has_b_frames) or not stores_order
        self._slack_sec = NEAR_FRAMES / float(stream.average_rate or 1)
        self._kept: list[av.Packet] | None = None  # all packets of the index, where they are few
        self._index: PacketIndex  # as whole() or part() finds it
        self._seeks = True  # as long as seeking leads to where it should

    def whole(self) -> Part:
        """The whole video. Raises DataError."""
        key = index_cache.key_of(self._path)
        known = index_cache.load(key, self._timed, self._reorders) if key else None
        if known is None:
            self._read_index(key)
        else:
            self._index = known
        return Part(self._index, 0, self._index.num_frames)

    def _read_index(self, key: index_cache.Key | None) -> None:
        writer, ends = _TableWriter(self._stream.codec_context.name), dict[av.stream.Stream, int]()
        try:
            for packet in self._container.demux():
                self._deadline.check()
                shown = packet.dts if packet.pts is None else packet.pts
                if packet.size and shown is not None:
                    ends[packet.stream] = max(ends.get(packet.stream, 0), shown + (packet.duration or 0))
                if packet.size and packet.stream is self._stream:
                    writer.add(packet)
        except av.error.FFmpegError as fault:
            self._pass_over(self._fault(fault, writer.num_frames))
        if not writer.num_frames:
            raise DataError(f"{self._path}: the video contains no frames.")
        ends_sec = (float(end * stream.time_base) for stream, end in ends.items())  # type: ignore[operator]  # all have one
        end_sec = max(ends_sec, default=0.0)
        self._check_not_truncated(end_sec, writer.num_frames)
        self._index, self._kept = PacketIndex(writer.table(), self._timed, self._reorders), writer.kept
        if key and not self.fault:
            index_cache.save(key, self._index)

    def part(self, start_sec: float, stop_sec: float) -> Part:
        """What the frames between two times need, of a file that may be hours long. Raises DataError."""
        if not self._timed:
            raise DataError(
                f"{self._path}: a part of a video is found by the times of its frames, but this kind of file "
                f"({self._container.format.name}) has none. Convert it to .mp4 or .webm, or extract its frames."
            )
        begin, tick_sec = self._stream.start_time or 0, self._stream.time_base
        assert tick_sec is not None, "the stream of an open container has one"
        start, stop = (begin + round(seconds / tick_sec) for seconds in (start_sec, stop_sec))
        back_sec = 0.0
        while True:  # a keyframe may come before the start in the file and be shown after it: look further back
            writer, end = self._between(max(start - round(back_sec / tick_sec), begin), stop)
            table = writer.table()
            keys = np.flatnonzero(table.flags & IS_KEY)
            if (len(keys) and table.pts[keys[0]] <= start) or back_sec > start_sec:
                break
            back_sec = 2 * back_sec + 1
        self._index, self._kept = PacketIndex(table, self._timed, self._reorders), writer.kept
        times = self._index.times
        if writer.num_frames and not len(times):
            raise DataError(
                f"{self._path}: some of its frames have no time, by which a part of a video is found. "
                "Convert it to .mp4 or .webm, or extract its frames."
            )
        first = bisect_left(times, start)
        num_frames = bisect_left(times, stop) - first
        end_sec = float(max(end - begin, 0) * tick_sec)
        if num_frames < 1 or end_sec < stop_sec - max(0.1 * (stop_sec - start_sec), self._slack_sec):
            raise DataError(
                f"{self._path}: the part from {start_sec:.2f} s to {stop_sec:.2f} s is not in this video, "
                f"which has frames until {end_sec:.2f} s. The file is truncated, or the list is not of this video."
            )
        return Part(self._index, first, num_frames)

    def _between(self, start: int, stop: int) -> tuple["_TableWriter", int]:
        """The packets from the keyframe before `start` on, until no later one can be shown before `stop`; and when
        the last of their frames has been shown."""
        writer, num_bytes, end = _TableWriter(self._stream.codec_context.name, keep_all=True), 0, 0
        try:
            self._container.seek(start, stream=self._stream, backward=True)
            for packet in self._container.demux(self._stream):
                self._deadline.check()
                if packet.size:
                    num_bytes += packet.size
                    check_part_size(self._path, num_bytes)
                    end = max(end, (packet.pts or 0) + (packet.duration or 0))
                    dts = packet.dts
                    writer.add(packet)
                    if dts is not None and dts >= stop:  # it is shown no earlier than it is decoded
                        break
        except av.error.FFmpegError as fault:
            raise self._fault(fault, writer.num_frames) from None
        return writer, end

    def packets_from(self, start: int, stop: int | None = None) -> Iterator[av.Packet]:
        """The packets number `start` to `stop` - 1 of the index, each with its number as its pts. Raises DataError."""
        stop = len(self._index.table) if stop is None else min(stop, len(self._index.table))
        if self._kept is not None:
            yield from self._kept[start:stop]
            return
        number = start
        if self._seeks and start:
            try:
                for packet in self._read(*self._seek(start), start, stop):
                    yield packet
                    number += 1
                return
            except _Changed:
                self._seeks = False
        try:
            with open_container(self._path, self._deadline) as container:
                packets = container.demux(video_stream(container, self._path))
                yield from self._read(0, packets, number, stop)
        except _Changed:
            index_cache.forget(index_cache.key_of(self._path))
            raise DataError(
                f"{self._path}: the file has changed since it was first looked at. Is it being written? Try again."
            ) from None

    def _seek(self, start: int) -> tuple[int, Iterator[av.Packet]]:
        """Goes to packet `start` or somewhat before it: the number of the next packet, and it and all after it. Raises
        _Changed where that is not clear."""
        table = self._index.table
        times = [int(time) for time in (table.pts[start], table.dts[start]) if time != NO_TIME]
        if not times:
            raise _Changed
        try:
            self._container.seek(min(times), stream=self._stream, backward=True)
            packets = self._container.demux(self._stream)
            packet = next((packet for packet in packets if packet.size), None)
        except av.error.FFmpegError as fault:
            if isinstance(fault, av.error.ExitError):
                raise self._deadline.passed() from None
            raise _Changed from None
        number = -1 if packet is None else self._number_of(packet)
        if packet is None or not 0 <= number <= start:
            raise _Changed
        return number, chain([packet], packets)

    def _number_of(self, packet: av.Packet) -> int:
        """Which packet of the index it is; -1 where none, or more than one, may be meant."""
        table = self._index.table
        same = (table.pos == packet.pos) & (table.size == packet.size)
        if self._timed and packet.pts is not None:
            same &= table.pts == packet.pts
        matches = np.flatnonzero(same)
        return int(matches[0]) if len(matches) == 1 and packet.pos is not None else -1

    def _read(self, number: int, packets: Iterator[av.Packet], start: int, stop: int) -> Iterator[av.Packet]:
        """Packets `start` to `stop` - 1, of which `packets` begin with `number`. Raises _Changed where one of them is
        not what the index says."""
        table = self._index.table
        try:
            for packet in packets:
                self._deadline.check()
                if number == stop:
                    return
                if packet.size:
                    self._check_is(packet, number)
                    if number >= start:
                        packet.pts = number
                        yield packet
                    number += 1
        except av.error.FFmpegError as fault:
            raise self._fault(fault, number) from None
        if number < stop <= len(table):
            raise _Changed

    def _check_is(self, packet: av.Packet, number: int) -> None:
        table = self._index.table
        is_same = packet.size == table.size[number] and _file_position(packet) == table.pos[number]
        if not is_same or (self._timed and _time(packet.pts) != table.pts[number]):
            raise _Changed

    def _fault(self, fault: av.error.FFmpegError, num_frames: int) -> DataError:
        if isinstance(fault, av.error.ExitError):  # FFmpeg itself noticed that the time is over
            return self._deadline.passed()
        return DataError(f"{self._path}: after {counted(num_frames, 'frame')}: {fault.strerror}.")

    def _check_not_truncated(self, end_sec: float, num_frames: int) -> None:
        """Raises DataError when the packets of all streams end well before the header says that the file does."""
        if not self._container.duration:
            return
        announced_sec = self._container.duration / av.time_base  # from 0 or from the first frame: containers differ
        if announced_sec - end_sec > max(0.1 * announced_sec, self._slack_sec):
            self._pass_over(
                DataError(
                    f"{self._path}: the file is truncated: its header says {announced_sec:.2f} s, but it ends after "
                    f"{end_sec:.2f} s, {counted(num_frames, 'frame')}. Fetch or convert it again."
                )
            )

    def _pass_over(self, fault: DataError) -> None:
        """Raises `fault`, unless that is to be tolerated."""
        if not self._tolerant or isinstance(fault, ReadTimeoutError):
            raise fault from None
        self.fault = self.fault or str(fault)


class _TableWriter:
    """Notes what packets are like, and keeps them while they are small."""

    def __init__(self, codec: str, keep_all: bool = False):
        self.kept: list[av.Packet] | None = []
        self.num_frames = 0
        self._codec = codec if codec in _MAY_HAVE_NO_PICTURE else None
        self._keep_all, self._num_bytes = keep_all, 0
        self._columns = [array("q") for _ in range(4)]
        self._flags = array("B")

    def add(self, packet: av.Packet) -> None:
        """`packet` gets its number as its pts: it must not be looked at for its time afterwards."""
        pts, dts, pos, size = self._columns
        is_picture = self._codec is None or has_picture(packet, self._codec)
        # An edit list may hide frames that others need to be decoded.
        is_shown = is_picture and not packet.is_discard
        self.num_frames += is_shown
        self._flags.append(IS_KEY * (is_picture and packet.is_keyframe) + IS_SHOWN * is_shown)
        num_bytes = packet.size
        pts.append(_time(packet.pts))
        dts.append(_time(packet.dts))
        pos.append(_file_position(packet))
        size.append(num_bytes)
        self._num_bytes += num_bytes
        if (self._num_bytes > MAX_KEPT_BYTES or len(pts) > MAX_KEPT_PACKETS) and not self._keep_all:
            self.kept = None
        if self.kept is not None:
            packet.pts = len(pts) - 1
            self.kept.append(packet)

    def table(self) -> PacketTable:
        pts, dts, pos, size = (np.frombuffer(column, np.int64) for column in self._columns)
        return PacketTable(pts, dts, pos, size, np.frombuffer(self._flags, np.uint8))


def has_picture(packet: av.Packet, codec: str) -> bool:
    """Whether a packet has a picture to show: some codecs keep ones apart that are only referred to, or fill up."""
    if codec in ("vp8", "libvpx"):  # RFC 6386, 9.1: show_frame
        return bool(memoryview(packet)[0] & 0x10)
    if codec == "mpeg4" and packet.size <= _MAX_EMPTY_BYTES:
        return _VOP_START in bytes(packet)
    return True


def _time(ticks: int | None) -> int:
    return NO_TIME if ticks is None else ticks


def _file_position(packet: av.Packet) -> int:
    return -1 if packet.pos is None else packet.pos
