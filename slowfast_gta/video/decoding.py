"""From packets to frames: exactly the frames wanted, decoded from the nearest packet that they can be decoded from.

The order in which the decoder gives frames is what counts. Times say it before anything is decoded, and are checked
while it is: where they do not agree (equal times, times in the order of storage), the frames around are decoded once
to see their order; where a keyframe does not give all that should follow it (open groups of pictures, gradual
refresh), decoding begins before it.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import av

from slowfast_gta.errors import DataError
from slowfast_gta.video.limits import Deadline
from slowfast_gta.video.packet_index import PacketIndex
from slowfast_gta.video.packets import PacketReader

# Decoders whose frames that no other needs can be left out, packet by packet, without a change to the others: shown by
# tests/video/test_codecs.py. Not so: HEVC (what its own temporal layer does not need, the next one may), AV1 (dav1d
# takes the switch only when it is opened). VP8 and VP9 leave hardly a frame unused.
SKIPPING_IS_EXACT = {"h264", "mpeg1video", "mpeg2video", "mpeg4"}

_MAX_PACKETS_BACK = 4096  # from a keyframe: how far before it decoding begins at most, where frames are missing


class Decoded(NamedTuple):
    """A frame that was wanted, and the one that was decoded: another one where it is missing, None without any."""

    wanted: int
    rank: int
    frame: av.VideoFrame | None


class FrameDecoder:
    """Decodes frames of an index, by their ranks.

    With `tolerant`, packets that the decoder refuses are passed over, and `num_broken` counts them; else the first one
    raises DataError.
    """

    def __init__(self, path: str, deadline: Deadline, tolerant: bool = False):
        self.path = path
        self._broken: set[int] = set()  # packets that the decoder refused
        self._deadline, self._tolerant = deadline, tolerant
        self._context: av.VideoCodecContext
        self._reader: PacketReader
        self._index: PacketIndex
        self._settled: set[int] = set()  # starts whose frames are known by decoding them

    @property
    def num_broken(self) -> int:
        """Packets that the decoder refused."""
        return len(self._broken)

    def _decode(self, wanted: Sequence[int]) -> Iterator[Decoded]:
        """The `wanted` frames, ascending."""
        if not self._index.is_ordered:
            yield from self._decode_in_order(wanted)
            return
        position = 0
        while position < len(wanted):
            start = self._index.start_of(wanted[position])
            stop = position + 1
            while stop < len(wanted) and self._index.start_of(wanted[stop]) == start:
                stop += 1
            position += yield from self._decode_run(start, wanted[position:stop])

    def _decode_all(self, first: int, stop: int) -> Iterator[Decoded]:
        """The frames first..stop-1: decoded in one go, but for groups in which one is not where it should be."""
        index, rank = self._index, first
        if not index.is_ordered:
            yield from self._decode_in_order(range(first, stop))
            return
        while rank < stop:
            if not index.is_doubtful:
                for frame in self._in_sequence(rank):
                    yield Decoded(rank, rank, frame)
                    rank += 1
                    if rank == stop:
                        return
            group_stop = min(max(index.group(index.start_of(rank))[1], rank + 1), stop)
            yield from self._decode(range(rank, group_stop))
            rank = group_stop

    def _in_sequence(self, rank: int) -> Iterator[av.VideoFrame]:
        """The frames from `rank` on, until one comes that is not the next."""
        start = self._index.start_of(rank)
        is_first = start > 0
        with suppress(
            av.error.FFmpegError
        ):  # it is raised again when the group is decoded by itself, and is reported then
            for frame in self._frames_from(start, None):
                number = self._rank_of(frame)
                if is_first and number >= self._index.first_rank(start):
                    if not frame.key_frame:
                        return  # called a keyframe by the container alone
                    is_first = False
                if number == rank:
                    yield frame
                    rank += 1
                elif number > rank:
                    return

    def _decode_run(self, start: int, wanted: Sequence[int]) -> Generator[Decoded, None, int]:
        """The `wanted` frames, decoded from packet `start` on; of them only the first few where the others are not
        where they should be and the order has been corrected. Returns how many."""
        settled = start in self._settled
        if self._index.is_doubtful and not settled:
            self._settle(start)
            return 0
        skips = self._may_skip(start)
        done, first, last = 0, self._index.first_rank(start), None
        expected = first
        try:
            for frame in self._frames_from(start, wanted if skips else None):
                rank = self._rank_of(frame)
                if rank < first or (rank < expected and settled):
                    continue  # it belongs to what is before, or is shown again
                if not settled and (rank < expected or rank > (wanted[done] if skips else expected)):
                    break  # one was left out, or comes later
                if not settled and last is None and start and not frame.key_frame:
                    break  # called a keyframe by the container alone
                while wanted[done] <= rank:
                    nearest = last if last and wanted[done] < rank else (rank, frame)
                    yield Decoded(wanted[done], *nearest)
                    done += 1
                    if done == len(wanted):
                        return done
                expected, last = rank + 1, (rank, frame)
        except av.error.FFmpegError as fault:
            if settled:
                raise self._fault(wanted[done], fault) from None
        if not settled:
            self._settle(start)
            return done
        for index in wanted[done:]:
            yield Decoded(index, *(last or (-1, None)))
        return len(wanted)

    def _decode_in_order(self, wanted: Sequence[int]) -> Iterator[Decoded]:
        """The `wanted` frames, counted from the first that the decoder gives."""
        done, last = 0, None
        try:
            for rank, frame in enumerate(self._frames_from(0, None)):
                if wanted[done] == rank:
                    yield Decoded(rank, rank, frame)
                    done += 1
                    if done == len(wanted):
                        return
                last = (rank, frame)
        except av.error.FFmpegError as fault:
            raise self._fault(wanted[done], fault) from None
        for index in wanted[done:]:
            yield Decoded(index, *(last or (-1, None)))

    def _settle(self, start: int) -> None:
        """Finds out which frames are decoded from `start`, and in which order."""
        self._settled.add(start)
        first, stop, stop_packet = self._index.group(start)
        earlier_starts = self._index.starts_before(start)
        # Of a doubtful order, what is shown before the keyframe is seen from the one before alone.
        begin = earlier_starts[0] if self._index.is_doubtful and earlier_starts else start
        packets = self._order_from(begin, first, stop, stop_packet)
        if len(packets) < stop - first:
            for earlier in _further_and_further(earlier_starts):
                if start - earlier > _MAX_PACKETS_BACK:
                    break
                more = self._order_from(earlier, first, stop, stop_packet)
                if len(more) > len(packets):
                    self._index.drop_starts(earlier, start)
                    self._settled.discard(earlier)
                    packets = more
                    break
        self._index.correct(packets, start)

    def _order_from(self, start: int, first: int, stop: int, stop_packet: int) -> list[int]:
        """The packets of the frames first..stop-1, in the order in which they are decoded from `start`."""
        packets: dict[int, None] = {}
        begun = start == 0
        with suppress(
            av.error.FFmpegError
        ):  # it is raised again when the frames themselves are decoded, and is reported then
            for frame in self._frames_from(start, None, stop_packet):
                begun = begun or frame.key_frame
                if begun and first <= self._rank_of(frame) < stop and frame.pts is not None:
                    packets[frame.pts] = None
        return list(packets)

    def _frames_from(
        self, start: int, wanted: Sequence[int] | None, stop: int | None = None
    ) -> Iterator[av.VideoFrame]:
        """All frames from packet `start` on, in the order in which they are shown; their pts is the number of their
        packet. With `wanted`, frames that no other needs, and we neither, are left out."""
        context = self._context
        if context.is_open:
            context.flush_buffers()
        kept = None if wanted is None else {int(rank) for rank in wanted}
        for packet in self._reader.packets_from(start, stop):
            self._deadline.check()
            needed = kept is None or int(self._index.ranks[packet.pts]) in kept
            if context.name in SKIPPING_IS_EXACT:
                context.skip_frame = "DEFAULT" if needed else "NONREF"
            yield from self._frames_of(packet)
        yield from self._frames_of(None)

    def _frames_of(self, packet: av.Packet | None) -> Iterator[av.VideoFrame]:
        try:
            yield from self._context.decode(packet)
        except av.error.FFmpegError:
            if packet and self._index.ranks[packet.pts] < 0:
                return  # no picture is lost with it
            if not self._tolerant:
                raise
            number = packet.pts if packet else None
            self._broken.add(len(self._index.table) if number is None else number)

    def _may_skip(self, start: int) -> bool:
        """Whether frames can be left out on the way. Not where the order is in doubt, or where there seems to be none
        that others do not need: what is left out cannot be counted."""
        known = not self._index.is_doubtful and start not in self._settled
        return known and self._context.name in SKIPPING_IS_EXACT and self._index.is_reordered(start)

    def _rank_of(self, frame: av.VideoFrame) -> int:
        """Which frame it is; -1 for one that is not shown, or that nobody can place."""
        is_known = frame.pts is not None and 0 <= frame.pts < len(self._index.ranks)
        return int(self._index.ranks[frame.pts]) if is_known else -1

    def _fault(self, rank: int, fault: av.error.FFmpegError) -> DataError:
        position = f"frame {rank} of {self._index.num_frames}"
        return DataError(f"{self.path}: {position} cannot be decoded ({fault.strerror}).")


def _further_and_further(starts: list[int]) -> Iterator[int]:
    """The 1st, 2nd, 4th, 8th ... of `starts`, and the last."""
    step = 1
    while step < len(starts):
        yield starts[step - 1]
        step *= 2
    yield from starts[-1:]
