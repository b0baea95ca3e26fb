"""Which frame is which follows from the order in which the decoder gives them; times are data about them, no more."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from drawn_videos import assert_exact, decoded_in_order, number_in, write_drawn

from slowfast_gta.video.packet_index import IS_KEY, IS_SHOWN, PacketIndex, PacketTable
from slowfast_gta.video.readers import VideoFile, open_video

LENGTH = 60
CLIPS = Path(__file__).parents[3] / "shared" / "clips"
ENCODERS = {
    "libx264": {"g": "24"},
    "libx265": {"x265-params": "keyint=24:log-level=none"},  # open groups of pictures
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "g": "16"},
    "mpeg4": {"bf": "2", "g": "12", "q:v": "3"},
}


def repacked(source: Path, target: Path, change: Callable[[int, av.Packet], bool | None], **options) -> Path:
    """The packets of `source` in another container; `change` alters each, and leaves it out by returning False."""
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options) as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for number, packet in enumerate(reader.demux(video=0)):
            if packet.size:
                packet.stream = stream
                if change(number, packet) is not False:
                    writer.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".flv", ".webm"])
@pytest.mark.parametrize("codec", ENCODERS)
def test_frames_with_equal_times(tmp_path, codec, suffix):
    """2500 frames a second, in containers that count milliseconds."""
    try:
        path = write_drawn(tmp_path / f"a{suffix}", LENGTH, codec, ENCODERS[codec], fps=2500)
    except (av.error.FFmpegError, ValueError):
        pytest.skip(f"{codec} is not written to {suffix}")
    plain = decoded_in_order(path)
    assert [number_in(frame) for frame in plain] == list(range(LENGTH))
    assert_exact(path, plain)
    with open_video(path) as video:
        times = video.times_sec
    if times is not None:
        assert (np.diff(times) >= 0).all() and np.abs(times - np.arange(LENGTH) / 2500).max() < 2e-3


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".flv"])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_times_in_the_order_of_storage(tmp_path, codec, suffix):
    source = write_drawn(tmp_path / "source.mp4", LENGTH, codec, ENCODERS[codec])

    def lie(number: int, packet: av.Packet) -> None:
        packet.pts = packet.dts

    try:
        path = repacked(source, tmp_path / f"a{suffix}", lie)
    except (av.error.FFmpegError, ValueError):
        pytest.skip(f"{codec} is not written to {suffix}")
    assert_exact(path, decoded_in_order(path))


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_times_that_are_missing_or_wrong_here_and_there(tmp_path, suffix):
    source = write_drawn(tmp_path / "source.mp4", LENGTH, "libx264", {"g": "24"})

    def forget(number: int, packet: av.Packet) -> None:
        if number % 7 == 3:
            packet.pts = None

    path = repacked(source, tmp_path / f"a{suffix}", forget)
    assert_exact(path, decoded_in_order(path))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_variable_rates(tmp_path, codec, suffix):
    """Pauses, bursts and times far apart, with B-frames."""
    gaps = np.random.default_rng(0).choice([1, 2, 3, 40, 41, 900], LENGTH)
    pts = np.cumsum(gaps).tolist()
    time_base = Fraction(1, 1000)
    path = write_drawn(tmp_path / f"a{suffix}", LENGTH, codec, ENCODERS[codec], fps=30, pts=pts, time_base=time_base)
    assert_exact(path, decoded_in_order(path))
    with open_video(path) as video:
        assert np.abs(video.times_sec - (np.array(pts) - pts[0]) / 1000).max() <= 1.5e-3


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
@pytest.mark.parametrize("shift", [-9, -4, 25])
def test_edit_lists_and_a_late_begin(tmp_path, codec, shift):
    """Times that begin below 0 are hidden by an edit list, which the muxer writes; later ones leave a gap before."""
    source = write_drawn(tmp_path / "source.mp4", LENGTH, codec, ENCODERS[codec])

    def move(number: int, packet: av.Packet) -> None:
        ticks = round(shift / 25 / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks

    path = repacked(source, tmp_path / "a.mp4", move, avoid_negative_ts="disabled")
    plain = decoded_in_order(path)
    assert len(plain) == LENGTH + min(shift, 0)
    assert_exact(path, plain)
    assert [number_in(frame) for frame in plain] == list(range(max(-shift, 0), LENGTH))


def test_negative_times_without_an_edit_list(tmp_path):
    source = write_drawn(tmp_path / "source.mp4", LENGTH, "libx264", {"g": "24"})

    def move(number: int, packet: av.Packet) -> None:
        packet.pts, packet.dts = (time - round(0.4 / packet.time_base) for time in (packet.pts, packet.dts))

    for name, options in (("a.mkv", {}), ("b.mp4", {"use_editlist": "0"})):
        path = repacked(source, tmp_path / name, move, **options)
        assert_exact(path, decoded_in_order(path))


def test_spans_where_times_are_equal_or_in_the_order_of_storage(tmp_path):
    """The frames of a part are a run of the whole's, whatever their times say of their order."""
    equal = write_drawn(tmp_path / "equal.mkv", LENGTH, "libx264", {"g": "24"}, fps=2500)

    def lie(number: int, packet: av.Packet) -> None:
        packet.pts = packet.dts

    source = write_drawn(tmp_path / "source.mp4", LENGTH, "libx264", {"g": "24"})
    lying = repacked(source, tmp_path / "lying.mkv", lie)
    for path, span in ((equal, (0.0095, 0.0205)), (lying, (0.95, 2.05))):
        with open_video(path) as video:
            times = video.times_sec
        with open_video(path, span) as video:
            numbers = [number_in(frame) for frame in video.read(range(video.num_frames))]
            assert video.num_repeated == 0
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        expected = np.flatnonzero((times >= span[0] - 1e-3) & (times < span[1] + 1e-3))
        assert set(numbers) <= set(expected.tolist()) and len(numbers) >= len(expected) - 8


