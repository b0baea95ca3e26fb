"""Streams: every frame of a video in order, as open_video gives it, in constant memory; what is broken is counted."""

import gc
import io
import math
import os
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from drawn_videos import decoded_in_order, number_in, write_drawn, write_long
from made_videos import remux, write_frames
from numbered_images import write_images

from slowfast_gta.errors import DataError
from slowfast_gta.video import packets
from slowfast_gta.video.readers import open_video
from slowfast_gta.video.stream import open_stream

LENGTH = 60
KINDS = {
    "h264.mp4": ("libx264", {"g": "12", "bf": "3"}),
    "open groups.mkv": ("libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"}),
    "hevc.mp4": ("libx265", {"x265-params": "keyint=24:log-level=none"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "16"}),
    "av1.mp4": ("libsvtav1", {"preset": "10", "g": "20"}),
    "mpeg4.avi": ("mpeg4", {"g": "12", "bf": "2", "q:v": "3"}),
    "h264.ts": ("libx264", {"g": "12", "bf": "2"}),
    "mjpeg.avi": ("mjpeg", {"q:v": "2"}),
}


def make(folder: Path, kind: str, **kwargs) -> Path:
    codec, options = KINDS[kind]
    return write_drawn(folder / kind, LENGTH, codec, options, "yuvj420p" if codec == "mjpeg" else "yuv420p", **kwargs)


@pytest.mark.parametrize("few_kept", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_what_open_video_gives(tmp_path, kind, few_kept, monkeypatch):
    if few_kept:
        monkeypatch.setattr(packets, "MAX_KEPT_PACKETS", 5)
    path = make(tmp_path, kind)
    with open_video(path) as video:
        whole, times = video.read(range(video.num_frames)), video.times_sec
    with open_stream(path) as stream:
        assert stream.num_frames == LENGTH and stream.fps == 25
        for _ in range(2):
            given = list(stream)
            assert [frame.index for frame in given] == list(range(LENGTH))
            assert all(np.array_equal(frame.image, image) for frame, image in zip(given, whole, strict=True))
            expected = np.arange(LENGTH) / 25 if times is None else times
            assert [frame.time_sec for frame in given] == expected.tolist()
            assert (stream.num_missing, stream.num_broken, stream.fault) == (0, 0, None)


def test_a_stream_of_a_doubtful_file(tmp_path):
    path = make(tmp_path, "hevc.mp4").rename(tmp_path / "source.mp4")
    path = remux(path, tmp_path / "a.mkv")
    equal = write_drawn(tmp_path / "b.mkv", LENGTH, "libx265", KINDS["hevc.mp4"][1], fps=2500)
    for file in (path, equal):
        with open_stream(file) as stream:
            assert [number_in(frame.image) for frame in stream] == list(range(LENGTH))
            assert stream.num_missing == 0


def test_a_part_of_a_file(tmp_path):
    path = make(tmp_path, "h264.mp4")
    with open_stream(path, span=(0.99, 1.5)) as stream:
        assert [(frame.index, number_in(frame.image)) for frame in stream] == [(n, n + 25) for n in range(13)]


def test_frames_that_do_not_decode_are_left_out_and_counted(tmp_path):
    """The numbers of the others stay what open_video calls them."""
    path = remux(make(tmp_path, "h264.mp4"), tmp_path / "a.mp4", skip=5)  # begins between keyframes
    with open_video(path) as video:
        last = video.num_frames - 1
        assert number_in(video.read([last])[0]) == LENGTH - 1
    with open_stream(path) as stream:
        given = [(frame.index, number_in(frame.image)) for frame in stream]
        assert stream.num_missing == stream.num_frames - len(given) > 0
    assert given[-1] == (last, LENGTH - 1) and 5 < given[0][1] <= 12
    assert {number - index for index, number in given} == {LENGTH - 1 - last}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_the_middle_costs_the_frames_around_it(tmp_path, kind):
    path = make(tmp_path, kind)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    path.write_bytes(data)
    with open_stream(path) as stream:
        given = [(frame.index, number_in(frame.image)) for frame in stream]
        assert len(given) + stream.num_missing == stream.num_frames
    # Without times, what comes after a frame that is lost is counted on.
    num_correct = sum(index == number for index, number in given)
    assert num_correct >= (10 if kind == "mpeg4.avi" else 20), "what is before and after the damage is read"
    assert [index for index, _ in given] == sorted({index for index, _ in given})


@pytest.mark.parametrize("kind", ["vp9.webm", "open groups.mkv", "h264.ts", "mpeg4.avi"])
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path, kind):
    path = make(tmp_path, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_stream(path) as stream:
        given = [number_in(frame.image) for frame in stream]
        assert kind == "h264.ts" or "truncated" in stream.fault or "after" in stream.fault
    assert given[:12] == list(range(12)) and len(given) < LENGTH - 10


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("no video" * 100)
    for source in (tmp_path / "a.mp4", tmp_path / "missing.mp4", tmp_path, io.BytesIO(b"no video" * 100)):
        with pytest.raises(DataError):
            open_stream(source)


def test_a_turned_video_is_upright(tmp_path):
    path = make(tmp_path, "h264.mp4")
    data = path.read_bytes()
    identity = b"".join(n.to_bytes(4, "big") for n in (65536, 0, 0, 0, 65536, 0, 0, 0, 2**30))
    turned = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 65536, 0, -65536, 0, 0, 0, 0, 2**30))
    offset = data.rindex(identity)
    path.write_bytes(data[:offset] + turned + data[offset + len(identity) :])
    with open_stream(path) as stream:
        image = next(iter(stream)).image
    assert image.shape == (176, 144, 3) and image.flags.c_contiguous
    assert number_in(np.rot90(image)) == 0
    with path.open("rb") as file, open_stream(file) as live:
        assert np.array_equal(next(iter(live)).image, image)


