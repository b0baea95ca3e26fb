"""The sound of a video on its way into another one: its packets as they are where the container takes them, and as AAC
otherwise, at the times that they have beside the first picture."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.resampler import AudioResampler

from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import open_container
from slowfast_gta.video.limits import Deadline
from slowfast_gta.video.stream import LiveStream

# What players take in each container.
_COPIED = {
    "mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus"},
    "mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le"},
    "matroska": {"aac", "mp3", "ac3", "eac3", "flac", "opus", "vorbis", "pcm_s16le"},
}


class SoundTrack:
    """The sound of an output container. Made before its first packet is written."""

    def __init__(self, container: av.container.OutputContainer, name: str, source: av.AudioStream):
        """name: FFmpeg's of the container."""
        self._container, self._source = container, source
        codec = source.codec_context.codec.canonical_name
        self._encoder: av.AudioStream | None = None
        self._resampler: AudioResampler | None = None
        if codec in _COPIED[name]:
            self._stream = container.add_stream_from_template(source)
            self.summary = f"{codec}, copied"
        else:
            rate = source.codec_context.sample_rate or 48000
            self._stream = self._encoder = container.add_stream("aac", rate=rate if rate in _AAC_RATES else 48000)
            self._encoder.layout = "stereo" if (source.codec_context.channels or 2) > 1 else "mono"
            self.summary = f"{codec}, as AAC"
        self.num_broken = 0

    def put(self, packet: av.Packet, zero_sec: float) -> None:
        """One packet of the source; `zero_sec`: what is 0 in the output, by the source's clock. What is before that is
        left out."""
        if packet.time_base is None or packet.size == 0:
            return
        start = packet.pts if packet.pts is not None else packet.dts
        if start is None:
            return
        zero = round(zero_sec / packet.time_base)
        if start < zero:
            return
        if self._encoder is None:
            packet.pts, packet.dts = start - zero, (packet.dts if packet.dts is not None else start) - zero
            packet.stream = self._stream
            self._container.mux(packet)
        else:
            self._encode(packet, start - zero)

    def _encode(self, packet: av.Packet, start: int) -> None:
        try:
            frames = self._source.codec_context.decode(packet)
        except av.error.FFmpegError:
            self.num_broken += 1
            return
        for number, frame in enumerate(frames):
            if not number and packet.time_base is not None:
                self._next = round(start * packet.time_base * frame.sample_rate)
            frame.pts, frame.time_base = self._next, Fraction(1, frame.sample_rate)
            self._next += frame.samples
            self._write(frame)

    def _write(self, frame: av.AudioFrame | None) -> None:
        assert self._encoder is not None
        context = self._encoder.codec_context
        if self._resampler is None:
            self._resampler = AudioResampler(
                format=context.format, layout=context.layout, rate=context.sample_rate, frame_size=1024
            )
        for part in self._resampler.resample(frame):
            self._container.mux(self._encoder.encode(part))

    def close(self) -> None:
        """What is still on its way."""
        if self._encoder is not None and self._resampler is not None:
            self._write(None)
            self._container.mux(self._encoder.encode(None))


_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


class FileSound:
    """The packets of a file's sound, read beside its picture."""

    def __init__(self, path: str | Path):
        """Raises DataError where it cannot be opened."""
        self._container = open_container(str(path), Deadline(path))
        self.stream = next(iter(self._container.streams.audio), None)
        video = next(iter(self._container.streams.video), None)
        started = (
            video.start_time * video.time_base if video and video.start_time is not None and video.time_base else 0
        )
        self.zero_sec = float(started)
        self._packets = self._read()
        self._waiting: av.Packet | None = None

    def until(self, time_sec: float) -> Iterator[tuple[av.Packet, float]]:
        """(packet, zero) of what is heard up to `time_sec` after the first picture."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = None
            if packet.dts is not None and float(packet.dts * packet.time_base) - self.zero_sec > time_sec:
                self._waiting = packet
                return
            yield packet, self.zero_sec

    def _read(self) -> Iterator[av.Packet]:
        if self.stream is None:
            return
        try:
            yield from self._container.demux(self.stream)
        except av.error.FFmpegError:  # a file that is cut off: the picture says so
            return

    def close(self) -> None:
        self._container.close()


class LiveSound:
    """The packets of a live source's sound, which the thread that reads its picture hands over.

    A source that begins to count anew does so in both: `shifts` has what each of the picture's beginnings was moved by.
    """

    def __init__(self, source: LiveStream, shifts: list[float]):
        """source: not yet being read."""
        self.stream = source.sound
        self._source, self._shifts = source, shifts
        source.on_sound = self.put
        self._packets: deque[av.Packet] = deque()
        self._begun, self._last = 0, -1.0
        self.num_dropped = 0

    def put(self, packet: av.Packet) -> None:
        """Called by the thread that reads."""
        if packet.size:
            self._packets.append(packet)
        if len(self._packets) > _MOST_WAITING:
            self._packets.popleft()
            self.num_dropped += 1

    def until(self, time_sec: float) -> Iterator[tuple[av.Packet, float]]:
        """What has come, but for what belongs to a beginning that the picture has not reached."""
        while self._packets and (zero := self._source.first_sec) is not None:
            packet = self._packets[0]
            start = packet.pts if packet.pts is not None else packet.dts
            now = float(start * packet.time_base) if start is not None else self._last
            begun = self._begun + (self._last >= 0 and not self._last - 1.0 < now < self._last + _MAX_JUMP_SEC)
            if begun >= len(self._shifts):
                return
            self._packets.popleft()
            self._begun, self._last = begun, now
            yield packet, zero - self._shifts[begun]

    def close(self) -> None:
        self._packets.clear()


_MOST_WAITING = 10_000
_MAX_JUMP_SEC = 60.0

Sound = FileSound | LiveSound


def open_file_sound(path: str | Path) -> FileSound | None:
    """The sound of a file, or None where it has none that can be read."""
    if Path(path).is_dir():
        return None
    try:
        sound = FileSound(path)
    except DataError:
        return None
    if sound.stream is None:
        sound.close()
        return None
    return sound
