"""A video with what was found in it written below each frame, and its sound: H.264 and AAC in an .mp4.

Below the frame stands which actions are going on, and a time line of all segments with a mark at the present.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from slowfast_gta.errors import DISK_ERRNOS, DataError, RunError
from slowfast_gta.video.containers import open_container, video_stream
from slowfast_gta.video.limits import Deadline
from slowfast_gta.video.stream import open_stream

from .pictures import COLOURS
from .segments import Segments

TICKS = 90_000  # a second: frames keep their times, also of a changing rate
LEAST_WIDTH = 480  # px; smaller videos are enlarged, so that the text can be read
LINE, BAR, EDGE = 22, 10, 8  # px: a line of text, the bar of a class, the margin
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
Colour = tuple[int, int, int]


def write_annotated(source: str, target: Path, classes: Sequence[str], segments: Segments) -> bool:
    """Write `source` with its `segments` (seconds) as `target`, whole or not at all. -> whether it has sound.

    Raises DataError where the source cannot be read, RunError where the disk is full.
    """
    unfinished = target.with_name(f".{target.name}.part")
    try:
        with av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as output:
            has_sound = _write(source, output, classes, segments)
        unfinished.replace(target)
    except (av.error.FFmpegError, OSError) as fault:
        if isinstance(fault, OSError) and fault.errno in DISK_ERRNOS:
            raise RunError(f"{target}: cannot be written ({fault.strerror}).") from None
        raise DataError(f"{source}: cannot be written as an annotated video ({fault}).") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return has_sound


def _write(source: str, output: av.container.OutputContainer, classes: Sequence[str], segments: Segments) -> bool:
    with open_stream(source) as frames:
        rate = Fraction(frames.fps or 25).limit_denominator(1001)
        duration = max(float(segments.end.max(initial=0.0)), (frames.num_frames or 0) / float(rate))
        strip = Strip(classes, segments, duration)
        picture = sound = None
        last_pts = -1
        for index, time_sec, frame in frames:
            if not np.isfinite(time_sec):  # a folder of frames does not say when each is shown
                time_sec = index / float(rate)
            drawn = strip.below(frame, time_sec)
            if picture is None:
                picture = output.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
                picture.height, picture.width, picture.pix_fmt = *drawn.shape[:2], "yuv420p"
                picture.codec_context.time_base = Fraction(1, TICKS)
                sound = _Sound(source, output)
            encoded = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            last_pts = max(round(time_sec * TICKS), last_pts + 1)
            encoded.pts, encoded.time_base = last_pts, Fraction(1, TICKS)
            output.mux(picture.encode(encoded))
            sound.write_until(time_sec)
        output.mux(picture.encode(None))
        sound.write_until(time_sec + 1 / float(rate))
        return sound.close()


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
        """uint8 (H', W', 3), even sides: `frame` (H, W, 3), enlarged where it is small, and the strip below it."""
        scale = max(1, -(-LEAST_WIDTH // frame.shape[1]))
        large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST) if scale > 1 else frame
        strip = self._strip(large.shape[1], time_sec)
        whole = np.concatenate([large, strip])
        return np.pad(whole, ((0, whole.shape[0] % 2), (0, whole.shape[1] % 2), (0, 0)))

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


class _Sound:
    """The first audio stream of a file, encoded anew, at its times relative to the first frame of the picture."""

    def __init__(self, source: str, output: av.container.OutputContainer) -> None:
        self._output, self._container, self._stream, self._written = output, None, None, False
        if Path(source).is_dir():
            return
        self._container = open_container(source, Deadline(source))
        audio = next(iter(self._container.streams.audio), None)
        if audio is None or audio.codec_context is None or not audio.codec_context.sample_rate:
            return
        picture = video_stream(self._container, source)
        self._start = float((picture.start_time or 0) * picture.time_base)
        rate = audio.codec_context.sample_rate
        self._rate = rate if rate in AAC_RATES else 48000
        layout = "mono" if audio.codec_context.layout.nb_channels == 1 else "stereo"
        self._resampler = av.AudioResampler("fltp", layout, self._rate)
        self._stream = output.add_stream("aac", rate=self._rate, layout=layout)
        self._frames = self._decoded(audio)
        self._next: av.AudioFrame | None = next(self._frames, None)

    def _decoded(self, audio: av.AudioStream) -> Iterator[av.AudioFrame]:
        """What begins with the picture or later; a damaged packet is silence, as every player does it."""
        for packet in self._container.demux(audio):
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in decoded:
                if frame.pts is None or frame.time < self._start - 1e-3:
                    continue
                shift = round(self._start / frame.time_base)
                frame.pts -= shift
                yield from self._resampler.resample(frame)

    def write_until(self, time_sec: float) -> None:
        """So that picture and sound lie side by side in the file, and nothing waits in memory."""
        while self._stream is not None and self._next is not None and self._next.time <= time_sec:
            self._output.mux(self._stream.encode(self._next))
            self._written = True
            self._next = next(self._frames, None)

    def close(self) -> bool:
        """Whether there was any sound."""
        if self._stream is not None:
            self._output.mux(self._stream.encode(None))
        if self._container is not None:
            self._container.close()
        return self._written
