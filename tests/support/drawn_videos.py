"""Videos that are coded in all kinds of ways, and whose frames show their own number and how things move.

B bars (bits of the number), H W space.
"""

import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from slowfast_gta.video.readers import open_video

BARS = 10


def drawn_frame(number: int, height: int = 144, width: int = 176) -> np.ndarray:
    """uint8 (H, W, 3): `number` in ten bars, black or white, in the middle; a square wanders above, noise below."""
    bits = (number >> np.arange(BARS)) & 1
    row = np.repeat(bits * 210 + 20, -(-width // BARS))[:width].astype(np.uint8)
    frame = np.full((height, width, 3), 70, np.uint8)
    frame[height // 3 : 2 * height // 3] = row[None, :, None]
    side = min(24, height // 4)
    left = (5 * number) % (width - side)
    frame[4 : 4 + side, left : left + side] = (200, 60, 40)
    noise = np.random.default_rng(number).integers(60, 120, (height // 12, width // 8), np.uint8)
    frame[-4 * (height // 12) :, : 8 * (width // 8)] = noise.repeat(4, 0).repeat(8, 1)[:, :, None]
    return frame


def number_in(frame: np.ndarray) -> int:
    """The number that a decoded frame (H, W, 3) shows."""
    height, width = frame.shape[:2]
    bar = -(-width // BARS)
    middle = frame[4 * height // 9 : 5 * height // 9].mean(axis=(0, 2))
    centres = [min(bar * position + bar // 2, width - 2) for position in range(BARS)]
    return sum(int(middle[centre] > 125) << bit for bit, centre in enumerate(centres))


def write_drawn(
    path: Path,
    num_frames: int,
    codec: str,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (144, 176),
    fps: int | Fraction = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    container_options: dict[str, str] | None = None,
    interlaced: bool = False,
) -> Path:
    """A video of drawn frames. `pts`: when each is shown, in ticks of `time_base`."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.thread_count = 1
        if time_base:
            stream.codec_context.time_base = time_base
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(drawn_frame(number, *size), format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[number], time_base
            if interlaced:
                frame = frame.reformat(format=pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decoded_in_order(path: Path) -> list[np.ndarray]:
    """Every frame (H, W, 3) that the decoder gives, from the begin on: what every reading is held against."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return [frame.to_ndarray(format="rgb24", threads=1) for frame in container.decode(video=0)]


def write_long(source: Path, target: Path, num_repeats: int, filler_bytes: int = 0) -> Path:
    """The packets of `source`, a video of closed groups of pictures, again and again with later times.

    With `filler_bytes`, as much is put into each packet that decoders pass over (H.264).
    """
    with av.open(str(source)) as reader:
        packets = [
            (bytes(packet), packet.pts, packet.dts, packet.duration, packet.is_keyframe)
            for packet in reader.demux(video=0)
            if packet.size
        ]
        length = max(pts + duration for _, pts, _, duration, _ in packets) - min(pts for _, pts, *_ in packets)
        time_base = reader.streams.video[0].time_base
        filler = (1 + filler_bytes).to_bytes(4, "big") + b"\x0c" + b"\xff" * filler_bytes if filler_bytes else b""
        with av.open(str(target), "w") as writer:
            stream = writer.add_stream_from_template(reader.streams.video[0])
            for repeat in range(num_repeats):
                for content, pts, dts, duration, is_key in packets:
                    packet = av.Packet(content + filler)
                    packet.stream, packet.time_base, packet.duration = stream, time_base, duration
                    packet.pts, packet.dts = pts + repeat * length, dts + repeat * length
                    packet.is_keyframe = is_key
                    writer.mux(packet)
    return target


def requests(num_frames: int, seed: int) -> list[list[int]]:
    """Frame numbers without the first: spread, next to each other, repeated, single, near the end."""
    draw = random.Random(seed)
    numbers = range(1, num_frames)
    first = draw.randrange(1, num_frames - 6)
    return [
        sorted(draw.sample(numbers, min(6, len(numbers)))),
        [first, first + 1, first + 2, first + 4],
        [first, first, first],
        [draw.choice(numbers)],
        [num_frames - 3, num_frames - 1],
    ]


def assert_exact(path: Path, plain: list[np.ndarray], num_rounds: int = 2) -> None:
    """Whatever is asked for, it is what decoding the whole file gave, and nothing is said to be missing."""
    for seed in range(num_rounds):
        for indices in requests(len(plain), seed):
            with open_video(path) as video:
                assert video.num_frames == len(plain)
                frames = video.read(indices)
                assert video.num_repeated == 0, f"{indices}: frames that are there are said not to decode"
            wrong = [index for index, frame in zip(indices, frames, strict=True) if (frame != plain[index]).any()]
            assert not wrong, f"{indices}: {[(number, number_in(plain[number])) for number in wrong]}"
