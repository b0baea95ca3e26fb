"""Long videos: their packets are looked through once, a clip reads its own alone, and whatever lies in the cache, the
frames are those asked for."""

import multiprocessing
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pytest
from drawn_videos import number_in, write_drawn, write_long

from slowfast_gta.errors import DataError
from slowfast_gta.video import index_cache, packets
from slowfast_gta.video.packets import PacketReader
from slowfast_gta.video.readers import open_video

GROUP, REPEATS = 120, 25
LENGTH = GROUP * REPEATS
WANTED = [1, 119, 120, 121, 1234, 1500, 2990, LENGTH - 1]
KINDS = {
    ".mp4": ("libx264", {"g": "40", "bf": "3", "x264-params": "open-gop=0"}),
    ".mkv": ("libx264", {"g": "40", "bf": "3", "x264-params": "open-gop=0"}),
    ".webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "40", "lag-in-frames": "0"}),
    ".avi": ("mpeg4", {"g": "40", "bf": "0", "q:v": "3"}),
    ".flv": ("libx264", {"g": "40", "bf": "2", "x264-params": "open-gop=0"}),
    ".ts": ("libx264", {"g": "40", "bf": "2", "x264-params": "open-gop=0"}),
}


@pytest.fixture(scope="module", params=KINDS)
def long_video(request, tmp_path_factory) -> Path:
    """3000 frames, the first 120 again and again."""
    folder = tmp_path_factory.mktemp("long")
    codec, options = KINDS[request.param]
    source = write_drawn(folder / f"source{request.param}", GROUP, codec, options, size=(48, 80))
    if request.param in (".mkv", ".avi", ".flv", ".ts"):  # their packets have no duration, or no time
        source = write_drawn(folder / "source.mp4", GROUP, codec, options, size=(48, 80))
    return write_long(source, folder / f"long{request.param}", REPEATS)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The first 120 frames."""
    codec, options = KINDS[".mp4"]
    return write_drawn(tmp_path_factory.mktemp("source") / "s.mp4", GROUP, codec, options, size=(48, 80))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The folder of the cache; nothing is remembered from before, and few packets are kept in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "_MIN_FILE_BYTES", 1)
    monkeypatch.setattr(packets, "MAX_KEPT_PACKETS", 500)
    index_cache._in_memory.clear()
    return tmp_path / "cache" / "slowfast_gta" / "packets"


@pytest.fixture
def num_demuxed(monkeypatch) -> list[int]:
    """How often a whole file was looked through."""
    calls, read_index = [], PacketReader._read_index
    monkeypatch.setattr(PacketReader, "_read_index", lambda *args: calls.append(1) or read_index(*args))
    return calls


def numbers(path: Path, indices=WANTED) -> list[int]:
    with open_video(path) as video:
        assert video.num_frames == LENGTH
        found = [number_in(frame) for frame in video.read(indices)]
        assert video.num_repeated == 0
    return found


def expected(indices=WANTED) -> list[int]:
    return [index % GROUP for index in indices]


def test_the_packets_are_looked_through_once(long_video, cache, num_demuxed):
    assert numbers(long_video) == expected()
    assert len(list(cache.iterdir())) == len(num_demuxed) == 1
    for _ in range(2):
        assert numbers(long_video) == expected()
        index_cache._in_memory.clear()  # as in another process
    assert len(num_demuxed) == 1


def test_every_frame_is_the_same_with_and_without_a_cache(long_video, monkeypatch):
    """Random clips, from packets in memory and from packets that are sought."""
    generator = np.random.default_rng(0)
    clips = [np.sort(generator.integers(1, LENGTH, 6)).tolist() for _ in range(5)]
    sought = []
    for clip in clips:
        with open_video(long_video) as video:
            sought.append(video.read(clip))
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    monkeypatch.setattr(packets, "MAX_KEPT_PACKETS", 10**6)
    index_cache._in_memory.clear()
    with open_video(long_video) as video:
        assert video._reader._kept is not None
        for clip, frames in zip(clips, sought, strict=True):
            assert np.array_equal(video.read(clip), frames)
            assert [number_in(frame) for frame in frames] == expected(clip)


def test_a_clip_reads_its_own_packets(source, tmp_path, num_demuxed, monkeypatch):
    path = write_long(source, tmp_path / "a.mkv", REPEATS)
    numbers(path)
    read, check_is = [], PacketReader._check_is
    monkeypatch.setattr(PacketReader, "_check_is", lambda self, packet, n: read.append(n) or check_is(self, packet, n))
    assert numbers(path, [2300, 2310]) == expected([2300, 2310])
    assert read and min(read) >= 2200 and len(read) < 80


def test_a_changed_file_is_examined_again(source, tmp_path, num_demuxed):
    path = write_long(source, tmp_path / "a.mp4", REPEATS)
    assert numbers(path) == expected()
    content, status = path.read_bytes(), path.stat()
    write_long(source, path, REPEATS + 1)
    with open_video(path) as video:
        assert video.num_frames == LENGTH + GROUP
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert numbers(path) == expected()
    assert len(num_demuxed) == 3


def test_an_index_of_another_file_with_the_same_size_and_date(source, tmp_path):
    """It is noticed while packets are read: a sentence, and the next time the index is made anew."""
    path = write_long(source, tmp_path / "a.mkv", REPEATS)
    assert numbers(path) == expected()
    status = path.stat()
    codec, options = KINDS[".mp4"]
    other = write_drawn(tmp_path / "o.mp4", GROUP, codec, options | {"crf": "35"}, size=(48, 80))
    write_long(other, path, REPEATS)
    content = path.read_bytes()
    path.write_bytes(content[: status.st_size] + bytes(max(0, status.st_size - len(content))))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"a\.mkv: the file has changed"):
        numbers(path)
    index_cache._in_memory.clear()
    try:
        numbers(path, [5])
    except DataError as fault:
        assert "truncated" in str(fault) or "after" in str(fault)


def damaged(content: bytes):
    size = len(content)
    generator = np.random.default_rng(0)
    yield b""
    yield content[: size // 2]
    yield content + b"\0"
    yield b"\x80\x04\x95" + content[3:]  # as a pickle begins
    yield bytes(size)
    for offset in (3, 25, 60, 70, size // 2, size - 1):
        yield content[:offset] + bytes([content[offset] ^ 0x41]) + content[offset + 1 :]
    yield content[:55] + b"\xff" * 8 + content[63:]
    yield generator.bytes(size)


def test_whatever_lies_in_the_cache(source, tmp_path, cache, num_demuxed):
    """Damaged, of another video, no file at all: as if it were not there; and it is written anew where that goes."""
    path = write_long(source, tmp_path / "a.mp4", REPEATS)
    numbers(path)
    file = next(cache.iterdir())
    good = file.read_bytes()
    contents = list(damaged(good))
    for content in contents:
        file.write_bytes(content)
        index_cache._in_memory.clear()
        assert numbers(path) == expected()
        assert file.read_bytes() == good
    assert len(num_demuxed) == 1 + len(contents)
    twin = tmp_path / "b.mp4"
    twin.write_bytes(path.read_bytes())
    file.rename(index_cache.key_of(str(twin)).file)
    index_cache._in_memory.clear()
    assert numbers(twin) == expected() and len(num_demuxed) == 2 + len(contents)
    index_cache._in_memory.clear()
    os.mkfifo(file)
    assert numbers(path) == expected()
    index_cache._in_memory.clear()
    file.unlink()
    file.mkdir()
    assert numbers(path) == expected()


def test_damaged_numbers_of_an_index_are_not_used(source, tmp_path, cache):
    """With a right checksum: places and sizes that are none are noticed when packets are read."""
    path = write_long(source, tmp_path / "a.mp4", REPEATS)
    numbers(path)
    key = index_cache.key_of(str(path))
    index = index_cache.load(key, True, True)
    for column in ("pts", "pos", "size", "dts"):
        values = {name: getattr(index.table, name).copy() for name in ("pts", "dts", "pos", "size", "flags")}
        values[column] = np.random.default_rng(0).integers(-(2**62), 2**62, len(index.table))
        index_cache._in_memory.clear()
        assert index_cache.save(key, packets.PacketIndex(packets.PacketTable(**values), True, True))
        index_cache._in_memory.clear()
        try:
            assert numbers(path) == expected()
        except DataError as fault:
            assert "has changed" in str(fault)


@pytest.mark.parametrize("kind", ["file", "read-only", "nowhere", "relative", "no home"])
def test_a_cache_that_cannot_be_written_does_no_harm(source, tmp_path, cache, kind, monkeypatch):
    path = write_long(source, tmp_path / "a.mp4", REPEATS)
    if kind == "file":
        (tmp_path / "cache").write_text("in the way")
    elif kind == "read-only":
        monkeypatch.setattr(
            index_cache.tempfile, "NamedTemporaryFile", lambda **kwargs: (_ for _ in ()).throw(OSError())
        )
    elif kind == "nowhere":
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/full/x")
    elif kind == "relative":
        monkeypatch.setenv("XDG_CACHE_HOME", "here")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(index_cache.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError()))
    assert numbers(path) == expected()
    assert not Path("here").exists()


def test_a_full_disk_leaves_no_half_of_a_file(source, tmp_path, cache, monkeypatch):
    path = write_long(source, tmp_path / "a.mp4", REPEATS)
    monkeypatch.setattr(index_cache.Path, "replace", lambda *args: (_ for _ in ()).throw(OSError(28, "full")))
    assert numbers(path) == expected()
    assert list(cache.iterdir()) == []


def test_the_cache_is_bounded(source, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(index_cache, "MAX_CACHE_BYTES", 3 * 33 * LENGTH + 1000)
    for name in "abcde":
        numbers(write_long(source, tmp_path / f"{name}.mp4", REPEATS))
    files = list(cache.iterdir())
    assert len(files) == 3 and all(stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 for file in files)
    index_cache._in_memory.clear()
    assert index_cache.load(index_cache.key_of(str(tmp_path / "e.mp4")), True, True)
    assert not index_cache.load(index_cache.key_of(str(tmp_path / "a.mp4")), True, True)


def test_short_videos_leave_no_trace(source, tmp_path, cache):
    with open_video(source) as video:
        assert video.num_frames == GROUP
    assert not cache.exists()


def read_in_process(path: str) -> tuple[list[int], float]:
    """The numbers of frames far in, and how much memory this process took at most, MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_video(path) as video:
        wanted = [video.num_frames // 2, video.num_frames - 2]
        found = [number_in(frame) for frame in video.read(wanted)]
    return [n % GROUP for n in wanted] + found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".flv"])
def test_a_file_of_more_than_a_gibibyte(source, tmp_path, suffix):
    """Memory does not grow with it."""
    path = write_long(source, tmp_path / f"a{suffix}", REPEATS, filler_bytes=380_000)
    assert path.stat().st_size > 2**30
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        for _ in range(2):
            found, grown_mb = fresh.apply(read_in_process, (str(path),))
            assert found[:2] == found[2:]
            assert grown_mb < 400
    path.unlink()
