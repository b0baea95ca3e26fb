"""Videos as people really have them: turned, uneven, without keyframes, with covers, in all kinds of pixels."""

import struct
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import numpy as np
import pytest
from made_videos import number_of, numbered_frame, remux, write_frames, write_uneven, write_video

from slowfast_gta.errors import DataError, ReadTimeoutError
from slowfast_gta.video import limits
from slowfast_gta.video.packets import PacketReader
from slowfast_gta.video.readers import VideoFile, count_frames, open_video, read_frames

IDENTITY = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
# What a player does with a frame (H, W, 3), by the a, b, c, d of the matrix in the track header.
TURNS = {
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),  # a phone held upright
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (0, -1, 1, 0): lambda image: np.rot90(image, 1),
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0.7, 0.7, -0.7, 0.7): lambda image: image,  # 45 degrees: left as it is
}


def numbers(path, indices) -> list[int]:
    return [number_of(frame) for frame in read_frames(path, indices)]


@pytest.mark.parametrize("matrix", TURNS)
def test_a_video_is_turned_as_players_do(tmp_path, matrix):
    path = write_video(tmp_path / "a.mp4", 6)
    plain = read_frames(path, range(6))
    a, b, c, d = (round(65536 * value) for value in matrix)
    data = path.read_bytes()
    assert data.count(IDENTITY) == 2  # of the film, and of the track
    offset = data.rindex(IDENTITY)
    path.write_bytes(data[:offset] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30) + data[offset + 36 :])
    turned = read_frames(path, range(6))
    assert turned.flags.c_contiguous
    assert np.array_equal(turned, np.stack([TURNS[matrix](frame) for frame in plain]))
    with open_video(path) as video:
        assert all(frame.flags.c_contiguous for frame in video.frames([0, 3]))


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_frames_of_a_variable_rate_are_found_by_number(tmp_path, suffix):
    path = write_uneven(tmp_path / f"a{suffix}", [*range(0, 400, 10), *range(400, 4000, 300)])
    assert numbers(path, [0, 39, 40, 51]) == [0, 39, 40, 51]


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuv444p"),
        ("libx264", "yuv422p"),
        ("libx264", "yuvj420p"),
        ("libx264", "gray"),
        ("libx264", "yuv420p10le"),
        ("libx265", "yuv420p12le"),
        ("libx264rgb", "rgb24"),
        ("ffv1", "gray16le"),
        ("ffv1", "yuva420p"),
        ("ffv1", "bgra"),
    ],
)
def test_all_kinds_of_pixels(tmp_path, codec, pix_fmt):
    try:
        path = write_video(tmp_path / "a.mkv", 6, pix_fmt=pix_fmt, codec=codec)
    except (av.error.FFmpegError, ValueError):
        pytest.skip(f"this FFmpeg does not write {codec} {pix_fmt}")
    assert numbers(path, [0, 2, 5]) == [0, 2, 5]


