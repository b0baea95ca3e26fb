"""Which frames of a video make a clip: pure functions of its length.

N = num_video_frames, T = num_frames of the clip, V = num_views. Indices count from 0, never decrease and are
always below N; a video that is too short repeats frames.
"""

from dataclasses import dataclass

import numpy as np


def segment_indices(num_video_frames: int, num_frames: int, generator: np.random.Generator | None) -> list[int]:
    """TSN: one frame from each of T equal parts of the video, a random one, or the centre without a generator.

    The parts are [i N / T, (i + 1) N / T); where N < T some of them share a frame, which is then repeated.
    """
    if generator is None:
        return segment_views(num_video_frames, num_frames, 1)[0]
    places = (np.arange(num_frames) + generator.random(num_frames)) * num_video_frames / num_frames
    return np.minimum(places, num_video_frames - 1).astype(int).tolist()


def segment_views(num_video_frames: int, num_frames: int, num_views: int) -> list[list[int]]:
    """V clips: the v-th has the frame at (v + 1/2) / V of each of T equal parts. With V = 1, their centres.

    The clips differ as long as the parts have V frames or more. In whole numbers, so that parts of odd length
    give a reversed video exactly the reversed clip.
    """
    parts = np.arange(num_frames)[None, :]
    views = np.arange(num_views)[:, None]
    halves = 2 * num_views * parts + 2 * views + 1  # the place, counted in 1 / (2 V) of a part
    return (halves * num_video_frames // (2 * num_views * num_frames)).tolist()


def dense_indices(num_video_frames: int, num_frames: int, step: float, generator: np.random.Generator) -> list[int]:
    """T frames over T * `step` frames of the video, from a random start. See `_spread`."""
    start = generator.uniform(0, max(num_video_frames - num_frames * step, 0))
    return _spread(start, num_video_frames, num_frames, step)


def dense_views(
    num_video_frames: int, num_frames: int, step: float, num_views: int, use_offset: bool = False
) -> list[list[int]]:
    """V clips that start where PySlowFast's Kinetics tests do: at v / V of the room there is, so that the last
    one does not reach the end; with `use_offset`, from the very start to the very end, and V = 1 is the centre."""
    room = max(num_video_frames - num_frames * step, 0)
    if not use_offset:
        starts = [room * view / num_views for view in range(num_views)]
    elif num_views == 1:
        starts = [room // 2]
    else:
        starts = [view * (room // (num_views - 1)) for view in range(num_views)]
    return [_spread(start, num_video_frames, num_frames, step) for start in starts]


def _spread(start: float, num_video_frames: int, num_frames: int, step: float) -> list[int]:
    """PySlowFast's clip: T frames evenly from `start` to `start` + T * `step` - 1, both ends included, so that they
    lie a little more than `step` apart (T = 8, step 8: 9). Past the end of the video, its last frame is repeated."""
    places = np.linspace(start, start + max(num_frames * step, 1.0) - 1, num_frames)
    return np.minimum(places, num_video_frames - 1).astype(int).tolist()


@dataclass(frozen=True)
class ClipSampling:
    """How the clips of a run are sampled: the DATA keys of the same names, in lower case."""

    kind: str  # "segment" | "dense"
    num_frames: int
    sampling_rate: int
    target_fps: float
    use_offset: bool

    @classmethod
    def from_cfg(cls, cfg) -> "ClipSampling":
        data = cfg.DATA
        return cls(data.SAMPLING, data.NUM_FRAMES, data.SAMPLING_RATE, data.TARGET_FPS, data.USE_OFFSET_SAMPLING)

    def train(self, num_video_frames: int, fps: float | None, generator: np.random.Generator) -> list[int]:
        """The frames of one random clip. Where `fps` is not known, it is taken for `target_fps`."""
        if self.kind == "segment":
            return segment_indices(num_video_frames, self.num_frames, generator)
        return dense_indices(num_video_frames, self.num_frames, self._step(fps), generator)

    def views(self, num_video_frames: int, fps: float | None, num_views: int) -> list[list[int]]:
        """The frames of the `num_views` clips that test a video."""
        if self.kind == "segment":
            return segment_views(num_video_frames, self.num_frames, num_views)
        return dense_views(num_video_frames, self.num_frames, self._step(fps), num_views, self.use_offset)

    def _step(self, fps: float | None) -> float:
        return self.sampling_rate * (fps or self.target_fps) / self.target_fps
