"""Small real videos for the tests, whose frames say their own number: eight bars, black or white, are its bits."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

CODECS = {
    ".webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "8"}),
    ".mp4": ("libx264", {"preset": "veryfast", "g": "12", "bf": "2"}),  # with B-frames: coded out of order
    ".avi": ("mpeg4", {"g": "12", "q:v": "2"}),  # a container without times
}


def numbered_frame(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 (H, W, 3): `number` in eight bars, the lowest bit on the left; the right one is tinted red."""
    bits = (number >> np.arange(8)) & 1
    row = np.repeat(bits * 200 + 20, -(-width // 8))[:width].astype(np.uint8)
    frame = np.repeat(np.tile(row, (height, 1))[:, :, None], 3, axis=2)
    frame[: height // 4] = (220, 30, 30)
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number that a decoded frame (H, W, 3) shows."""
    height, width = frame.shape[:2]
    centres = [int((bar + 0.5) * width / 8) for bar in range(8)]
    lower = frame[height // 2 :, :, 1].mean(axis=0)
    return sum(int(lower[centre] > 120) << bit for bit, centre in enumerate(centres))


def write_video(
    path: Path, num_frames: int, height: int = 48, width: int = 64, fps: int = 12, pix_fmt="yuv420p", codec=None
) -> Path:
    """A video of numbered frames; the codec follows from the suffix, unless another is named."""
    codec, options = (codec, {}) if codec else CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, height, width), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_uneven(path: Path, times_ms: list[int]) -> Path:
    """A video of numbered frames that are shown at these times: a variable frame rate."""
    codec, options = CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def remux(source: Path, target: Path, skip: int = 0, title: str = "") -> Path:
    """The same packets in another container, without the first `skip`."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        if title:
            writer.metadata["title"] = title
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for number, packet in enumerate(reader.demux(video=0)):
            if packet.size and number >= skip:
                packet.stream = stream
                if packet.pts is None:  # avi has none
                    packet.pts = packet.dts
                writer.mux(packet)
    return target


def write_frames(folder: Path, num_frames: int) -> Path:
    """A folder of numbered frames as Something-Something v1 has them: 00001.jpg, ..."""
    folder.mkdir(parents=True)
    for number in range(num_frames):
        cv2.imwrite(str(folder / f"{number + 1:05d}.jpg"), numbered_frame(number)[:, :, ::-1])
    return folder
