"""Files that a data set should not have, made by damaging real ones. The same `seed` makes the same files.

Run as a script, it reads the files that standard input names, as training and testing do, with bounded memory, and
says of each "path<TAB>read" or "path<TAB>the sentence that refuses it".
"""

import os
import resource
import shutil
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from made_videos import write_video

MEMORY_BYTES = 3 * 2**30  # beyond what the program itself takes

Damage = tuple[str, bytes]


def damaged(data: bytes, others: list[bytes], generator: np.random.Generator) -> Iterator[Damage]:
    """What may happen to a file on its way: (what, the damaged content)."""
    size = len(data)
    for offset in (1, 7, 16, 40, 100, size // 10, size // 3, size // 2, size * 9 // 10, size - 100, size - 1):
        yield f"cut_{offset}", data[:offset]
    yield "begin_lost", data[size // 3 :]
    yield "swapped_halves", data[size // 2 :] + data[: size // 2]
    yield "doubled", data + data
    for number, other in enumerate(others):
        yield f"start_of_another_{number}", other[: size // 2] + data[size // 2 :]
    for count in (1, 2, 4, 8, 32, 128, 1024):
        for where, end in (("header", min(size, 800)), ("all", size)):
            yield f"flipped_{count}_{where}", _flipped(data, end, count, generator)
    for name, filler in (("zeros", bytes), ("noise", generator.bytes)):
        for length in (4, 64, 1000):
            start = int(generator.integers(max(1, size - length)))
            yield f"{name}_{length}", data[:start] + filler(length) + data[start + length :]
    for number in range(8):
        start = int(generator.integers(min(size - 4, 1500)))
        value = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1")[number % 4]
        yield f"huge_number_{number}", data[:start] + value + data[start + 4 :]


def _flipped(data: bytes, end: int, count: int, generator: np.random.Generator) -> bytes:
    content = np.frombuffer(data, np.uint8).copy()
    np.bitwise_xor.at(content, generator.integers(end, size=count), 1 << generator.integers(8, size=count))
    return content.tobytes()


def make_huge(folder: Path, mp4: Path) -> list[Path]:
    """Videos of small frames that are declared huge: in the header of the container, and in the frames themselves."""
    data = mp4.read_bytes()
    offset = data.index(b"avc1", data.index(b"stsd")) + 28
    contents = {"header.mp4": data[:offset] + struct.pack(">HH", 60000, 60000) + data[offset + 4 :]}
    for name, codec, pix_fmt, before, size in (
        ("frames.avi", "mjpeg", "yuvj420p", b"\x00\x11\x08", struct.pack(">HH", 60000, 60000)),
        ("frames.webm", "libvpx", "yuv420p", b"\x9d\x01\x2a", struct.pack("<HH", 16383, 16383)),
    ):
        path = write_video(folder / name, 4, codec=codec, pix_fmt=pix_fmt)
        parts = path.read_bytes().split(before)
        contents[name] = before.join([parts[0], *(size + part[4:] for part in parts[1:])])
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def make_damaged(folder: Path, sources: list[Path], seed: int) -> list[Path]:
    """Damaged copies of `sources`, about forty of each."""
    generator = np.random.default_rng(seed)
    contents = [source.read_bytes() for source in sources]
    paths = []
    for index, (source, data) in enumerate(zip(sources, contents, strict=True)):
        others = contents[:index] + contents[index + 1 :]
        for what, content in damaged(data, others[:3], generator):
            paths.append(folder / f"{source.stem}_{what}{source.suffix}")
            paths[-1].write_bytes(content)
    return paths


def make_no_videos(folder: Path, video: Path, port: int) -> list[Path]:
    """Things that must be refused, many of them with the name of a video. `port` is one where nobody may call."""
    for name, text in {
        "text.mp4": "not a video\n" * 100,
        "empty.webm": "",
        "list.ffconcat": f"ffconcat version 1.0\nfile {video.name}\n",
        "list_of_all.mp4": f"ffconcat version 1.0\nfile {video}\n",
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{video.name}\n#EXT-X-ENDLIST\n",
        "list_of_web.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
        "stream.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "stream.mpd": f'<?xml version="1.0"?><MPD><Period><BaseURL>http://127.0.0.1:{port}/a.mp4</BaseURL></Period></MPD>',
        "stream.mp4": f"rtsp://127.0.0.1:{port}/a\n",
        "playlist.xspf": f"<playlist><track><location>file://{video}</location></track></playlist>",
        "graph.mp4": "testsrc=size=64x48",
    }.items():
        (folder / name).write_text(text)
    cv2.imwrite(str(folder / "image.png"), np.zeros((48, 64, 3), np.uint8))
    shutil.copy(folder / "image.png", folder / "image_named.mp4")
    cv2.imwrite(str(folder / "image.jpg"), np.zeros((48, 64, 3), np.uint8))
    shutil.copy(folder / "image.jpg", folder / "frame_named.avi")
    (folder / "noise.avi").write_bytes(np.random.default_rng(0).bytes(20_000))
    (folder / "zeros.mp4").write_bytes(bytes(20_000))
    with (folder / "sparse.mp4").open("wb") as file:
        file.truncate(2**40)
    os.mkfifo(folder / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "socket.mp4"))
    (folder / "folder.mp4").mkdir()
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "nowhere.mp4").symlink_to("missing.mp4")
    (folder / "zero_device.mp4").symlink_to("/dev/zero")
    (folder / "full_device.mp4").symlink_to("/dev/full")
    (folder / "process.mp4").symlink_to("/proc/self/mem")
    paths = sorted(folder.iterdir())
    return [*paths, folder / "missing.mp4", folder / ("long" * 100), Path(f"http://127.0.0.1:{port}/a.mp4")]


def make_frame_folders(folder: Path, seed: int) -> tuple[list[Path], list[Path]]:
    """Folders of two frames, the second of which is damaged; and those of them that must be refused."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 255, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    contents = {suffix: cv2.imencode(suffix, image)[1].tobytes() for suffix in (".jpg", ".png", ".webp", ".bmp")}
    jpeg, png = contents[".jpg"], contents[".png"]
    size = jpeg.index(b"\xff\xc0") + 5
    bad = {
        "bomb": jpeg[:size] + b"\xff\xdc\xff\xdc" + jpeg[size + 4 :],
        "png_bomb": png[:16] + b"\x7f\xff\xff\xff\x7f\xff\xff\xff" + png[24:],
        "wide_png": png[:16] + struct.pack(">II", 2**30, 1) + png[24:],
        "webp": contents[".webp"],
        "bmp": contents[".bmp"],
        "text": b"no image",
        "empty": b"",
        "other_size": cv2.imencode(".jpg", image[:24])[1].tobytes(),
        **{f"cut_{offset}": jpeg[:offset] for offset in (2, 3, 10, size + 2, len(jpeg) // 2, len(jpeg) - 2)},
        **{f"png_cut_{offset}": png[:offset] for offset in (8, 20, len(png) // 2, len(png) - 20)},
    }
    odd = {what: content for what, content in damaged(jpeg, [png], generator) if not what.startswith("cut")}
    paths = {}
    for what, content in {**bad, **odd}.items():
        paths[what] = folder / f"frames_{what}"
        paths[what].mkdir()
        (paths[what] / "00001.jpg").write_bytes(jpeg)
        (paths[what] / "00002.jpg").write_bytes(content)
    for what in ("pipe", "folder", "loop", "device"):
        paths[what] = folder / f"frames_{what}"
        paths[what].mkdir()
    os.mkfifo(paths["pipe"] / "00001.jpg")
    (paths["folder"] / "00001.jpg").mkdir()
    (paths["loop"] / "00001.jpg").symlink_to("00001.jpg")
    (paths["device"] / "00001.jpg").symlink_to("/dev/zero")
    refused = [paths[what] for what in (*bad, "pipe", "folder", "loop", "device")]
    return list(paths.values()), refused


def read_as_runs_do() -> None:
    """Reads what standard input names. The memory of this process is bounded, so that a blow-up ends it."""
    from slowfast_gta.datasets.records import VideoRecord
    from slowfast_gta.loading.clips import TestViews, TrainClips
    from slowfast_gta.loading.sampling import ClipSampling
    from slowfast_gta.loading.transforms import TestTransform, TrainTransform

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES, taken + MEMORY_BYTES))
    train = TrainTransform(32, (32, 40), (1.0,), (32, 32), False, flip=False)
    for path in sys.stdin.read().split("\0"):
        errors = ()
        for kind in ("segment", "dense"):
            sampling = ClipSampling(kind, 4, 2, 30.0, False)
            clips = TrainClips([VideoRecord(path, 0, path)], sampling, train, [None], seed=0)
            views = TestViews(clips.records, sampling, TestTransform(32, (32, 32), 1), 2)
            errors += clips[0, 0].errors + views[0].errors
        for span in (0.3, 1.2), (1.0, 2.0):  # seconds, or numbers of frames: refused more often, and never a crash
            TestViews([VideoRecord(path, 0, path, span=span)], sampling, views.transform, 2)[0]
        print(path, errors[0][1] if errors else "read", sep="\t", end="\0", flush=True)


if __name__ == "__main__":
    read_as_runs_do()
