"""Somebody who watches: a player that is installed, or a page on this machine's own address (MJPEG)."""

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, cast

import av
import cv2
import numpy as np

from slowfast_gta.video.output.writer import VideoWriter

PLAYERS = {"ffplay": ["-loglevel", "error", "-autoexit", "-i", "-"], "mpv": ["--really-quiet", "-"]}
_BOUNDARY = "frame"
_QUALITY = 80


class PlayerClosed(Exception):  # noqa: N818 - it is no error
    """Nobody watches any more."""


class Player:
    """A player, which is given the video through a pipe; it shows it at its own pace, and who writes waits for it."""

    def __init__(self, command: list[str], size: tuple[int, int], fps: float | None):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        self._writer = VideoWriter(cast("IO[bytes]", self._process.stdin), "matroska", size, fps, live=True)

    def write(self, image: np.ndarray, time_sec: float) -> None:
        """Raises PlayerClosed once it was."""
        try:
            self._writer.write(image, time_sec)
        except (OSError, av.error.FFmpegError):
            raise PlayerClosed from None

    def close(self) -> None:
        with contextlib.suppress(OSError, av.error.FFmpegError):
            self._writer.close()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()


class Page:
    """http://127.0.0.1:PORT/ shows the newest frame (MJPEG). Whoever is slow misses frames; nobody waits for them.

    paced: frames come as fast as they are written otherwise, as of a file: they are shown when their time has come,
    from when somebody opens the page on.
    """

    def __init__(self, paced: bool):
        self._paced = paced
        self._newest: bytes = b""
        self._changed = threading.Condition()
        self._ended = False
        self._opened = threading.Event()
        self._begin: float | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def write(self, image: np.ndarray, time_sec: float) -> None:
        if self._paced:
            self._opened.wait()
            self._begin = self._begin if self._begin is not None else time.monotonic() - time_sec
            time.sleep(max(0.0, self._begin + time_sec - time.monotonic()))
        done, encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        assert done, "JPEG takes every picture"
        with self._changed:
            self._newest = encoded.tobytes()
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def _frames(self) -> Iterator[bytes]:
        """The newest frame whenever there is another one."""
        last = b""
        while True:
            with self._changed:
                while self._newest is last and not self._ended:
                    self._changed.wait()
                if self._newest is last:
                    return
                last = self._newest
            yield last

    def _handler(page) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/":
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                page._opened.set()
                with contextlib.suppress(OSError):  # whoever watched has gone
                    for jpeg in page._frames():
                        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                    self.wfile.write(f"--{_BOUNDARY}--\r\n".encode())

            def log_message(self, *words: object) -> None:
                pass

        return Handler


def installed_player() -> list[str] | None:
    """The command line of a player that there is here, for a video on its standard input."""
    return next(([player, *rest] for name, rest in PLAYERS.items() if (player := shutil.which(name))), None)