@pytest.mark.parametrize(("height", "width"), [(1, 8), (47, 65), (2, 200), (241, 17)])
def test_odd_sizes(tmp_path, height, width):
    path = write_video(tmp_path / "a.mkv", 3, height, width, pix_fmt="yuv444p", codec="ffv1")
    assert read_frames(path, [0, 2]).shape == (2, height, width, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_one_frame(tmp_path, suffix):
    path = write_video(tmp_path / f"a{suffix}", 1)
    assert count_frames(path) == 1
    assert read_frames(path, [0, 0, 0]).shape == (3, 48, 64, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_no_frame(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(
        DataError, match=f"a{suffix}: (the video contains no frames|this is not a video|this file contains no video)"
    ):
        count_frames(path)


def test_a_wrong_number_of_frames_in_the_header(tmp_path):
    path = write_video(tmp_path / "a.avi", 20)
    data = path.read_bytes()
    for number in (3, 5000):  # dwTotalFrames of the main header, dwLength of the stream's
        wrong = bytearray(data)
        for offset in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
            wrong[offset : offset + 4] = struct.pack("<I", number)
        path.write_bytes(wrong)
        if number == 3:
            assert count_frames(path) == 20 and numbers(path, [0, 19]) == [0, 19]
        else:
            with pytest.raises(DataError, match=rf"{path}: .*\btruncated\b.*\b416\b"):
                count_frames(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_video_without_keyframes_after_the_first(tmp_path, suffix):
    """x264's intra refresh: the picture is renewed column by column, and no frame stands for itself."""
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=12, options={"x264-params": "intra-refresh=1:keyint=12:bframes=0"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        container.mux(stream.encode())
    assert numbers(path, [0, 17, 39]) == [0, 17, 39]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_that_begins_between_keyframes(tmp_path, suffix):
    """Its first frames cannot be decoded: those from the next keyframe on are read, the others are refused."""
    whole = write_video(tmp_path / "whole.mp4", 40)  # a keyframe every 8 frames
    with open_video(remux(whole, tmp_path / f"a{suffix}", skip=5)) as video:
        assert [number_of(frame) for frame in video.read([0, 2, 34])] == [8, 8, 39]
        assert video.num_repeated == 2
    with open_video(remux(whole, tmp_path / f"b{suffix}", skip=1)) as video:
        assert number_of(video.read([video.num_frames - 1])[0]) == 39
        with pytest.raises(DataError, match=r"\bframe 0 of \d+\b.*\b\d+\."):
            video.read([0, video.num_frames - 1])


def test_frames_shown_long_after_they_are_decoded_are_no_sign_of_a_cut(tmp_path):
    """The header of .flv counts until the last frame is shown, half a second after its packet here."""
    path = tmp_path / "a.flv"
    with av.open(str(write_video(tmp_path / "a.mp4", 24))) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.size:
                packet.stream, packet.pts = stream, packet.pts + round(0.5 / packet.time_base)
                writer.mux(packet)
    assert numbers(path, [0, 23]) == [0, 23]


def test_a_frame_that_lost_its_time(tmp_path, monkeypatch):
    """It cannot be placed; the nearest stands in for it, and is counted."""
    frames_from = VideoFile._frames_from

    def forgetful(*args):
        for number, frame in enumerate(frames_from(*args)):
            if number == 1:
                frame.pts = None
            yield frame

    monkeypatch.setattr(VideoFile, "_frames_from", forgetful)
    with open_video(write_video(tmp_path / "a.mp4", 8)) as video:
        assert [number_of(frame) for frame in video.read([0, 1, 2])] == [0, 0, 2]
        assert video.num_repeated == 1


def test_the_size_of_the_frames_changes(tmp_path):
    path = tmp_path / "a.mkv"
    small = write_video(tmp_path / "small.webm", 12)
    large = write_video(tmp_path / "large.webm", 12, 96, 128)
    with av.open(str(path), "w") as target:
        stream = None
        for part, source in enumerate((small, large)):
            with av.open(str(source)) as reader:
                stream = stream or target.add_stream_from_template(reader.streams.video[0])
                for packet in reader.demux(video=0):
                    if packet.size:
                        packet.pts, packet.dts, packet.stream = (
                            packet.pts + 1000 * part,
                            packet.dts + 1000 * part,
                            stream,
                        )
                        target.mux(packet)
    assert numbers(path, [0, 11]) == [0, 11]
    assert read_frames(path, [12, 23]).shape == (2, 96, 128, 3)
    with pytest.raises(DataError, match=r"a\.mkv:.*64.*48.*128.*96"):
        read_frames(path, [0, 12])


def test_a_cover_is_not_the_video(tmp_path):
    cover = av.VideoFrame.from_ndarray(numbered_frame(255, 30, 30), format="rgb24")

    def with_cover(path: Path, sound_only: bool) -> Path:
        with av.open(str(path), "w") as container:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 30, 30, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            if sound_only:
                other = container.add_stream("aac", rate=48000)
                frames = [av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")]
                frames[0].sample_rate = 48000
            else:
                other = container.add_stream("libx264", rate=12)
                other.width, other.height, other.pix_fmt = 64, 48, "yuv420p"
                frames = [av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24") for number in range(6)]
            container.mux([*picture.encode(cover), *picture.encode()])
            for frame in frames:
                container.mux(other.encode(frame))
            container.mux(other.encode())
        return path

    assert numbers(with_cover(tmp_path / "film.mp4", sound_only=False), range(6)) == list(range(6))
    with pytest.raises(DataError, match=r"/song\.mp4: .*\bcover picture\b"):
        count_frames(with_cover(tmp_path / "song.mp4", sound_only=True))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_title_that_is_not_utf8(tmp_path, suffix):
    source = write_video(tmp_path / "plain.avi", 4)
    path = remux(source, tmp_path / f"a{suffix}", title="Fahrt nach Koeln")
    data = path.read_bytes()
    assert b"Koeln" in data
    path.write_bytes(data.replace(b"Koeln", b"K\xf6\xffln"))
    assert numbers(path, [0, 3]) == [0, 3]


def test_a_name_that_is_not_utf8(tmp_path):
    path = write_video(tmp_path / "a.mp4", 4).rename(Path(str(tmp_path) + "/caf\udce9.mp4"))
    assert numbers(path, [0, 3]) == [0, 3]


@pytest.mark.parametrize("name", ["a:b.mp4", "%03d.mp4", "a b\n.mp4", "https:a.mp4", "-i.mp4"])
def test_names_that_mean_something_to_ffmpeg(tmp_path, name):
    assert numbers(write_video(tmp_path / "x.mp4", 4).rename(tmp_path / name), [0, 3]) == [0, 3]


@pytest.mark.parametrize("suffix", [".ts", ".flv", ".mkv", ".mov", ".m4v"])
def test_other_containers(tmp_path, suffix):
    path = remux(write_video(tmp_path / "plain.mp4", 30), tmp_path / f"a{suffix}")
    assert count_frames(path) == 30
    assert numbers(path, [0, 13, 29]) == [0, 13, 29]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.wmv", "wmv2", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.mpeg", "mpeg1video", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.mp4", "libsvtav1", "yuv420p"),
        ("a.mp4", "libx265", "yuv420p"),
        ("a.hevc", "libx265", "yuv420p"),
        ("a.264", "libx264", "yuv420p"),
    ],
)
def test_other_codecs(tmp_path, name, codec, pix_fmt):
    try:
        path = write_video(tmp_path / name, 30, 96, 128, fps=25, pix_fmt=pix_fmt, codec=codec)
    except (av.error.FFmpegError, ValueError):
        pytest.skip(f"this FFmpeg does not write {codec}")
    assert count_frames(path) == 30
    assert numbers(path, [0, 13, 29]) == [0, 13, 29]


def test_very_many_frames(tmp_path):
    """An hour of film: opening it is quick, and the last frame does not need the others."""
    path = write_video(tmp_path / "a.mp4", 20_000, 16, 16, fps=Fraction(50), codec="mpeg4")
    fed = []
    with open_video(path) as video:
        frames_from = video._frames_from
        video._frames_from = lambda *args: (fed.append(frame) or frame for frame in frames_from(*args))
        assert video.num_frames == 20_000 and video.read([19_999]).shape == (1, 16, 16, 3)
    assert len(fed) <= 12


def test_limits_of_size(tmp_path, monkeypatch):
    path, folder = write_video(tmp_path / "a.mp4", 8), write_frames(tmp_path / "17", 8)
    monkeypatch.setattr(limits, "MAX_FRAMES_BYTES", 4 * 48 * 64 * 3)
    for good in (path, folder):
        assert read_frames(good, [0, 1, 2, 3]).shape == (4, 48, 64, 3)
        with pytest.raises(DataError, match=rf"{good}: 5 frames of 64 x 48\b"):
            read_frames(good, [0, 1, 2, 3, 4])
    monkeypatch.setattr(limits, "MAX_PART_BYTES", 100)
    with pytest.raises(DataError, match=r"/a\.mp4: a part .*\b0 GiB\b"):
        open_video(path, (0.1, 0.5))
    monkeypatch.setattr(limits, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(DataError, match=r"a\.mp4:.*64.*48"):
        count_frames(path)
    with pytest.raises(DataError, match=r"00001\.jpg:.*64.*48"):
        read_frames(folder, [0])


@pytest.mark.parametrize("kind", ["file", "folder", "part", "range"])
def test_the_time_limit_names_the_video(tmp_path, kind, monkeypatch):
    """It counts from the opening, and is checked between packets, frames and images."""
    path = write_frames(tmp_path / "17", 8) if kind in ("folder", "range") else write_video(tmp_path / "a.mp4", 40)
    span = {"part": (0.5, 2.5), "range": (2, 7)}.get(kind)
    now = [0.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    for limit_sec in (None, 0, 10.0):
        now[0] = 0.0
        with open_video(path, span, timeout_sec=limit_sec) as video:
            now[0] = 9.9
            assert len(video.read([0, 4])) == 2
            now[0] = 10.1
            if limit_sec:
                with pytest.raises(ReadTimeoutError, match=rf"{path}: .*\b10 s \(DATA_LOADER\.SAMPLE_TIMEOUT_SEC"):
                    video.read([1, 3])
            else:
                assert len(video.read([1, 3])) == 2


def test_the_time_limit_holds_while_a_file_is_opened(tmp_path):
    path = write_video(tmp_path / "a.mp4", 40)
    for span in (None, (0.5, 2.5)):
        with pytest.raises(ReadTimeoutError, match=r"a\.mp4:.*1e-09"):
            open_video(path, span, timeout_sec=1e-9)


def test_the_time_limit_holds_between_packets(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", 40)
    for span in (None, (0.5, 2.9)):
        monkeypatch.setattr(limits.time, "monotonic", count().__next__)  # a second for each look at it
        with pytest.raises(ReadTimeoutError, match="longer than 20 s"):
            open_video(path, span, timeout_sec=20)


def test_ffmpeg_notices_the_time_limit_itself(tmp_path):
    path = str(write_video(tmp_path / "a.avi", 100, 240, 320))
    with av.open(path, timeout=(None, 1e-9)) as container:
        reader = PacketReader(container, container.streams.video[0], path, limits.Deadline(path, 60))
        with pytest.raises(ReadTimeoutError, match="longer than 60 s"):
            reader.whole()


def test_a_decoder_that_takes_its_time(tmp_path, monkeypatch):
    """The limit is looked at before each packet is decoded."""
    path, now = write_video(tmp_path / "a.webm", 40), [0.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    with open_video(path, timeout_sec=10.0) as video:
        frames_from = video._frames_from

        def slowly(*args):
            for frame in frames_from(*args):
                now[0] += 1.0
                yield frame

        monkeypatch.setattr(video, "_frames_from", slowly)
        assert len(video.read(range(5))) == 5
        with pytest.raises(ReadTimeoutError):
            video.read(range(40))


def test_frames_of_a_folder_are_whole_images(tmp_path):
    folder = write_frames(tmp_path / "17", 3)
    data = (folder / "00002.jpg").read_bytes()
    (folder / "00002.jpg").write_bytes(data[:-200])
    with pytest.raises(DataError, match=r"/17/00002\.jpg: .*\btruncated\b"):
        read_frames(folder, [0, 1])
    (folder / "00002.jpg").write_bytes(data + b"\0" * 1000)  # some writers fill up blocks
    assert len(read_frames(folder, [0, 1])) == 2


def test_an_image_of_a_terabyte(tmp_path):
    folder = write_frames(tmp_path / "17", 1)
    with (folder / "00001.jpg").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match=r"/17/00001\.jpg: .*\btoo large\b"):
        read_frames(folder, [0])


def test_what_a_file_is_opened_with_is_given_back(tmp_path):
    """Opened and failed, or read and closed: no file descriptor stays."""
    good, bad = write_video(tmp_path / "a.mp4", 10), tmp_path / "b.mp4"
    bad.write_bytes(good.read_bytes()[:-300])
    before = len(list(Path("/proc/self/fd").iterdir()))
    kept = []
    for _ in range(5):
        kept.append(VideoFile(good))
        with kept[-1] as video:
            video.read([3])
        with pytest.raises(DataError):
            read_frames(bad, [9])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
