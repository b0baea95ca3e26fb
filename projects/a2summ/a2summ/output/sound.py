"""The sound of a part of a video, placed by its time stamps, sample by sample."""

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np

from a2summ.frames import VideoTimes
from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import open_container
from slowfast_gta.video.limits import Deadline

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_WARM_UP_SEC = 0.3  # a decoder that begins in the middle needs some frames before it is right
_JITTER_SEC = 0.02  # time stamps are rounded: sound that is off by less goes on where the sound before it ended
_PIECE_SEC = 20.0


@dataclass(frozen=True)
class SoundFormat:
    rate: int  # samples per second
    layout: str  # "mono" or "stereo"

    @property
    def num_channels(self) -> int:
        return 1 if self.layout == "mono" else 2


def sound_format(times: VideoTimes) -> SoundFormat | None:
    """Of the first audio stream that can be decoded, at a rate that AAC has; None where there is none."""
    if not times.has_audio:
        return None
    with open_container(times.path, Deadline(times.path)) as container:
        context = container.streams.audio[0].codec_context
        if context is None or not context.sample_rate:
            return None
        rate = context.sample_rate if context.sample_rate in _AAC_RATES else 48000
        return SoundFormat(rate, "mono" if context.layout.nb_channels == 1 else "stereo")


def read_sound(
    times: VideoTimes, form: SoundFormat, start_sec: float, stop_sec: float, first_sample: int
) -> Iterator[np.ndarray]:
    """float32 (channels, n) after (channels, n): the sound from `start_sec` until `stop_sec` of the video's time.

    `first_sample` is where it begins in the output, whose samples are counted from the output's begin, so that the
    rounding of one part does not shift the next one. Where the file has no sound there is silence.
    """
    begin = start_sec
    while begin < stop_sec - 1e-9:
        end = min(stop_sec, begin + _PIECE_SEC)
        done = first_sample + round((begin - start_sec) * form.rate)
        number = first_sample + round((end - start_sec) * form.rate) - done
        yield _read_piece(times, form, begin, number)
        begin = end


def _read_piece(times: VideoTimes, form: SoundFormat, start_sec: float, number: int) -> np.ndarray:
    out = np.zeros((form.num_channels, number), np.float32)
    offset = None  # where the next sample goes
    for time_sec, samples in _decoded(times, form, start_sec):
        stamped = round((time_sec - start_sec) * form.rate)
        if offset is None or abs(stamped - offset) > _JITTER_SEC * form.rate:
            offset = stamped
        low, high = max(offset, 0), min(offset + samples.shape[1], number)
        if high > low:
            out[:, low:high] = samples[:, low - offset : high - offset]
        offset += samples.shape[1]
        if offset >= number:
            break
    return out


def _decoded(times: VideoTimes, form: SoundFormat, start_sec: float) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds of the video's time, float32 (channels, n)) of the sound from shortly before `start_sec` on."""
    with open_container(times.path, Deadline(times.path)) as container:
        stream = container.streams.audio[0]
        clock_sec = start_sec + times.start_sec - _WARM_UP_SEC
        resampler = av.AudioResampler("fltp", form.layout, form.rate)
        try:
            container.seek(max(0, round(clock_sec / stream.time_base)), stream=stream, backward=True)
            for packet in container.demux(stream):
                for frame in _frames_of(packet):
                    if frame.pts is None or frame.time is None:
                        continue
                    time_sec = frame.time - times.start_sec
                    for part in resampler.resample(frame):
                        yield time_sec, part.to_ndarray()
                        time_sec += part.samples / form.rate
        except av.error.FFmpegError as fault:
            raise DataError(
                f"{times.path}: the sound cannot be read after {start_sec:.1f} s ({fault.strerror})."
            ) from None


def _frames_of(packet: av.Packet) -> list[av.AudioFrame]:
    """A damaged packet of sound is silence, as every player does it."""
    try:
        return packet.decode()
    except av.error.InvalidDataError:
        return []
