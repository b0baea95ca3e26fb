"""Videos made of plain colours with a tone, so that what is shown and heard at each moment is known."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 48_000


def make_video(
    path: Path,
    duration_sec: float = 12.0,
    fps: int = 10,
    size: tuple[int, int] = (64, 48),
    flashes_sec: tuple[float, ...] = (),
    sound: bool = True,
    channels: int = 1,
    sound_rate: int = RATE,
    shot_sec: float = 3.0,
    times_sec: np.ndarray | None = None,
) -> Path:
    """Every `shot_sec` another colour. At each of `flashes_sec` one frame is white, and a tone of 0.1 s begins."""
    width, height = size
    times = np.arange(round(duration_sec * fps)) / fps if times_sec is None else times_sec
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=fps)
        video.width, video.height = width, height
        video.pix_fmt = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
        video.codec_context.time_base = Fraction(1, 90_000)
        video.options = {"crf": "15", "preset": "ultrafast", "g": "20"}
        audio = (
            output.add_stream("aac", rate=sound_rate, layout="mono" if channels == 1 else "stereo") if sound else None
        )
        colours = np.random.default_rng(0).integers(20, 140, (1000, 3))
        for time in times:
            picture = np.empty((height, width, 3), np.uint8)
            picture[:] = colours[int(time / shot_sec + 1e-9)]
            if any(0 <= time - flash < 1 / fps - 1e-6 for flash in flashes_sec):
                picture[:] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * 90_000), Fraction(1, 90_000)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio is not None:
            _add_tones(output, audio, duration_sec, flashes_sec, channels, sound_rate)
    return path


def _add_tones(output, audio, duration_sec, flashes_sec, channels, rate) -> None:
    time = np.arange(round(duration_sec * rate)) / rate
    wave = np.zeros(len(time), np.float32)
    for flash in flashes_sec:
        on = (time >= flash) & (time < flash + 0.1)
        wave[on] = 0.5 * np.sin(2 * np.pi * 1000 * time[on])
    samples = np.repeat(wave[None], channels, 0)
    for start in range(0, len(time), 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", "mono" if channels == 1 else "stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        output.mux(audio.encode(frame))
    output.mux(audio.encode(None))


def read_flashes(path: Path) -> tuple[list[float], np.ndarray]:
    """When white frames are shown, by their time stamps, and the times of all frames."""
    with av.open(str(path)) as container:
        shown = [(frame.time, frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]
    return [time for time, brightness in shown if brightness > 220], np.array([time for time, _ in shown])


def read_tones(path: Path) -> tuple[list[float], float]:
    """When tones begin, by the time stamps of the sound, and when the sound ends."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        frames = list(container.decode(audio=0))
    start = frames[0].time
    wave = np.abs(np.concatenate([frame.to_ndarray()[0] for frame in frames]))
    loud = np.flatnonzero(wave > 0.15)
    onsets = loud[np.insert(np.diff(loud) > 0.05 * rate, 0, True)] if len(loud) else loud
    return [start + onset / rate for onset in onsets], start + len(wave) / rate
