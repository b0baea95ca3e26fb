"""Smaller videos and folders of frames: the same frames at the same times; whole or not at all; resumed."""

import errno
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from hostile_files import make_damaged
from made_videos import number_of, numbered_frame, write_frames, write_video
from miniatures import command

from slowfast_gta.commands import run_command
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.preparation.extract_frames import check_name, frames_shown
from slowfast_gta.preparation.jobs import make_all
from slowfast_gta.preparation.resize import resize_video, smaller_size
from slowfast_gta.video.readers import open_video


def prepare(what: str, *words: object) -> int:
    return run_command("prepare_data", [what, *map(str, words)])


def numbers(path: Path) -> list[int]:
    with open_video(path) as video:
        return [number_of(frame) for frame in video.frames(range(video.num_frames))]


def write_variable_rate(path: Path, times_ms: list[int]) -> Path:
    """A video whose frames are shown at these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Videos of three kinds, a text, a folder of frames."""
    root = tmp_path / "videos"
    (root / "a").mkdir(parents=True)
    write_video(root / "a" / "one.webm", 12)
    write_video(root / "a" / "two words.mp4", 9, fps=25)
    write_video(root / "three.avi", 7)
    write_frames(root / "a" / "frames", 3)
    (root / "list.txt").write_text("x")
    return root


@pytest.mark.parametrize("suffix", [".webm", ".mp4", ".avi"])
def test_frames_read_one_by_one_equal_those_read_together(tmp_path, suffix):
    path = write_video(tmp_path / f"x{suffix}", 30)
    with open_video(path) as video:
        assert np.array_equal(np.stack(list(video.frames(range(3, 30, 2)))), video.read(range(3, 30, 2)))


