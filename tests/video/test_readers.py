"""Readers: exactly the frames asked for, in RGB; and what is no video is a sentence."""

import os
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from made_videos import number_of, write_frames, write_uneven, write_video

from slowfast_gta.errors import DataError
from slowfast_gta.video.containers import _TEXT_OPTIONS
from slowfast_gta.video.readers import VideoFile, count_frames, open_video, read_frames

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
INDEX_LISTS = [[0], [39], [0, 39], [11, 12, 13], [5, 5, 5, 30], [24, 36], list(range(40)), list(range(2, 40, 5))]


@pytest.fixture(scope="module", params=[".webm", ".mp4", ".avi"])
def video_path(request, tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / f"numbered{request.param}", 40)


@pytest.mark.parametrize("indices", INDEX_LISTS)
def test_frames_are_exactly_those_asked_for(video_path, indices):
    frames = read_frames(video_path, indices)
    assert frames.dtype == np.uint8 and frames.shape == (len(indices), 48, 64, 3)
    assert [number_of(frame) for frame in frames] == indices


def test_count_and_rate(video_path):
    with open_video(video_path) as video:
        assert video.num_frames == 40 == count_frames(video_path)
        assert video.fps == 12
        assert video.num_repeated == 0


@pytest.mark.parametrize("fps", [12, 30, Fraction(30000, 1001)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_times_of_a_constant_rate_are_exact(tmp_path, suffix, fps):
    with open_video(write_video(tmp_path / f"a{suffix}", 40, fps=fps)) as video:
        assert video.times_sec.dtype == np.float64
        assert np.array_equal(video.times_sec, np.arange(40) / video.fps)
    with open_video(tmp_path / f"a{suffix}", (1.0, 1.2)) as part:
        assert np.array_equal(part.times_sec, np.arange(part.num_frames) / part.fps)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_times_of_a_variable_rate(tmp_path, suffix):
    times_ms = [*range(0, 1000, 100), *range(1000, 2000, 25), *range(2000, 3000, 500)]
    path = write_uneven(tmp_path / f"a{suffix}", times_ms)
    with open_video(path) as video:
        assert np.abs(video.times_sec - np.array(times_ms) / 1000).max() <= 1e-3
        assert [number_of(frame) for frame in video.read([0, 9, 30, 51])] == [0, 9, 30, 51]
    with open_video(path, (1.0, 2.2)) as part:
        assert np.abs(part.times_sec - np.array([*range(0, 1000, 25), 1000]) / 1000).max() <= 1e-3


def test_where_there_are_no_times(tmp_path):
    for path in (write_video(tmp_path / "a.avi", 3), write_frames(tmp_path / "17", 3)):
        with open_video(path) as video:
            assert video.times_sec is None
    with open_video(tmp_path / "17", (1, 2)) as part:
        assert part.times_sec is None


def test_colours_are_rgb(video_path):
    red, green, blue = read_frames(video_path, [0])[0, :8].mean(axis=(0, 1))
    assert red > 180 and green < 80 and blue < 80


def test_reading_twice_gives_the_same(video_path):
    with open_video(video_path) as video:
        first, second = video.read([30, 31]), video.read([3, 30])
    assert number_of(second[0]) == 3
    assert np.array_equal(first[0], second[1])


def test_only_what_is_needed_is_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.webm", 40)  # a keyframe every 8 frames
    fed = []
    frames_from = VideoFile._frames_from

    def counting(self, start, wanted):
        for frame in frames_from(self, start, wanted):
            fed.append(frame.pts)
            yield frame

    monkeypatch.setattr(VideoFile, "_frames_from", counting)
    assert [number_of(frame) for frame in read_frames(path, [3, 33])] == [3, 33]
    assert len(fed) <= 4 + 2  # from 0 to 3, and from the keyframe 32 to 33


def test_frames_that_an_edit_list_hides_do_not_count(tmp_path):
    """A cut at a frame that is no keyframe: what is before it is decoded, and not shown."""
    whole, cut = write_video(tmp_path / "whole.mp4", 40), tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                hidden = int(5 / 12 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - hidden, packet.dts - hidden, stream
                target.mux(packet)
    assert count_frames(cut) == 35
    assert [number_of(frame) for frame in read_frames(cut, [0, 3, 20, 34])] == [5, 8, 25, 39]


def test_odd_sizes(tmp_path):
    path = write_video(tmp_path / "odd.webm", 6, height=47, width=65, pix_fmt="yuv444p")
    frames = read_frames(path, [1, 5])
    assert frames.shape == (2, 47, 65, 3)
    assert [number_of(frame) for frame in frames] == [1, 5]


def test_frame_folder(tmp_path):
    folder = write_frames(tmp_path / "17", 30)
    (folder / "notes.txt").write_text("not a frame")
    assert count_frames(folder) == 30
    frames = read_frames(folder, [0, 7, 7, 29])
    assert [number_of(frame) for frame in frames] == [0, 7, 7, 29]
    assert frames[0, :8, :, 0].mean() > 180 > 80 > frames[0, :8, :, 2].mean()


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    folder = write_frames(tmp_path / "17", 12)
    for file in sorted(folder.iterdir()):
        file.rename(folder / f"17_{int(file.stem)}.jpg")
    assert [number_of(frame) for frame in read_frames(folder, range(12))] == list(range(12))


def _damaged(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "broken.webm"
    if kind == "text":
        path.write_text("this is a text file that calls itself a video\n" * 50)
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "sound":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libopus", rate=48000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), format="s16", layout="mono")
            sound.sample_rate = 48000
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
    elif kind in ("cut", "header only"):
        whole = write_video(tmp_path / "whole.webm", 40).read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if kind == "cut" else whole[:200])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("text", "not a video"),
        ("empty", "0 bytes"),
        ("folder", "no frames"),
        ("pipe", "not a regular file"),
        ("loop", "cannot be reached"),
        ("sound", "this file contains no video"),
        ("cut", "truncated"),
        ("header only", "not a video|contains no frames"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, kind, reason):
    path = _damaged(tmp_path, kind)
    with pytest.raises(DataError, match=reason) as caught:
        read_frames(path, [0])
    assert str(path) in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = write_video(tmp_path / "a.webm", 3)
    path.chmod(0)
    with pytest.raises(DataError, match="permission"):
        read_frames(path, [0])


def test_a_truncated_video_reports_how_much_is_there(tmp_path):
    with pytest.raises(DataError, match=r"\b3\.\d+ s\b.*\b1\.\d+ s, \d+ frames"):
        count_frames(_damaged(tmp_path, "cut"))


@pytest.mark.parametrize("suffix", [".avi", ".webm"])
def test_frames_that_do_not_decode(tmp_path, monkeypatch, suffix):
    """A few missing frames at the end repeat the last one and are counted; more of them are an error."""
    path = write_video(tmp_path / f"a{suffix}", 20)
    frames_from = VideoFile._frames_from
    monkeypatch.setattr(VideoFile, "_frames_from", lambda *args: islice(frames_from(*args), 2))  # of every run
    with open_video(path) as video:
        frames = video.read([0, 3, 4, 4])
        assert [number_of(frame) for frame in frames] == [0, 1, 1, 1]
        assert video.num_repeated == 2
    with (
        open_video(path) as video,
        pytest.raises(DataError, match=r"6.*20.*1"),
    ):
        video.read([1, 6])


def test_a_damaged_image_is_named(tmp_path):
    folder = write_frames(tmp_path / "17", 3)
    (folder / "00002.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"/17/00002\.jpg: .*\bnot an image\b"):
        read_frames(folder, [0, 1, 2])
    assert read_frames(folder, [0, 2]).shape[0] == 2


@pytest.mark.skipif(not CLIPS.exists(), reason="../shared/clips is not here")
@pytest.mark.parametrize("path", sorted(CLIPS.rglob("*.[am][vp][i4]")), ids=lambda path: path.stem)
def test_real_footage_equals_plain_decoding(path):
    """Every third frame, and pairs far apart, are what decoding the whole file in order gives."""
    with av.open(str(path), **_TEXT_OPTIONS) as container:
        plain = [frame.to_ndarray(format="rgb24", threads=1) for frame in container.decode(video=0)]
    num_frames = count_frames(path)
    assert 0 <= num_frames - len(plain) <= 1  # readers disagree on the last frame of four of them
    for indices in (range(0, num_frames, 3), [2, num_frames // 2, num_frames - 1]):
        for index, frame in zip(indices, read_frames(path, list(indices)), strict=True):
            assert np.array_equal(frame, plain[min(index, len(plain) - 1)]), index
