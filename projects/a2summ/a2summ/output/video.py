"""The summary as a video: the chosen shots one after the other, at their original size, with their sound in sync."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from a2summ.frames import VideoTimes, read_frames_of
from a2summ.output.sound import SoundFormat, read_sound, sound_format
from a2summ.output.texts import write_file
from slowfast_gta.errors import DISK_ERRNOS, RunError

_TICKS = 90_000  # per second: the times of frames are kept as they are, also of a changing rate
_AAC_SAMPLES = 1024


def write_video(path: str | Path, times: VideoTimes, shots: Sequence[tuple[int, int]]) -> bool:
    """Write the frames [first, stop) of each of `shots`, ascending, as H.264 and AAC (.mp4). -> whether it has sound.

    A frame is shown as long as in the original, and sound is cut at the very times at which the picture is. Written
    whole or not at all. Raises DataError, RunError.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.part")
    form = sound_format(times)
    try:
        with av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as output:
            writer = _Writer(output, times, form)
            for first, stop in shots:
                writer.add(first, stop)
            writer.close()
        unfinished.replace(path)
    except (av.error.FFmpegError, OSError) as fault:
        if isinstance(fault, OSError) and fault.errno in DISK_ERRNOS:
            raise RunError(f"{path}: cannot be written ({fault.strerror}).") from None
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    return form is not None


class _Writer:
    """One output file; `add` appends a shot."""

    def __init__(self, output: av.container.OutputContainer, times: VideoTimes, form: SoundFormat | None):
        self._output, self._times, self._form = output, times, form
        self._video = None  # its size is known with the first frame
        self._audio = None
        if form is not None:
            self._audio = output.add_stream("aac", rate=form.rate, layout=form.layout)
            self._audio.bit_rate = 96_000 * form.num_channels
        self._written_sec = 0.0
        self._left_over = np.zeros((0 if form is None else form.num_channels, 0), np.float32)
        self._num_encoded = 0  # samples

    def add(self, first: int, stop: int) -> None:
        bounds = self._times.bounds_sec
        shown = self._written_sec + bounds[first:stop] - bounds[first]
        frames = read_frames_of(self._times, np.arange(first, stop))
        for picture, time_sec in zip(frames, shown, strict=True):
            self._add_picture(picture, time_sec)
        if self._form is not None:
            begin = round(self._written_sec * self._form.rate)
            for samples in read_sound(self._times, self._form, bounds[first], bounds[stop], begin):
                self._add_sound(samples)
        self._written_sec += bounds[stop] - bounds[first]

    def close(self) -> None:
        """Encode what is left."""
        if self._form is not None:
            self._encode_sound(self._left_over)
            self._output.mux(self._audio.encode(None))
        if self._video is not None:
            self._output.mux(self._video.encode(None))

    def _add_picture(self, picture: np.ndarray, time_sec: float) -> None:
        height, width = picture.shape[:2]
        if self._video is None:
            self._video = self._output.add_stream("libx264", rate=Fraction(self._times.fps).limit_denominator(1001))
            self._video.width, self._video.height = width, height
            # Half the colours need even sides; an odd size stays as it is, with all of them.
            self._video.pix_fmt = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
            self._video.options = {"crf": "20", "preset": "veryfast"}
            self._video.codec_context.time_base = Fraction(1, _TICKS)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = round(time_sec * _TICKS), Fraction(1, _TICKS)
        self._output.mux(self._video.encode(frame))

    def _add_sound(self, samples: np.ndarray) -> None:
        waiting = np.concatenate([self._left_over, samples], axis=1)
        whole = waiting.shape[1] // _AAC_SAMPLES * _AAC_SAMPLES
        for start in range(0, whole, _AAC_SAMPLES):
            self._encode_sound(waiting[:, start : start + _AAC_SAMPLES])
        self._left_over = waiting[:, whole:]

    def _encode_sound(self, samples: np.ndarray) -> None:
        if samples.shape[1] == 0:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", self._form.layout)
        frame.sample_rate, frame.time_base = self._form.rate, Fraction(1, self._form.rate)
        frame.pts = self._num_encoded
        self._num_encoded += samples.shape[1]
        self._output.mux(self._audio.encode(frame))


def write_key_frames(folder: str | Path, times: VideoTimes, indices: Sequence[int]) -> list[Path]:
    """The frames `indices` as JPEGs, named by their seconds: 01_0012.50s.jpg, ... in order."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    ordered = sorted(set(indices))
    for number, (index, frame) in enumerate(zip(ordered, read_frames_of(times, np.array(ordered)), strict=True), 1):
        path = folder / f"{number:02d}_{times.times_sec[index]:07.2f}s.jpg"
        write_file(path, cv2.imencode(".jpg", frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
        paths.append(path)
    return paths