def test_the_files_of_frames(tmp_path):
    write_frames(tmp_path / "x", 5)
    for span, expected in ((None, [1, 2, 3, 4, 5]), ((2, 3), [2, 3])):
        with open_video(tmp_path / "x", span) as video:
            assert [int(file.stem) for file in video.files] == expected


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((480, 640), 240, (240, 320)),
        ((640, 360), 256, (456, 256)),
        ((100, 176), 256, (100, 176)),
        ((101, 175), 256, (100, 176)),
        ((1080, 1920), 256, (256, 456)),
        ((3, 900), 256, (4, 900)),
        ((1, 1), 256, (2, 2)),
    ],
)
def test_sizes_are_even_and_not_larger(size, short_side, expected):
    assert smaller_size(*size, short_side) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_resize(folder, tmp_path, capsys, workers):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert prepare("resize", folder, tmp_path / "small", "--short-side", 24, "--workers", workers) == 0
    assert "small: 3 videos made.\nLeft out: 1 .txt, 1 folder of frames.\n" in capsys.readouterr().out
    made = {path.relative_to(tmp_path / "small").as_posix(): path for path in (tmp_path / "small").rglob("*.*")}
    assert set(made) == {"a/one.mp4", "a/two words.mp4", "three.mp4", "prepare_data.json"}
    for source, target, count in (("a/one.webm", "a/one.mp4", 12), ("three.avi", "three.mp4", 7)):
        assert numbers(made[target]) == numbers(folder / source) == list(range(count))
    with open_video(made["a/two words.mp4"]) as video:
        assert video.read([0]).shape == (1, 24, 32, 3) and video.fps == pytest.approx(25)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_times_are_kept_and_sound_is_not(tmp_path):
    times = [0, 40, 80, 120, 1000, 1040, 1500, 2900, 2940]
    path = write_variable_rate(tmp_path / "x.mp4", times)
    with open_video(path) as video:
        assert video.times_sec == pytest.approx(np.array(times) / 1000, abs=1e-3)
    resize_video(path, tmp_path / "y.mp4", 24)
    with open_video(tmp_path / "y.mp4") as video:
        assert video.times_sec == pytest.approx(np.array(times) / 1000, abs=1e-3)
        assert [number_of(frame) for frame in video.read(range(9))] == list(range(9))
    with av.open(str(tmp_path / "y.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_a_video_that_players_turn_is_turned(tmp_path):
    data = write_video(tmp_path / "x.mp4", 5).read_bytes()
    matrix = data.index(b"tkhd") + 44  # ISO/IEC 14496-12: of the track; here a quarter turn
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    (tmp_path / "x.mp4").write_bytes(data[:matrix] + turned + data[matrix + 36 :])
    resize_video(tmp_path / "x.mp4", tmp_path / "y.mp4", 24)
    with open_video(tmp_path / "x.mp4") as video, open_video(tmp_path / "y.mp4") as smaller:
        assert video.read([0]).shape == (1, 64, 48, 3) and smaller.read([0]).shape == (1, 32, 24, 3)


def test_what_is_there_is_not_made_again_and_failures_are_tried_again(folder, tmp_path, capsys):
    (folder / "bad.mp4").write_bytes(b"no video")
    (folder / "a" / "one.avi").write_bytes((folder / "three.avi").read_bytes())
    assert prepare("resize", folder, tmp_path / "small", "--workers", 1) == 1
    out, err = capsys.readouterr()
    assert "small: 3 videos made." in out and "2 videos could not be made" in err and "Traceback" not in err
    reasons = (tmp_path / "small" / "failed.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in reasons] == [str(folder / "a" / "one.webm"), str(folder / "bad.mp4")]
    assert reasons[0].endswith("one.avi.") and "not a video" in reasons[1]
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "small").rglob("*.mp4")}
    write_video(folder / "bad.mp4", 5)
    (folder / "a" / "one.avi").unlink()
    (tmp_path / "small" / "a" / "one.mp4").unlink()
    assert prepare("resize", folder, tmp_path / "small", "--workers", 1) == 0
    assert re.search(r"\bsmall: 2 videos made, 2\b.*\balready\b", capsys.readouterr().out)
    assert not (tmp_path / "small" / "failed.txt").exists()
    second = {path: path.stat().st_mtime_ns for path in (tmp_path / "small").rglob("*.mp4")}
    assert {path for path in first if first[path] == second[path]} == set(first) - {tmp_path / "small/a/one.mp4"}


def test_the_answer_as_json(folder, tmp_path, capsys):
    (folder / "bad.mp4").write_bytes(b"no video")
    assert prepare("resize", folder, tmp_path / "small", "--workers", 1, "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["made"], answer["there"], list(answer["failed"])) == (3, 0, [str(folder / "bad.mp4")])


@pytest.mark.parametrize("what", ["resize", "extract-frames"])
def test_frames_that_do_not_decode_are_counted(folder, tmp_path, capsys, monkeypatch, what):
    def frames(self, indices):
        self.num_repeated = 2
        yield from (numbered_frame(index) for index in indices)

    monkeypatch.setattr("slowfast_gta.video.readers.VideoFile.frames", frames)
    assert prepare(what, folder, tmp_path / "out", "--workers", 1) == 0
    assert re.search(r"\breplaced\b.*: 6, in 3 videos\b", capsys.readouterr().out)


def test_wrong_use_is_refused(folder, tmp_path, capsys):
    small = tmp_path / "small"
    assert prepare("resize", folder, small, "--workers", 1) == 0
    for words, code, message in (
        ((folder, small, "--short-side", 100), 1, "filled with other settings: short_side was 256 and is 100"),
        ((folder / "a", small), 1, "filled with other settings: source was"),
        ((folder, folder / "small"), 1, "must be two folders, neither inside the other"),
        ((folder, tmp_path), 1, "must be two folders, neither inside the other"),
        ((folder, folder), 1, "must be two folders"),
        ((tmp_path / "nowhere", small), 1, "nowhere does not exist"),
        ((folder / "three.avi", small), 1, "three.avi is not a folder"),
        ((folder / "a" / "frames", small), 1, "there is no video file in this folder"),
        ((small, folder / "a"), 1, "is not empty, and was not filled by this command"),
        ((folder, small, "--workers", 0), 2, "--workers is 0; it must be at least 1"),
        ((folder, small, "--short-side", 2), 2, "--short-side is 2; it must be at least 16"),
    ):
        assert prepare("resize", *words) == code, words
        assert message in capsys.readouterr().err, words
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    assert prepare("resize", folder, tmp_path / "full") == 1
    assert re.search(rf"{tmp_path / 'full'}\b.*\bnot empty\b", capsys.readouterr().err)


# ----------------------------------------------------------------------------------------- frames


def test_extract_every_frame_once(folder, tmp_path, capsys):
    assert prepare("extract-frames", folder, tmp_path / "frames", "--workers", 1) == 0
    assert sorted(path.name for path in (tmp_path / "frames" / "a" / "two words").iterdir())[::8] == [
        "00001.jpg",
        "00009.jpg",
    ]
    for name, count in (("a/one", 12), ("a/two words", 9), ("three", 7)):
        with open_video(tmp_path / "frames" / name) as video:
            assert [number_of(frame) for frame in video.read(range(count))] == list(range(count))
            assert video.num_frames == count


@pytest.mark.parametrize(
    ("times", "fps", "shown"),
    [
        ([0, 100, 200, 300, 400], 10, [0, 1, 2, 3, 4]),
        ([0, 100, 200, 300, 400], 5, [0, 2, 4]),
        ([0, 100, 200, 300, 400], 20, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        ([0, 100, 800, 850, 900], 10, [0, 1, 1, 1, 1, 1, 1, 1, 2, 4]),
    ],
)
def test_frames_at_a_rate_are_those_shown_at_its_times(tmp_path, times, fps, shown):
    (tmp_path / "videos").mkdir()
    write_variable_rate(tmp_path / "videos" / "x.mp4", times)
    assert prepare("extract-frames", tmp_path / "videos", tmp_path / "frames", "--fps", fps, "--workers", 1) == 0
    found = [
        number_of(cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)) for file in sorted((tmp_path / "frames/x").iterdir())
    ]
    assert found == shown


def test_damaged_times_do_not_fill_the_disk():
    video = SimpleNamespace(path="x.mp4", times_sec=np.array([0.0, 0.04, 1e9]))
    with pytest.raises(DataError, match=r"x.mp4: 30.*1,000,000"):
        frames_shown(video, 30)


def test_a_video_beside_a_folder_of_its_name_does_not_become_that_folder(folder, tmp_path, capsys):
    (folder / "a.webm").write_bytes((folder / "a" / "one.webm").read_bytes())
    assert prepare("extract-frames", folder, tmp_path / "frames", "--workers", 1) == 1
    assert f"a.webm: {tmp_path / 'frames' / 'a'} must be the folder of other videos" in capsys.readouterr().err
    assert (tmp_path / "frames" / "a" / "one" / "00001.jpg").exists() and not list(
        (tmp_path / "frames/a").glob("*.jpg")
    )


def test_names_and_sizes_of_frames(folder, tmp_path):
    words = ("--name", "{id}_{:06d}.png", "--short-side", 24, "--workers", 1)
    assert prepare("extract-frames", folder, tmp_path / "frames", *words) == 0
    image = cv2.imread(str(tmp_path / "frames" / "three" / "three_000007.png"), cv2.IMREAD_COLOR_RGB)
    assert image.shape == (24, 32, 3) and number_of(image) == 6


@pytest.mark.parametrize("name", ["{:05d}.jpg", "img_{:05d}.jpg", "{id}_{:06d}.jpg", "{}.png", "frame{:d}.JPEG"])
def test_good_names(name):
    check_name(name)


@pytest.mark.parametrize(
    "name", ["a.jpg", "{:05d}", "{:05d}.gif", "{:05d}{:05d}.jpg", "x/{:05d}.jpg", "{0.__class__}.jpg", "{id}.jpg",
             "{:99999d}.jpg", "{:>5}.jpg", "{", "{:05d}{id.real}.jpg", "{:05d}{id:9999999}.jpg"]
)  # fmt: skip
def test_bad_names(name):
    with pytest.raises(ConfigError, match=r"--name .*\bnumber once\b"):
        check_name(name)


# ----------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("what", ["resize", "extract-frames"])
def test_damaged_files_are_made_whole_or_listed(tmp_path, capsys, what):
    (tmp_path / "videos").mkdir()
    (tmp_path / "good").mkdir()
    files = make_damaged(tmp_path / "videos", [write_video(tmp_path / "good" / "x.mp4", 24)], seed=3)
    videos = [file for file in files if file.suffix == ".mp4"]
    assert prepare(what, tmp_path / "videos", tmp_path / "out", "--short-side", 24, "--workers", 1) == 1
    assert "Traceback" not in capsys.readouterr().err
    failed = {line.split("\t")[0] for line in (tmp_path / "out" / "failed.txt").read_text().splitlines()}
    suffix = ".mp4" if what == "resize" else ""
    made = [tmp_path / "out" / file.with_suffix(suffix).name for file in videos if str(file) not in failed]
    assert len(videos) > 20 and len(failed) > 5 and len(made) > 5
    for path in made:
        with open_video(path) as video:
            assert video.num_frames > 0 and video.read([video.num_frames - 1]).shape == (1, 24, 32, 3)


def _make_on_a_full_disk(source: Path, temporary: Path) -> int:
    raise OSError(28, "No space left on device")


def _make_nothing(source: Path, temporary: Path) -> int:
    raise RuntimeError("decoder says no")


def _jobs(tmp_path: Path, count: int) -> dict[Path, Path]:
    return {tmp_path / f"{n}.avi": tmp_path / "out" / "deep" / f"{n}.mp4" for n in range(count)}


def test_a_full_disk_stops_at_once(tmp_path, capsys):
    from slowfast_gta.errors import RunError

    with pytest.raises(RunError, match=rf"\b0\.avi: {os.strerror(errno.ENOSPC)}\b.*\bFree space\b"):
        make_all(_make_on_a_full_disk, _jobs(tmp_path, 5), tmp_path / "out", {}, 1, {})
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["prepare_data.json"]


def test_whatever_a_decoder_raises_is_listed(tmp_path):
    outcome = make_all(_make_nothing, _jobs(tmp_path, 2), tmp_path / "out", {}, 1, {})
    assert outcome.failures[str(tmp_path / "0.avi")] == f"{tmp_path / '0.avi'}: RuntimeError: decoder says no."


def test_one_at_a_time(tmp_path):
    (tmp_path / "out").mkdir()
    import fcntl

    with (tmp_path / "out" / "prepare_data.json").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=rf"{tmp_path / 'out'}: another prepare_data\b"):
            make_all(_make_nothing, _jobs(tmp_path, 2), tmp_path / "out", {}, 1, {})


def test_a_manifest_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prepare_data.json").write_text("[1")
    with pytest.raises(DataError, match=rf"{tmp_path / 'out' / 'prepare_data.json'}\b.*\bnew folder\b"):
        make_all(_make_nothing, _jobs(tmp_path, 2), tmp_path / "out", {}, 1, {})
    assert (tmp_path / "out" / "prepare_data.json").read_text() == "[1"


def _make_or_crash(source: Path, temporary: Path) -> int:
    if source.stem == "1":
        os.kill(os.getpid(), signal.SIGSEGV)
    temporary.touch()
    return 0


def test_a_decoder_that_crashes_costs_its_file_only(tmp_path):
    outcome = make_all(_make_or_crash, _jobs(tmp_path, 4), tmp_path / "out", {}, 2, {})
    assert outcome.num_made == 3 and list(outcome.failures) == [str(tmp_path / "1.avi")]
    assert re.search(r"\b1\.avi: .*\bSIGSEGV\b", outcome.failures[str(tmp_path / "1.avi")])


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory) -> Path:
    """Videos that take a moment each."""
    root = tmp_path_factory.mktemp("long")
    write_video(root / "0.mp4", 40, 240, 320)
    for number in range(1, 48):
        shutil.copy(root / "0.mp4", root / f"{number}.mp4")
    return root


@pytest.mark.parametrize(("what", "number"), [("resize", signal.SIGINT), ("extract-frames", signal.SIGKILL)])
def test_killed_half_way_leaves_whole_files_only_and_resumes(long_videos, tmp_path, what, number, capsys):
    out = tmp_path / "out"
    words = (what, long_videos, out, "--short-side", "200", "--workers", "2")
    process = subprocess.Popen(
        command(*words, tool="prepare_data"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # not as what nohup or a CI's shell starts
    )
    final = "*.mp4" if what == "resize" else "[0-9]*"
    deadline = time.monotonic() + 100
    while len(list(out.glob(final))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, number)
    output = process.communicate(timeout=60)[1]
    made = sorted(out.glob(final))
    assert 2 <= len(made) < 48
    if number == signal.SIGINT:
        assert process.returncode == 130 and "of 48 done" in output and "resumes from there" in output
        assert not (out / ".partial").exists()
    assert "Traceback" not in output
    for path in made:
        with open_video(path) as video:
            assert video.num_frames == 40
    time.sleep(0.5 if number == signal.SIGKILL else 0)  # its workers finish what they are at, and end
    assert prepare(*words) == 0
    assert "already there" in capsys.readouterr().out
    assert len(list(out.glob(final))) == 48 and not (out / ".partial").exists()