def test_a_packet_that_is_no_picture_is_no_frame(tmp_path):
    """As in HMDB51's .avi: DivX keeps an empty packet at the begin."""
    source = write_drawn(tmp_path / "source.avi", LENGTH, "mpeg4", {"g": "12", "bf": "0", "q:v": "3", "vtag": "DX50"})
    path = tmp_path / "a.avi"
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for number, packet in enumerate(packet for packet in reader.demux(video=0) if packet.size):
            if number == 1:
                empty = av.Packet(b"\x7f")
                empty.stream, empty.time_base, empty.pts, empty.dts = stream, packet.time_base, packet.dts, packet.dts
                writer.mux(empty)
            packet.stream, packet.pts, packet.dts = stream, packet.dts + (number > 0), packet.dts + (number > 0)
            writer.mux(packet)
    with open_video(path) as video:
        assert (len(video._index.table), video.num_frames) == (LENGTH + 1, LENGTH)
        assert [number_in(frame) for frame in video.read(range(LENGTH))] == list(range(LENGTH))
        assert video.num_repeated == 0


@pytest.mark.skipif(not CLIPS.exists(), reason="../shared/clips is not here")
def test_the_avi_of_hmdb51_are_whole():
    paths = sorted(CLIPS.rglob("*.avi"))
    assert paths
    for path in paths:
        with open_video(path) as video:
            assert len(video.read(range(video.num_frames))) == video.num_frames
            assert video.num_repeated == 0, path


def test_keyframes_that_are_none(tmp_path):
    """Indices of .avi that call every frame a keyframe, .mp4 that list none: decoding begins where it really can."""
    source = write_drawn(tmp_path / "source.avi", LENGTH, "mpeg4", {"g": "15", "bf": "0", "q:v": "3"})

    def all_keys(number: int, packet: av.Packet) -> None:
        packet.is_keyframe = True
        packet.pts = packet.dts if packet.pts is None else packet.pts

    h264 = write_drawn(tmp_path / "source.mp4", LENGTH, "libx264", {"g": "20", "bf": "2"})
    h263 = write_drawn(tmp_path / "h263.avi", LENGTH, "h263", {"g": "15", "q:v": "3"})
    num_false = 0
    for name, source_of in (("a.avi", source), ("b.mp4", source), ("c.mkv", h264), ("d.mp4", h264), ("e.avi", h263)):
        path = repacked(source_of, tmp_path / name, all_keys)
        with open_video(path) as video:
            num_false += (video._index.table.flags & IS_KEY).all()
        assert_exact(path, decoded_in_order(path))
    assert num_false >= 2, "FFmpeg looks into the others itself"


