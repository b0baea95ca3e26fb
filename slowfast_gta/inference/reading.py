"""Any video, or what can only be read once, as windows, and how it ended."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from slowfast_gta.errors import DataError
from slowfast_gta.inference.windows import Cut, Stream, Window, WindowPlan, iterate_windows
from slowfast_gta.video.sources import is_live, open_live
from slowfast_gta.video.stream import open_stream


@dataclass(frozen=True)
class Ending:
    """What comes behind the windows of a video. `fault`: why it cannot be read, if it cannot."""

    video: str
    fault: DataError | None
    fps: float | None = None  # the video's own
    duration_sec: float = float("nan")
    num_windows: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # what was repeated, dropped, filled up, left out; none is 0
    note: str | None = None  # what is wrong with the file as a whole, of which the rest was read


@dataclass(frozen=True)
class WindowReader:
    """How videos are opened and cut. `crops`: uint8 (1, H, W, 3) -> V of (1, S, S, 3)."""

    plan: WindowPlan
    crops: Callable[[np.ndarray], list[np.ndarray]]
    frame_pattern: str = ""
    folder_fps: float | None = None  # of folders of frames, which do not say it
    max_latency_sec: float | None = None  # of live sources

    def __call__(self, video: str) -> Iterator[tuple[Window | Ending, np.ndarray | None]]:
        """(window, its clips (V, T, S, S, 3)), one after the other, and at last (ending, None). Raises no DataError."""
        cut = Cut()
        try:
            with self._open(video) as stream:
                for window in iterate_windows(stream, self.plan, self.crops, cut):
                    yield window, window.clips
                if not cut.num_windows:
                    raise DataError(f"{video}: the video contains no frames.")
                ending = _ending(video, stream, cut)
        except DataError as fault:
            ending = Ending(video, fault)
        yield ending, None

    def _open(self, video: str) -> Stream:
        if is_live(video):
            return open_live(video, self.max_latency_sec)
        return open_stream(video, fps=self.folder_fps, frame_pattern=self.frame_pattern)


def _ending(video: str, stream: Stream, cut: Cut) -> Ending:
    counts = {
        "num_broken": stream.num_broken,  # packets that the decoder refused
        "num_missing": stream.num_missing,  # frames that did not decode
        "num_dropped": getattr(stream, "num_dropped", 0),  # frames of a live source that came too fast
        "num_repeated": cut.num_repeated,
        "num_filled": cut.num_filled,
        "num_left_out": cut.num_left_out,
        "num_cut_off": int(stream.fault is not None),
    }
    counts = {name: count for name, count in counts.items() if count}
    return Ending(video, None, stream.fps, cut.end_sec, cut.num_windows, counts, stream.fault)
