"""Records by the hundred thousand: a few arrays that all workers share, where each would have a copy of its own.

A list of objects is copied to every worker, and grows there with every look at it (a look counts a reference).
Tensors go to another process as a piece of memory that both have: torch moves them there when it sends them.

N records.
"""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import torch

from slowfast_gta.datasets.records import VideoRecord

_NOT_SAID = -1  # a number of frames that the list does not have


class VideoRecords(Sequence[VideoRecord]):
    """A list of VideoRecord that is kept as arrays; a record is made when it is asked for."""

    def __init__(self, records: Sequence[VideoRecord]):
        self._paths = _Strings([record.path for record in records])
        self._video_ids = _Strings([record.video_id for record in records])
        self._labels = torch.tensor([record.label for record in records], dtype=torch.long)  # (N,) or (N, outputs)
        counts = [_NOT_SAID if record.num_frames is None else record.num_frames for record in records]
        self._num_frames = torch.tensor(counts, dtype=torch.long)
        self._spans = None  # or (N, 2), not-a-number for a whole video
        if any(record.span for record in records):
            spans = [record.span or (np.nan, np.nan) for record in records]
            self._spans = torch.tensor(spans, dtype=torch.float64)
        self._backwards = None  # or (N,), where any is
        if any(record.backwards for record in records):
            self._backwards = torch.tensor([record.backwards for record in records])

    def __len__(self) -> int:
        return len(self._num_frames)

    def __getitem__(self, index: int) -> VideoRecord:  # type: ignore[override]  # no slices: nobody asks for them
        if not 0 <= index < len(self):
            raise IndexError(f"There is no record {index}; the number of records is {len(self)}.")
        label = self._labels[index].tolist()
        count = int(self._num_frames[index])
        span = None if self._spans is None else tuple(self._spans[index].tolist())
        return VideoRecord(
            self._paths[index],
            tuple(label) if isinstance(label, list) else label,
            self._video_ids[index],
            None if count == _NOT_SAID else count,
            None if span is None or np.isnan(span[0]) else span,
            self._backwards is not None and bool(self._backwards[index]),
        )

    def digest(self) -> str:
        """SHA-256 (its first half) of all paths, labels, spans and directions, in order.

        What all paths begin with is left out: a data set that was moved is the same list.
        """
        hashed = hashlib.sha256(f"{len(self)}".encode())
        given = [array for array in (self._spans, self._backwards) if array is not None]
        for array in (*self._paths.arrays(), self._labels, *given):
            hashed.update(f" {tuple(array.shape)} ".encode() + array.numpy().tobytes())
        return hashed.hexdigest()[:32]

    def with_label(self, label: int | tuple[int, ...]) -> np.ndarray:
        """The indices of all records of one label, ascending."""
        same = self._labels.numpy() == np.array(label)
        return np.flatnonzero(same if same.ndim == 1 else same.all(1))


class _Strings:
    """Many strings as the bytes of all, one after the other, without what all of them begin with."""

    def __init__(self, strings: Sequence[str]):
        self._prefix = os.path.commonprefix(strings)  # noqa: RUF071 - by characters is what is wanted
        # A file name that is not UTF-8 has surrogates in Python; they come back as they were.
        coded = [string[len(self._prefix) :].encode("utf-8", "surrogatepass") for string in strings]
        self._ends = torch.from_numpy(np.cumsum([0, *map(len, coded)]))
        self._bytes = torch.from_numpy(np.frombuffer(bytearray(b"".join(coded) + b"\0"), np.uint8))

    def arrays(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each string ends, and the bytes of all."""
        return self._ends, self._bytes

    def __getitem__(self, index: int) -> str:
        start, end = self._ends[index : index + 2].tolist()
        return self._prefix + self._bytes[start:end].numpy().tobytes().decode("utf-8", "surrogatepass")
