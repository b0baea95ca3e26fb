"""Which frames of a video make a clip: pure functions of its length, and of its time stamps where they are uneven.

N = num_video_frames, T = num_frames of the clip, V = num_views. Indices count from 0, never decrease and are
always below N; a video that is too short repeats frames.
"""

from dataclasses import dataclass, replace

import numpy as np
from fvcore.common.config import CfgNode


def segment_indices(num_video_frames: int, num_frames: int, generator: np.random.Generator | None) -> list[int]:
    """TSN: one frame from each of T equal parts of the video, a random one, or the centre without a generator.

    The parts are [i N / T, (i + 1) N / T); where N < T some of them share a frame, which is then repeated.
    """
    if generator is None:
        return segment_views(num_video_frames, num_frames, 1)[0]
    positions = (np.arange(num_frames) + generator.random(num_frames)) * num_video_frames / num_frames
    return np.minimum(positions, num_video_frames - 1).astype(int).tolist()


def segment_views(num_video_frames: int, num_frames: int, num_views: int) -> list[list[int]]:
    """V clips: the v-th has the frame at (v + 1/2) / V of each of T equal parts. With V = 1, their centres.

    The clips differ as long as the parts have V frames or more. In whole numbers, so that parts of odd length
    give a reversed video exactly the reversed clip.
    """
    parts = np.arange(num_frames)[None, :]
    views = np.arange(num_views)[:, None]
    halves = 2 * num_views * parts + 2 * views + 1  # the position, in units of 1 / (2 V) of a part
    return (halves * num_video_frames // (2 * num_views * num_frames)).tolist()


def uniform_indices(num_video_frames: int, num_frames: int, generator: np.random.Generator) -> list[int]:
    """T frames equally far apart over the whole video: at the same random position in each of T equal parts."""
    positions = (np.arange(num_frames) + generator.random()) * num_video_frames / num_frames
    return np.minimum(positions, num_video_frames - 1).astype(int).tolist()


def twice_sampled_views(num_video_frames: int, num_frames: int) -> list[list[int]]:
    """TSM's two clips of a tested video: the centres of T equal parts, and their first frames."""
    centres = segment_views(num_video_frames, num_frames, 1)[0]
    return [centres, [part * num_video_frames // num_frames for part in range(num_frames)]]


def dense_indices(
    num_video_frames: int,
    num_frames: int,
    step: float,
    generator: np.random.Generator,
    shown_at: np.ndarray | None = None,
) -> list[int]:
    """T frames over T * `step` frames of the video, from a random start. See `_spread`."""
    start = generator.uniform(0, max(num_video_frames - num_frames * step, 0))
    return _spread(start, num_video_frames, num_frames, step, shown_at)


def dense_views(
    num_video_frames: int,
    num_frames: int,
    step: float,
    num_views: int,
    use_offset: bool = False,
    shown_at: np.ndarray | None = None,
) -> list[list[int]]:
    """V clips that start where PySlowFast's Kinetics tests do: at v / V of the room there is, so that the last
    one does not reach the end; with `use_offset`, whole frames from the very start, and V = 1 is the centre."""
    room = max(num_video_frames - num_frames * step, 0)
    if not use_offset:
        starts = [room * view / num_views for view in range(num_views)]
    elif num_views == 1:
        starts = [room // 2]
    else:
        starts = [view * (room // (num_views - 1)) for view in range(num_views)]
    return [_spread(start, num_video_frames, num_frames, step, shown_at) for start in starts]


def covering_views(
    num_video_frames: int, num_frames: int, step: float, num_views: int, shown_at: np.ndarray | None = None
) -> list[list[int]]:
    """V clips as `dense_views`, over the whole video: the first begins with it, the last ends with it, V = 1 is the
    centre."""
    room = max(num_video_frames - num_frames * step, 0)
    starts = np.linspace(0, room, num_views) if num_views > 1 else [room / 2]
    return [_spread(start, num_video_frames, num_frames, step, shown_at) for start in starts]


def _spread(
    start: float, num_video_frames: int, num_frames: int, step: float, shown_at: np.ndarray | None
) -> list[int]:
    """PySlowFast's clip: T frames evenly from `start` to `start` + T * `step` - 1, both ends included, so that they
    lie a little more than `step` apart (T = 8, step 8: 9). Past the end of the video, its last frame is repeated.

    With `shown_at`, positions are times, and a frame is there from its time to that of the next."""
    positions = np.linspace(start, start + max(num_frames * step, 1.0) - 1, num_frames)
    positions = np.minimum(positions, num_video_frames - 1)
    if shown_at is not None:
        return (np.searchsorted(shown_at, positions, side="right") - 1).tolist()
    return positions.astype(int).tolist()


def uneven_times(times_sec: np.ndarray | None, fps: float | None) -> np.ndarray | None:
    """When each frame is shown, in mean frame intervals (N,) from 0 to N - 1; None where frame n is at n / `fps`,
    give or take less than half a frame, so that its index says it all."""
    if times_sec is None or len(times_sec) < 2 or times_sec[-1] <= 0:
        return None
    mean_rate = (len(times_sec) - 1) / times_sec[-1]
    if np.abs(times_sec * (fps or mean_rate) - np.arange(len(times_sec))).max() < 0.5:
        return None
    return times_sec / times_sec[-1] * (len(times_sec) - 1)


@dataclass(frozen=True)
class ClipSampling:
    """How the clips of a run are sampled: the DATA keys of the same names, in lower case, and TEST.CLIP_POSITIONS.

    Its methods are given `times_sec` (N,), when each frame is shown, the first at 0, or None; where frames are shown
    unevenly, dense clips follow the times. Where `fps` is not known either, it is taken for `target_fps`.
    """

    kind: str  # "segment" | "uniform" | "dense"
    num_frames: int
    sampling_rate: int
    target_fps: float
    use_offset: bool
    positions: str = "exact"  # "exact" | "uniform" | "twice"

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "ClipSampling":
        data = cfg.DATA
        return cls(
            data.SAMPLING,
            data.NUM_FRAMES,
            data.SAMPLING_RATE,
            data.TARGET_FPS,
            data.USE_OFFSET_SAMPLING,
            cfg.TEST.CLIP_POSITIONS,
        )

    def centred(self) -> "ClipSampling":
        """The same, but the one view of a video is its centre: validation."""
        return replace(self, positions="uniform")

    def train(
        self,
        num_video_frames: int,
        fps: float | None,
        generator: np.random.Generator,
        times_sec: np.ndarray | None = None,
    ) -> list[int]:
        """The frames of one random clip."""
        if self.kind == "segment":
            return segment_indices(num_video_frames, self.num_frames, generator)
        if self.kind == "uniform":
            return uniform_indices(num_video_frames, self.num_frames, generator)
        step, shown_at = self._step(fps, times_sec)
        return dense_indices(num_video_frames, self.num_frames, step, generator, shown_at)

    def views(
        self, num_video_frames: int, fps: float | None, num_views: int, times_sec: np.ndarray | None = None
    ) -> list[list[int]]:
        """The frames of the `num_views` clips that test a video."""
        if self.positions == "twice":
            return twice_sampled_views(num_video_frames, self.num_frames)[:num_views]
        if self.kind != "dense":
            return segment_views(num_video_frames, self.num_frames, num_views)
        step, shown_at = self._step(fps, times_sec)
        if self.positions == "uniform":
            return covering_views(num_video_frames, self.num_frames, step, num_views, shown_at)
        return dense_views(num_video_frames, self.num_frames, step, num_views, self.use_offset, shown_at)

    def _step(self, fps: float | None, times_sec: np.ndarray | None) -> tuple[float, np.ndarray | None]:
        """How many frames of the video SAMPLING_RATE are, and `uneven_times`."""
        shown_at = uneven_times(times_sec, fps)
        if shown_at is not None and times_sec is not None:
            fps = (len(times_sec) - 1) / times_sec[-1]
        return self.sampling_rate * (fps or self.target_fps) / self.target_fps, shown_at