def test_a_folder_of_frames(tmp_path):
    folder = write_frames(tmp_path / "17", 8)
    (folder / "00003.jpg").write_bytes(b"no image")
    with open_stream(folder, fps=10) as stream:
        assert [(frame.index, frame.time_sec) for frame in stream] == [(n, n / 10) for n in (0, 1, 3, 4, 5, 6, 7)]
        assert (stream.num_missing, stream.num_frames) == (1, 8)
    with open_stream(folder) as stream:
        assert math.isnan(next(iter(stream)).time_sec)
    write_images(folder, "flow_{}.jpg")
    with open_stream(folder, frame_pattern="flow_{}.jpg") as stream:
        assert len(list(stream)) == 12
    for file in folder.iterdir():
        file.write_bytes(b"no image")
    with open_stream(folder, frame_pattern="flow_{}.jpg") as stream, pytest.raises(DataError, match="flow_12"):
        list(stream)


@pytest.mark.parametrize("kind", ["vp9.webm", "h264.ts", "mpeg4.avi"])
def test_a_pipe(tmp_path, kind):
    """What cannot be gone back in: frames are the same, their number is not known before."""
    path = make(tmp_path, kind)
    plain = decoded_in_order(path)
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(path.read_bytes())

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(reading, "rb") as pipe, open_stream(pipe) as stream:
        given = list(stream)
        assert stream.num_frames is None and stream.num_missing == 0
    feeder.join()
    assert all(np.array_equal(frame.image, image) for frame, image in zip(given, plain, strict=True))
    assert np.abs(np.array([frame.time_sec for frame in given]) - np.arange(LENGTH) / 25).max() < 2e-3


def test_an_open_container(tmp_path):
    with av.open(str(make(tmp_path, "h264.mp4"))) as container, open_stream(container) as stream:
        assert [number_in(frame.image) for frame in stream] == list(range(LENGTH))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_only_a_few_frames_and_packets_are_in_memory(tmp_path, suffix, monkeypatch):
    """Of a video of many packets, whatever its length."""
    monkeypatch.setattr(packets, "MAX_KEPT_PACKETS", 50)
    source = write_drawn(tmp_path / "source.mp4", 48, "mpeg4", {"g": "12", "bf": "0", "q:v": "3"})
    path = write_long(source, tmp_path / f"a{suffix}", 20)
    most, before = 0, num_alive()
    with open_stream(path) as stream:
        for frame in stream:
            assert number_in(frame.image) == frame.index % 48
            if frame.index % 100 == 50:
                most = max(most, num_alive() - before)
        assert frame.index == 20 * 48 - 1
    assert most < 40


def num_alive() -> int:
    """Frames and packets in this process."""
    gc.collect()
    return sum(isinstance(thing, av.VideoFrame | av.Packet) for thing in gc.get_objects())
