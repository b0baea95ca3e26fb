"""Live sources: a camera, a URL, standard input; what comes faster than it is looked at is dropped, and counted.

with open_live("rtsp://camera/stream", max_latency_sec=2.0) as stream:
    for index, time_sec, frame in stream:
        ...
    print(stream.num_dropped)
"""

import os
import re
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av

from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import Closing
from slowfast_gta.video.limits import MAX_PIXELS
from slowfast_gta.video.stream import LiveStream, StreamedFrame

STDIN = "-"
_URL = re.compile(r"(rtsp|rtsps|http|https|rtmp|rtmps|udp|tcp|srt)://\S+")
_CAMERA = re.compile(r"\d{1,3}")
_GOES_ON = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "srt")  # whether we read or not; the others wait for us
DEFAULT_LATENCY_SEC = 2.0
_TIMEOUT_SEC = 30.0
_MAX_JUMP_SEC = 60.0  # between two frames; more is a source that began to count anew
_FRAMES_WITHOUT_RATE = 60
_MAX_BYTES = 2**30  # of frames that wait

# Nothing that a playlist could point to on this machine.
_OPTIONS = {
    "protocol_whitelist": "rtsp,rtp,rtmp,srt,udp,tcp,tls,http,https,httpproxy,crypto",
    "format_whitelist": "rtsp,rtp,sdp,hls,flv,mpegts,mpeg,mpegvideo,matroska,webm,mov,mp4,avi,ogg,h264,hevc,mpjpeg,"
    "mjpeg",
    "max_pixels": str(MAX_PIXELS),
    "rtsp_transport": "tcp",
}
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}


def is_live(source: str) -> bool:
    """Whether `source` is no path: -, the number of a camera (unless a file is called so), or a URL."""
    if source == STDIN or _URL.fullmatch(source):
        return True
    return bool(_CAMERA.fullmatch(source)) and not os.path.exists(source)  # noqa: PTH110


@dataclass
class _Waiting:
    """Frames that were decoded and not yet taken, at most `most` of them; without `drops` the reader waits."""

    most: int
    drops: bool

    def __post_init__(self) -> None:
        self._frames: deque[StreamedFrame] = deque()
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self.fault: BaseException | None = None
        self.num_dropped = 0

    def put(self, frame: StreamedFrame) -> bool:
        """False where nobody wants any more."""
        with self._changed:
            most = max(2, min(self.most, _MAX_BYTES // frame.image.nbytes))
            if self.drops:
                while len(self._frames) >= most:
                    self._frames.popleft()
                    self.num_dropped += 1
            else:
                self._changed.wait_for(lambda: len(self._frames) < most or self._stopped)
            self._frames.append(frame)
            self._changed.notify_all()
            return not self._stopped

    def end(self, fault: BaseException | None) -> None:
        with self._changed:
            self._ended, self.fault = True, fault
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[StreamedFrame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._frames) or self._ended)
                if not self._frames:
                    break
                frame = self._frames.popleft()
                self._changed.notify_all()
            yield frame
        if self.fault is not None:
            raise self.fault


class BoundedStream(Closing):
    """A LiveStream that a thread decodes. At most `max_latency_sec` of it wait to be taken: older frames are dropped,
    and `num_dropped` counts them; with None nothing is, and the source has to wait."""

    num_frames = None

    def __init__(
        self, stream: LiveStream, container: av.container.InputContainer | None, max_latency_sec: float | None
    ):
        self.live, self._container = stream, container  # the first: what is read, with its sound
        self.path, self.fps = stream.path, stream.fps
        self.shifts: list[float] = []  # by how much the times of each of the source's beginnings were moved
        most = round((max_latency_sec or 1.0) * stream.fps) if stream.fps else _FRAMES_WITHOUT_RATE
        self._waiting = _Waiting(max(2, most), drops=max_latency_sec is not None)
        self._thread = threading.Thread(target=self._read, daemon=True)

    @property
    def num_dropped(self) -> int:
        return self._waiting.num_dropped

    @property
    def num_missing(self) -> int:
        return self.live.num_missing

    @property
    def num_broken(self) -> int:
        return self.live.num_broken

    @property
    def fault(self) -> str | None:
        return self.live.fault

    def __iter__(self) -> Iterator[StreamedFrame]:
        """Once. Raises DataError."""
        self._thread.start()
        yield from self._waiting

    def close(self) -> None:
        self._waiting.stop()
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT_SEC)  # a read that waits ends by its own limit
        if not self._thread.is_alive():
            self.live.close()
            if self._container is not None:
                self._container.close()

    def _read(self) -> None:
        try:
            for frame in steady_times(self.live, self.fps, self.shifts):
                if not self._waiting.put(frame):
                    break
        except BaseException as fault:
            self._waiting.end(fault)
        else:
            self._waiting.end(None)


def steady_times(
    frames: Iterable[StreamedFrame], fps: float | None, shifts: list[float] | None = None
) -> Iterator[StreamedFrame]:
    """The frames with times that never go back, nor jump: a source that counts anew goes on behind its last frame.

    shifts: takes what the times of each beginning are moved by, 0 first.
    """
    shift = 0.0
    shifts = [] if shifts is None else shifts
    shifts.append(shift)
    last: float | None = None
    for frame in frames:
        time_sec = frame.time_sec + shift
        if last is not None and not last < time_sec < last + _MAX_JUMP_SEC and time_sec == time_sec:
            shift += last + 1 / (fps or 25) - time_sec
            time_sec = frame.time_sec + shift
            shifts.append(shift)
        last = time_sec if time_sec == time_sec else last
        yield frame._replace(time_sec=time_sec)


def open_live(source: str, max_latency_sec: float | None = None) -> BoundedStream:
    """What `is_live` says is no path. `max_latency_sec` None: 2 seconds for what goes on whether it is read or not
    (cameras, RTSP, RTMP, UDP, SRT), and no dropping for what waits (-, HTTP, TCP). Raises DataError."""
    if source == STDIN:
        return BoundedStream(LiveStream(sys.stdin.buffer, "standard input"), None, max_latency_sec)
    goes_on = not (match := _URL.fullmatch(source)) or match[1] in _GOES_ON
    if goes_on and max_latency_sec is None:
        max_latency_sec = DEFAULT_LATENCY_SEC
    container = _open_url(source) if match else _open_camera(int(source))
    try:
        return BoundedStream(LiveStream(container, source), container, max_latency_sec)
    except BaseException:
        container.close()
        raise


def _open_url(url: str) -> av.container.InputContainer:
    options = dict(_OPTIONS)
    if not url.startswith("rtsp"):
        del options["rtsp_transport"]
    try:
        return av.open(url, options=options, timeout=_TIMEOUT_SEC)
    except (av.error.FFmpegError, OSError, ValueError) as fault:
        raise DataError(f"{url}: no video was received ({getattr(fault, 'strerror', None) or fault}).") from None


def _open_camera(number: int) -> av.container.InputContainer:
    driver, name = _CAMERAS.get(sys.platform, _CAMERAS["linux"])
    try:
        return av.open(name.format(number), format=driver, timeout=_TIMEOUT_SEC)
    except (av.error.FFmpegError, OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise DataError(f"camera {number} ({name.format(number)}) cannot be opened ({reason}).") from None
