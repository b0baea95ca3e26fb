"""Every codec that can be written here: frames from anywhere in a file are exactly those of decoding the whole of it.

No request has frame 0: what is toggled while a decoder is at work shows only then.
"""

from pathlib import Path

import av
import pytest
from drawn_videos import assert_exact, decoded_in_order, number_in, write_drawn

from slowfast_gta.video import decoding
from slowfast_gta.video.readers import open_video

LENGTH = 72

# What tells groups of pictures, B-frames and hidden reference frames apart: (file, encoder, options).
KINDS = {
    "h264": ("a.mp4", "libx264", {"g": "24"}),
    "h264 short groups": ("a.mkv", "libx264", {"g": "8", "bf": "2"}),
    "h264 pyramid": ("a.mp4", "libx264", {"g": "30", "bf": "7", "x264-params": "b-pyramid=normal:b-adapt=0"}),
    "h264 open groups": ("a.mp4", "libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"}),
    "h264 open groups in mkv": ("a.mkv", "libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"}),
    "h264 gradual refresh": ("a.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}),
    "h264 gradual refresh, B": ("a.mkv", "libx264", {"x264-params": "intra-refresh=1:keyint=16:bframes=2"}),
    "h264 without B": ("a.mp4", "libx264", {"bf": "0", "g": "18"}),
    "h264 many references": ("a.mp4", "libx264", {"refs": "8", "bf": "5", "g": "36"}),
    "h264 interlaced": ("a.mp4", "libx264", {"x264-params": "interlaced=1:keyint=24:bframes=2"}),
    "h264 in avi": ("a.avi", "libx264", {"g": "12", "bf": "2"}),
    "h264 in flv": ("a.flv", "libx264", {"g": "12", "bf": "2"}),
    "h264 in ts": ("a.ts", "libx264", {"g": "12", "bf": "2"}),
    "h264 intra only": ("a.mp4", "libx264", {"g": "1"}),
    "hevc": ("a.mp4", "libx265", {"x265-params": "keyint=24:log-level=none"}),
    "hevc open groups": ("a.mkv", "libx265", {"x265-params": "keyint=12:min-keyint=12:open-gop=1:log-level=none"}),
    "hevc closed groups": ("a.mp4", "libx265", {"x265-params": "keyint=12:open-gop=0:log-level=none"}),
    "hevc temporal layers": ("a.mp4", "libx265", {"x265-params": "keyint=24:temporal-layers=3:log-level=none"}),
    "hevc gradual refresh": ("a.mkv", "libx265", {"x265-params": "keyint=24:intra-refresh=1:log-level=none"}),
    "av1 svt": ("a.mp4", "libsvtav1", {"preset": "10", "g": "24"}),
    "av1 svt in webm": ("a.webm", "libsvtav1", {"preset": "10", "g": "15"}),
    "av1 svt low delay": ("a.mp4", "libsvtav1", {"preset": "10", "g": "24", "svtav1-params": "pred-struct=1"}),
    "av1 svt open groups": ("a.mkv", "libsvtav1", {"preset": "10", "g": "24", "svtav1-params": "irefresh-type=1"}),
    "av1": ("a.mp4", "libaom-av1", {"cpu-used": "8", "g": "24", "lag-in-frames": "16"}),
    "vp9": ("a.webm", "libvpx-vp9", {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "g": "24"}),
    "vp9 alt-ref layers": (
        "a.webm",
        "libvpx-vp9",
        {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "6", "lag-in-frames": "25", "g": "36"},
    ),
    "vp9 in mp4": ("a.mp4", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    "vp8 alt-ref": (
        "a.webm",
        "libvpx",
        {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "24", "b:v": "80k", "arnr-maxframes": "7"},
    ),
    "vp8": ("a.mkv", "libvpx", {"deadline": "realtime", "g": "12"}),
    "mpeg4": ("a.mp4", "mpeg4", {"g": "12", "bf": "0", "q:v": "3"}),
    "mpeg4 B": ("a.mp4", "mpeg4", {"g": "12", "bf": "2", "q:v": "3"}),
    "mpeg4 B in mkv": ("a.mkv", "mpeg4", {"g": "15", "bf": "3", "q:v": "3"}),
    "mpeg4 B in avi": ("a.avi", "mpeg4", {"g": "12", "bf": "2", "q:v": "3"}),
    "mpeg4 in avi": ("a.avi", "mpeg4", {"g": "12", "bf": "0", "q:v": "3", "vtag": "xvid"}),
    "mpeg2": ("a.mkv", "mpeg2video", {"g": "12", "bf": "2", "q:v": "3"}),
    "mpeg2 closed groups": ("a.mp4", "mpeg2video", {"g": "12", "bf": "2", "q:v": "3", "flags": "+cgop"}),
    "mpeg2 interlaced": ("a.mkv", "mpeg2video", {"g": "12", "bf": "2", "q:v": "3", "flags": "+ildct+ilme"}),
    "mpeg2 in mpg": ("a.mpg", "mpeg2video", {"g": "12", "bf": "2", "q:v": "3"}),
    "mpeg1": ("a.mkv", "mpeg1video", {"g": "12", "bf": "2", "q:v": "3"}),
    "mjpeg": ("a.avi", "mjpeg", {"q:v": "2"}),
    "h263 in avi": ("a.avi", "h263", {"g": "12", "q:v": "3"}),
    "wmv2": ("a.wmv", "wmv2", {"g": "12", "q:v": "3"}),
    "theora": ("a.ogv", "libtheora", {"g": "12"}),
    "ffv1": ("a.mkv", "ffv1", {"g": "12"}),
    "gif": ("a.gif", "gif", {}),
}
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8"}


def write(folder: Path, name: str, codec: str, options: dict, **kwargs) -> Path:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV does not write {codec}")
    try:
        return write_drawn(folder / name, LENGTH, codec, options, **kwargs)
    except (av.error.FFmpegError, ValueError) as fault:
        pytest.skip(f"this PyAV does not write {codec} like that ({fault})")


@pytest.mark.parametrize("kind", KINDS)
def test_any_frames_are_those_of_decoding_the_whole_file(tmp_path, kind):
    name, codec, options = KINDS[kind]
    path = write(tmp_path, name, codec, options, pix_fmt=PIXELS.get(codec, "yuv420p"), interlaced="interlaced" in kind)
    plain = decoded_in_order(path)
    assert [number_in(frame) for frame in plain] == list(range(LENGTH))
    assert_exact(path, plain)


@pytest.mark.parametrize("codec", sorted(decoding.SKIPPING_IS_EXACT))
def test_what_may_be_left_out_is_left_out(tmp_path, codec, monkeypatch):
    """B-frames on the way to the frame wanted are not decoded; and with a longer list, it would be seen here."""
    encoder = {"h264": "libx264"}.get(codec, codec)
    options = {"g": "24", "bf": "3"} | ({"x264-params": "b-adapt=0"} if codec == "h264" else {})
    path = write(tmp_path, "a.mkv", encoder, options)
    given = []
    frames_of = decoding.FrameDecoder._frames_of

    def counting(self, packet):
        for frame in frames_of(self, packet):
            given.append(frame.pts)
            yield frame

    monkeypatch.setattr(decoding.FrameDecoder, "_frames_of", counting)
    with open_video(path) as video:
        assert number_in(video.read([19])[0]) == 19
    assert len(given) < 16


def test_av1_would_be_wrong_with_skipping(tmp_path, monkeypatch):
    """The list is needed: a decoder that takes the switch only when it is opened gives other frames."""
    path = write(tmp_path, "a.mp4", "libsvtav1", {"preset": "10", "g": "24"})
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        context.thread_count = 1
        context.skip_frame = "NONREF"
        given = 0
        for packet in container.demux(video=0):
            given += len(context.decode(packet if packet.size else None))
            context.skip_frame = "DEFAULT"
    assert given < LENGTH


def encoders() -> list[str]:
    """The names of all video encoders that need no hardware."""
    names = []
    for name in sorted(av.codecs_available):
        try:
            is_video = av.Codec(name, "w").type == "video"
        except av.codec.codec.UnknownCodecError:
            continue
        if is_video and not name.endswith(("_amf", "_nvenc", "_qsv", "_v4l2m2m")):
            names.append(name)
    return names


SUFFIXES = (".mkv", ".mov", ".mp4", ".avi", ".flv", ".mpg", ".gif", ".webm")
FAVOURITES = ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "rgb24", "bgr24", "rgb8", "rgba", "bgra", "bgr0")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("codec", encoders())
def test_every_encoder_in_every_container(tmp_path, codec, suffix):
    formats = [pixels.name for pixels in av.Codec(codec, "w").video_formats or []]
    pix_fmt = next((name for name in FAVOURITES if name in formats), formats[0] if formats else "yuv420p")
    size = (576, 720) if codec == "dvvideo" else (144, 176)
    try:
        path = write_drawn(tmp_path / f"a{suffix}", 40, codec, {"g": "12", "strict": "-2"}, pix_fmt, size)
        plain = decoded_in_order(path)
    except (av.error.FFmpegError, ValueError, OverflowError, AttributeError, IndexError):
        pytest.skip(f"{codec} is not written to {suffix}, or not decoded from it")
    if len(plain) < 8:
        pytest.skip(f"{codec} in {suffix} gives {len(plain)} frames")
    assert_exact(path, plain)
