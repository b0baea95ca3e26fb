"""Live sources without a camera: a pipe, MPEG-TS over loopback, and a reader that is too slow."""

import io
import os
import socket
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from made_videos import number_of, remux, write_video

from slowfast_gta.errors import DataError
from slowfast_gta.video.sources import BoundedStream, is_live, open_live, steady_times
from slowfast_gta.video.stream import StreamedFrame


def frame(index: int, time_sec: float) -> StreamedFrame:
    return StreamedFrame(index, time_sec, np.full((2, 2, 3), index % 256, np.uint8))


class Endless(SimpleNamespace):
    """A stream of `count` frames that says when all have been decoded."""

    def __init__(self, count: int, fps: float = 10.0, fault: Exception | None = None):
        super().__init__(path="camera", fps=fps, num_missing=0, num_broken=0, fault=None)
        self.count, self.raised, self.ended = count, fault, threading.Event()

    def __iter__(self):
        for index in range(self.count):
            yield frame(index, index / self.fps)
        self.ended.set()
        if self.raised:
            raise self.raised

    def close(self) -> None:
        pass


def test_which_sources_are_live(tmp_path, monkeypatch):
    for source in ("-", "0", "12", "rtsp://camera/1", "http://host:8080/a.mjpg", "udp://127.0.0.1:9000"):
        assert is_live(source)
    for source in ("a.mp4", "/data/0", "0.mp4", "file:///etc/passwd", "concat:a|b", "http://", "a b"):
        assert not is_live(source)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").mkdir()
    assert not is_live("0"), "a folder of that name"


def test_what_comes_too_fast_is_dropped_oldest_first_and_counted():
    source = Endless(1000)
    with BoundedStream(source, None, 2.0) as stream:
        frames = iter(stream)
        first = next(frames)
        source.ended.wait(20)
        rest = list(frames)
        taken = [first.index, *(one.index for one in rest)]
        assert [one.index for one in rest] == list(range(1000 - len(rest), 1000))
        assert len(rest) in (19, 20), "2 seconds at 10 frames a second"
        assert stream.num_dropped == 1000 - len(taken)


def test_without_a_limit_nothing_is_dropped_and_the_source_waits():
    source = Endless(300)
    with BoundedStream(source, None, None) as stream:
        frames = iter(stream)
        next(frames)
        time.sleep(0.1)
        assert not source.ended.is_set()
        assert [one.index for one in frames] == list(range(1, 300)) and stream.num_dropped == 0


def test_closing_ends_the_reader_and_a_fault_arrives():
    with BoundedStream(Endless(10**9), None, None) as stream:
        next(iter(stream))
    assert not stream._thread.is_alive()
    with BoundedStream(Endless(3, fault=DataError("gone")), None, None) as stream, pytest.raises(DataError):
        list(stream)


def test_times_continue_where_a_source_counts_anew():
    given = [0.0, 0.1, 0.2, 5000.0, 5000.1, 0.0, 0.1, 30.1]
    found = [one.time_sec for one in steady_times((frame(i, t) for i, t in enumerate(given)), 10)]
    assert found == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 30.6])


def test_standard_input(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", 30)
    reading, writing = os.pipe()
    ts = remux(path, tmp_path / "a.ts").read_bytes()
    feeder = threading.Thread(target=lambda: os.fdopen(writing, "wb").write(ts))
    feeder.start()
    with os.fdopen(reading, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe))
        with open_live("-") as stream:
            assert [number_of(one.image) for one in stream] == list(range(30)) and stream.num_dropped == 0
    feeder.join()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"no video" * 100)))
    with pytest.raises(DataError, match="standard input"):
        open_live("-")


def test_mpeg_ts_over_loopback(tmp_path):
    ts = remux(write_video(tmp_path / "a.mp4", 30), tmp_path / "a.ts").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def feed() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(ts)

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        with open_live(f"tcp://127.0.0.1:{server.getsockname()[1]}") as stream:
            assert [number_of(one.image) for one in stream] == list(range(30))
        feeder.join(10)


def test_what_is_not_there_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for source in (f"http://127.0.0.1:{port}/a.mp4", f"rtsp://127.0.0.1:{port}/a", "987"):
        with pytest.raises(DataError, match=source.replace("/", ".")):
            open_live(source)
