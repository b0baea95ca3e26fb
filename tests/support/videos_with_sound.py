"""Videos with a sound that says when: silence, and a loud tone of a tenth of a second at each of some moments."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from made_videos import numbered_frame

RATE = 16000


def write_with_sound(
    path: Path, num_frames: int, fps: int, tones_sec: list[float], codec: str = "aac", video_starts_sec: float = 0.0
) -> Path:
    """Numbered frames from `video_starts_sec` on, and sound from 0 until they end."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "g": "6", "bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(codec, rate=RATE)
        audio.layout = "mono"
        length = video_starts_sec + num_frames / fps
        wave = np.zeros(int(length * RATE), np.float32)
        for start in tones_sec:
            part = slice(int(start * RATE), int((start + 0.1) * RATE))
            wave[part] = 0.8 * np.sin(np.arange(len(wave[part])) * 2 * np.pi * 1000 / RATE)
        packets = []
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number % 256), format="rgb24")
            frame.pts, frame.time_base = round(1000 * (video_starts_sec + number / fps)), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode()
        for start in range(0, len(wave), 1024):
            samples = (wave[None, start : start + 1024] * 32767).astype(np.int16)
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, start, Fraction(1, RATE)
            packets += audio.encode(sound)
        packets += audio.encode()
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            container.mux(packet)
    return path


def tones_of(path: Path) -> list[float]:
    """When the tones of a file begin, in seconds of its own clock."""
    loud: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(np.float64).reshape(-1))
            samples = samples / (32768 if frame.format.name.startswith("s16") else 1)
            where = np.flatnonzero(samples > 0.3) / frame.sample_rate
            loud += list(float(frame.pts * frame.time_base) + where)
    begins = [now for before, now in zip([-1.0, *loud], loud, strict=False) if now - before > 0.2]
    return [round(begin, 3) for begin in begins]


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    """(seconds, picture) of all frames of a file."""
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