def test_a_frame_that_is_lost_is_counted_and_no_other(tmp_path):
    """A damaged packet in the middle: its frame, and what depends on it, but nothing in the groups around."""
    source = write_drawn(tmp_path / "source.mkv", LENGTH, "libx264", {"g": "20", "bf": "0"})
    path = repacked(source, tmp_path / "a.mkv", lambda number, packet: number != 39)  # the last of its group
    with open_video(path) as video:
        assert video.num_frames == LENGTH - 1
        numbers = [number_in(frame) for frame in video.read([5, 25, 38, 39, 41])]
        assert numbers == [5, 25, 38, 40, 42] and video.num_repeated == 0


def table(pts, dts=None, keys=(0,), hidden=()) -> PacketTable:
    pts = np.array(pts, np.int64)
    flags = np.array([IS_KEY * (n in keys) + IS_SHOWN * (n not in hidden) for n in range(len(pts))], np.uint8)
    dts = np.arange(len(pts)) - 2 if dts is None else dts
    return PacketTable(pts, np.asarray(dts, np.int64), np.arange(len(pts)) * 100, np.full(len(pts), 90), flags)


def test_the_index_of_a_stream_with_b_frames():
    index = PacketIndex(table([0, 4, 2, 1, 3, 8, 6, 5, 7], keys=(0, 5)), has_times=True, reorders=True)
    assert index.is_ordered and not index.is_doubtful and index.num_frames == 9
    assert index.ranks.tolist() == [0, 4, 2, 1, 3, 8, 6, 5, 7]
    assert [index.start_of(rank) for rank in range(9)] == [0] * 8 + [5]  # 5, 6 and 7 are shown before the keyframe
    assert index.group(0) == (0, 8, 9) and index.group(5) == (8, 9, 6)


def test_the_index_where_times_are_no_help():
    hidden = PacketIndex(table([0, 2, 1, 3], hidden=(0,)), has_times=True, reorders=True)
    assert hidden.ranks.tolist() == [-1, 1, 0, 2] and hidden.num_frames == 3
    for pts in ([0, 1, 2, 3, 4], [0, 2, 1, 1, 3]):
        index = PacketIndex(table(pts), has_times=True, reorders=True)
        assert index.is_doubtful and index.ranks.tolist() == [0, 1, 2, 3, 4]
        index.correct([0, 2, 3, 1], 0)
        assert index.ranks.tolist() == [0, 3, 1, 2, 4]
    assert not PacketIndex(table([0, 1, 1, 2]), has_times=True, reorders=False).is_doubtful
    apart = PacketIndex(table([*range(200, 400), *range(200)]), has_times=True, reorders=True)
    assert not apart.is_ordered
    assert not PacketIndex(table([0, 1]), has_times=False, reorders=True).is_ordered


def test_an_index_of_nothing():
    for reorders in (False, True):
        index = PacketIndex(table([]), has_times=True, reorders=reorders)
        assert index.num_frames == 0 and len(index.times) == 0


def test_an_answer_does_not_depend_on_earlier_questions(tmp_path):
    """The order of a doubtful file is found out once for each group, whichever comes first."""
    path = write_drawn(tmp_path / "a.mkv", LENGTH, "libx265", ENCODERS["libx265"], fps=2500)
    plain = decoded_in_order(path)
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(LENGTH), (3, 1)), axis=1)
    for order in orders:
        with VideoFile(path) as video:
            for index in order.tolist():
                assert (video.read([index])[0] == plain[index]).all(), index
