"""Reading exactly the frames that are asked for, from a video file or from a folder of frames.

    with open_video(path) as video:
        frames = video.read(indices_of(video.num_frames))      # uint8 (T, H, W, 3), RGB

A video file is demultiplexed whole when it is first opened (see packets; of long ones the result is kept, see
index_cache), and the frames wanted are then decoded from the nearest keyframe on (see decoding). Decoding is
single-threaded: the workers of the loader are the parallelism, and FFmpeg's threads can deadlock.

T frame, H W space.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import Closing, open_container, video_stream
from slowfast_gta.video.decoding import Decoded, FrameDecoder
from slowfast_gta.video.frame_folders import FrameFolder, FrameRange
from slowfast_gta.video.limits import Deadline, stack_frames
from slowfast_gta.video.packets import NEAR_FRAMES, PacketReader
from slowfast_gta.video.pixels import FrameConverter

# Times that are this near to those of a constant rate were rounded by a container, most of them to milliseconds.
_ROUNDING_SEC = 1.5e-3


class VideoFile(FrameDecoder, Closing):
    """An open video file. `num_repeated` counts the frames asked for for which the nearest decoded frame was used.

    With `span`, (start, stop) in seconds, the frames shown from `start` until before `stop` are its frames. Opening
    and reading it together may take `timeout_sec`.
    """

    def __init__(
        self,
        path: str | Path,
        span: tuple[float, float] | None = None,
        timeout_sec: float | None = None,
        tolerant: bool = False,
    ):
        """With `tolerant`, what is broken is passed over as far as that goes: `fault` and `num_broken` say so."""
        super().__init__(str(path), Deadline(path, timeout_sec), tolerant)
        self.num_repeated = 0
        self._container = open_container(self.path, self._deadline)
        try:
            self._stream = video_stream(self._container, self.path)
            self._context = self._stream.codec_context
            self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
            self._reader = PacketReader(self._container, self._stream, self.path, self._deadline, tolerant)
            part = self._reader.whole() if span is None else self._reader.part(*span)
        except BaseException:
            self.close()
            raise
        self._index, self._first, self.num_frames = part

    def close(self) -> None:
        self._container.close()

    @property
    def fault(self) -> str | None:
        """What is wrong with the file as a whole, where that was passed over."""
        return self._reader.fault

    @property
    def times_sec(self) -> np.ndarray | None:
        """float64 (num_frames,): when each frame is shown, the first at 0; None where the file has no times.

        At a constant rate they are exact multiples of 1 / fps, however the container rounded them.
        """
        if not len(self._index.times):
            return None
        shown = self._index.times[self._first : self._first + self.num_frames]
        times = (shown - shown[0]).astype(float) * float(self._stream.time_base)  # type: ignore[arg-type]  # an open stream has one
        if self.fps:
            even = np.arange(self.num_frames) / self.fps
            if np.abs(times - even).max() <= _ROUNDING_SEC:
                return even
        return times

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames `indices` (non-decreasing, repeats allowed) as uint8 (T, H, W, 3), RGB."""
        return stack_frames(self.path, indices, self.frames(indices))

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """`read`, one frame (H, W, 3) after the other and each once, for more than fits into memory."""
        converter = FrameConverter(self.path)
        for decoded in self._decode(sorted({self._first + index for index in indices})):
            frame = self._found(decoded)
            converter.check_fits(frame)
            yield converter.upright_rgb(frame)

    def good_frames(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Every frame that can be decoded, as it is coded, with its number."""
        for wanted, rank, frame in self._decode_all(self._first, self._first + self.num_frames):
            if wanted == rank and frame is not None:
                yield rank - self._first, frame

    def _found(self, decoded: Decoded) -> av.VideoFrame:
        """The frame wanted, or the one in its place. Raises DataError when that is not near."""
        wanted, rank, frame = decoded
        if frame is None or abs(wanted - rank) > NEAR_FRAMES:
            raise DataError(
                f"{self.path}: frame {wanted - self._first} of {self.num_frames} cannot be decoded; "
                f"the nearest good frame is {'none' if frame is None else rank - self._first}. The file is damaged."
            )
        self.num_repeated += wanted != rank
        return frame


def open_video(
    path: str | Path, span: tuple[float, float] | None = None, timeout_sec: float | None = None, frame_pattern: str = ""
) -> VideoFile | FrameFolder:
    """The video at `path`, a file or a folder of frames; of it the part `span`, as VideoRecord has it.

    `frame_pattern` says which files of a folder are its frames, as DATA.FRAME_PATTERN. Use it in a `with`. Raises
    DataError, and ReadTimeoutError when opening and reading take more than `timeout_sec`.
    """
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a folder cannot be reached
        return VideoFile(path, span, timeout_sec)
    if span is None:
        return FrameFolder(path, timeout_sec, frame_pattern)
    return FrameRange(path, int(span[0]), int(span[1]), timeout_sec, frame_pattern)


def read_frames(path: str | Path, indices: Sequence[int]) -> np.ndarray:
    """The frames `indices` (non-decreasing, repeats allowed) as uint8 (T, H, W, 3), RGB. Raises DataError."""
    with open_video(path) as video:
        return video.read(indices)


def count_frames(path: str | Path) -> int:
    """How many frames there are, without decoding one. Raises DataError."""
    with open_video(path) as video:
        return video.num_frames
