"""A video with what was found in it written below each frame, and its sound: an .mp4 with H.264.

Below the frame stands which actions are going on, and a time line of all segments with a mark at the present.
"""

import contextlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from slowfast_gta.files import whole_file
from slowfast_gta.video.output.sound import FileSound, SoundTrack, open_file_sound
from slowfast_gta.video.output.writer import VideoWriter
from slowfast_gta.video.stream import open_stream

from .pictures import COLOURS
from .segments import Segments

LEAST_WIDTH = 480  # px; smaller videos are enlarged, so that the text can be read
LINE, BAR, EDGE = 22, 10, 8  # px: a line of text, the bar of a class, the margin
Colour = tuple[int, int, int]


def write_annotated(
    source: str, target: Path, classes: Sequence[str], segments: Segments, folder_fps: float, frame_pattern: str = ""
) -> bool:
    """Write `source` with its `segments` (seconds) as `target`, whole or not at all. -> whether it has sound.

    `folder_fps`, `frame_pattern`: of folders of frames, as when their features were made, so that times agree.
    Raises DataError where the source cannot be read.
    """
    opening = open_stream(source, fps=folder_fps, frame_pattern=frame_pattern)
    with opening as frames, whole_file(target) as file, contextlib.ExitStack() as opened:
        rate = frames.fps or folder_fps  # of a file that does not say it, too
        duration = max(float(segments.end.max(initial=0.0)), (frames.num_frames or 0) / rate)
        strip, writer, sound, track = Strip(classes, segments, duration), None, None, None
        for index, shown_at, frame in frames:
            time_sec = shown_at if np.isfinite(shown_at) else index / rate
            drawn = strip.below(frame, time_sec)
            if writer is None:
                writer = VideoWriter(file, "mp4", drawn.shape[:2], rate)
                if (sound := open_file_sound(source)) is not None:
                    opened.callback(sound.close)
                    track = SoundTrack(writer.container, "mp4", sound.stream)
            writer.write(drawn, time_sec)
            _write_sound(sound, track, time_sec + 1 / rate)
        if track is not None:
            track.close()
        if writer is not None:
            writer.close()
        return track is not None


def _write_sound(sound: FileSound | None, track: SoundTrack | None, until_sec: float) -> None:
    """So that picture and sound lie side by side in the file, and nothing waits in memory."""
    if sound is not None and track is not None:
        for packet, zero_sec in sound.until(until_sec):
            track.put(packet, zero_sec)


class Strip:
    """What stands below the frames of one video."""

    def __init__(self, classes: Sequence[str], segments: Segments, duration_sec: float) -> None:
        self.classes, self.segments, self.duration = classes, segments, max(duration_sec, 1e-9)
        self.labels = segments.classes().tolist()
        self._blank: np.ndarray | None = None
        self._text: tuple[tuple[int, ...], np.ndarray] | None = None

    def colour(self, label: int) -> Colour:
        """The same as in the picture of the video."""
        code = COLOURS[self.labels.index(label) % len(COLOURS)]
        return tuple(int(code[i : i + 2], 16) for i in (1, 3, 5))  # type: ignore[return-value]  # three of them

    def below(self, frame: np.ndarray, time_sec: float) -> np.ndarray:
        """uint8 (H', W', 3): `frame` (H, W, 3), enlarged where it is small, and the strip below it."""
        scale = max(1, -(-LEAST_WIDTH // frame.shape[1]))
        large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST) if scale > 1 else frame
        strip = self._strip(large.shape[1], time_sec)
        return np.concatenate([large, strip])

    def _strip(self, width: int, time_sec: float) -> np.ndarray:
        if self._blank is None or self._blank.shape[1] != width:
            self._blank, self._text = self._time_line(width), None
        now = np.flatnonzero((self.segments.start <= time_sec) & (time_sec < self.segments.end))
        key = tuple(now.tolist())
        if self._text is None or self._text[0] != key:
            self._text = key, self._with_text(now)
        strip = self._text[1].copy()
        x = int(self._x(time_sec, width))
        strip[LINE:, x : x + 2] = 255
        return strip

    def _x(self, seconds: float, width: int) -> float:
        return EDGE + min(max(seconds / self.duration, 0.0), 1.0) * (width - 2 * EDGE - 2)

    def _time_line(self, width: int) -> np.ndarray:
        """A bar for each class that was found."""
        strip = np.full((LINE + max(len(self.labels), 1) * BAR + EDGE, width, 3), 24, np.uint8)
        for row in range(max(len(self.labels), 1)):
            strip[LINE + row * BAR : LINE + (row + 1) * BAR - 2, EDGE : width - EDGE] = 56
        for label, start, end in zip(self.segments.label, self.segments.start, self.segments.end, strict=True):
            top = LINE + self.labels.index(label) * BAR
            left, right = int(self._x(start, width)), int(self._x(end, width))
            strip[top : top + BAR - 2, left : max(right, left + 1)] = self.colour(int(label))
        return strip

    def _with_text(self, now: np.ndarray) -> np.ndarray:
        """The names and scores of what is going on, side by side, the best first."""
        strip, x = self._blank.copy(), EDGE
        for index in now[np.argsort(-self.segments.score[now], kind="stable")]:
            label = int(self.segments.label[index])
            text = f"{readable(self.classes[label])} {self.segments.score[index]:.2f}"
            light = tuple(int(128 + part / 2) for part in self.colour(label))
            cv2.putText(strip, text, (x, LINE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, light, 1, cv2.LINE_AA)
            x += cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0] + 2 * EDGE
        return strip


def readable(text: str) -> str:
    """What OpenCV can write: letters lose their accents, and others become "?". Files keep the names as they are."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode("ascii")
