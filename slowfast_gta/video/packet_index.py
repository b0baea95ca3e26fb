"""Which frame each packet of a video becomes, known before anything is decoded.

A frame is identified by its position in the decoder's output. Packets are stored in another order
where a codec has B-frames; their times tell the order of the frames as long as they tell the truth, which the decoder
checks (see decoding). P packets of the video stream, in the order of the file; N frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NO_TIME = np.iinfo(np.int64).min  # of a packet that has none
IS_KEY, IS_SHOWN = 1, 2  # flags of a packet

# Codecs keep a handful of frames back. Times that move a frame further than this many packets are not its times.
_MAX_REORDER = 64
_MAX_DELAY = 16  # frames that a codec keeps back


@dataclass(frozen=True)
class PacketTable:
    """What a container says of each packet."""

    pts: np.ndarray  # int64 (P,): when its frame is shown, in ticks of the stream, or NO_TIME
    dts: np.ndarray  # int64 (P,): when it is decoded, or NO_TIME
    pos: np.ndarray  # int64 (P,): where in the file it begins, or -1
    size: np.ndarray  # int64 (P,): bytes
    flags: np.ndarray  # uint8 (P,): IS_KEY, IS_SHOWN

    def __len__(self) -> int:
        return len(self.pts)


class PacketIndex:
    """The order of the frames, and from where each can be decoded."""

    def __init__(self, table: PacketTable, has_times: bool, reorders: bool):
        """`has_times`: the container says when a frame is shown. `reorders`: the codec may show frames in another
        order than they are stored in."""
        self.table = table
        shown = (table.flags & IS_SHOWN).astype(bool)
        self.num_frames = int(shown.sum())
        has_times = has_times and bool((table.pts != NO_TIME).all())
        positions = np.arange(len(table))
        order = np.argsort(table.pts, kind="stable") if has_times else positions
        # int64 (N,), ascending: when each frame is shown; empty where nobody knows.
        self.times = table.pts[order][shown[order]] if has_times else np.empty(0, np.int64)
        shifts = np.abs(order - positions).max(initial=0)
        # Without it only decoding from the begin tells which frame is which.
        self.is_ordered = (has_times or not reorders) and shifts <= _MAX_REORDER
        # With it the times do not tell the order inside a group of pictures: decoding it does.
        self.is_doubtful = self.is_ordered and reorders and not _agree(table, order)
        if self.is_doubtful:
            order = positions
        num_before = np.empty(len(table), np.int64)  # of each packet: how many frames are shown before its frame
        num_before[order] = np.cumsum(shown[order]) - shown[order]
        self.ranks = np.where(shown, num_before, -1)  # int64 (P,): the frame it becomes, or -1 for none
        keys = np.flatnonzero(table.flags & IS_KEY)
        starts = np.concatenate([[0], keys[keys > 0]])[: len(table)]
        first_ranks = np.where(starts == 0, 0, num_before[starts])
        later_ranks = np.minimum.accumulate(first_ranks[::-1])[::-1]
        # No later packet serves as many frames.
        is_best = np.append(first_ranks[:-1] < later_ranks[1:], True)[: len(table)]
        self._starts, self._first_ranks = starts[is_best], first_ranks[is_best]  # both ascending

    def start_of(self, rank: int) -> int:
        """The last packet from which frame `rank` can be decoded; the first, where there is none."""
        position = int(np.searchsorted(self._first_ranks, rank, side="right")) - 1
        return int(self._starts[max(position, 0)])

    def first_rank(self, start: int) -> int:
        """The first frame that is decoded from packet `start`; frames before it that come too may be incomplete."""
        return int(self._first_ranks[np.searchsorted(self._starts, start)])

    def starts_before(self, start: int) -> list[int]:
        """The packets before `start` from which decoding can begin, the nearest first."""
        return self._starts[self._starts < start][::-1].tolist()

    def group(self, start: int) -> tuple[int, int, int]:
        """(first, stop, stop_packet): the frames first..stop-1 are decoded from `start`, of packets before
        stop_packet."""
        position = int(np.searchsorted(self._starts, start))
        first, stop, later = int(self._first_ranks[position]), self.num_frames, len(self.table)
        if position + 1 < len(self._starts):
            stop, later = int(self._first_ranks[position + 1]), int(self._starts[position + 1])
        end = later + _MAX_REORDER  # of what may be stored after the next keyframe, and shown before it
        of_group = np.flatnonzero((self.ranks[start:end] >= first) & (self.ranks[start:end] < stop))
        return first, stop, start + int(of_group[-1]) + 1 if len(of_group) else start + 1

    def is_reordered(self, start: int) -> bool:
        """Whether the frames decoded from `start` are shown in another order than they are stored in."""
        first, stop, stop_packet = self.group(start)
        ranks = self.ranks[start:stop_packet]
        ranks = ranks[(ranks >= first) & (ranks < stop)]
        return bool((np.diff(ranks) < 0).any())

    def correct(self, packets: Sequence[int], start: int) -> None:
        """The frames of `packets`, all decoded from `start`, are given by the decoder in this order: it stands above
        the one by times."""
        packets = np.asarray(packets, np.int64)
        self.ranks[packets] = np.sort(self.ranks[packets])
        if start and self.ranks[start] >= 0:  # frames that are shown before the keyframe need the group before
            self._first_ranks[self._starts == start] = self.ranks[start]

    def drop_starts(self, after: int, last: int) -> None:
        """Decoding from the starts after packet `after` up to `last` does not give all of their frames: it begins at
        `after`."""
        kept = (self._starts <= after) | (self._starts > last)
        self._starts, self._first_ranks = self._starts[kept], self._first_ranks[kept]


def _agree(table: PacketTable, order: np.ndarray) -> bool:
    """Whether the times of a codec that shows frames in another order than it stores them look like those of its
    frames: all different, not in the order of storage, and as far apart as the times of decoding."""
    pts = table.pts[order]
    if not np.diff(pts).all() or (np.diff(order) > 0).all():
        return False
    if (table.dts == NO_TIME).any():
        return True
    dts = np.sort(table.dts)
    shifts = (pts - dts)[2:]  # the first two are often put together
    if not len(shifts) or shifts.max() - shifts.min() <= 1:
        return True
    # At an uneven rate each frame is decoded when one a few positions before it is shown.
    delays = range(1, min(_MAX_DELAY, len(pts) - 1) + 1)
    return any(np.abs(dts[delay:] - pts[:-delay]).max() <= 1 for delay in delays)
