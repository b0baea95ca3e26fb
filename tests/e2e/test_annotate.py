"""tools/annotate.py: files, pipes, sockets, sound, Ctrl-C, and what cannot be asked for."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import av
import pytest
from drawn_videos import write_drawn, write_long
from eval_networks import arguments, config, write_weights
from made_videos import write_frames, write_video
from memory_use import peak_mib_of
from miniatures import ROOT, command
from videos_with_sound import frames_of, tones_of, write_with_sound

from slowfast_gta.commands import run_command

CLIPS = ROOT.parent / "shared" / "clips"
VIDEOS = sorted(path for path in CLIPS.rglob("*.*") if path.suffix in (".mp4", ".avi"))


@pytest.fixture
def line(tmp_path):
    """The command line of a small network."""
    return [*arguments("gta"), "--weights", str(write_weights(config("gta"), tmp_path / "w.pyth"))]


@pytest.fixture
def annotate(line, capsys):
    def call(*words: object) -> tuple[int, str, str]:
        code = run_command("annotate", [*line, *map(str, words)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def test_a_file_with_sound(annotate, tmp_path):
    source = write_with_sound(tmp_path / "a.mp4", 40, 10, [0.5, 2.0, 3.2])
    out = tmp_path / "b.mp4"
    code, printed, _ = annotate(source, "--output", out, "--overlay", "gradcam", "--json")
    assert code == 0
    document = json.loads(printed)
    assert (document["num_frames"], document["size"], document["sound"]) == (40, [48, 64], "aac, copied")
    assert document["num_answers"] == 8 and len(document["top5_at_end"]) == 3 and document["counts"] == {}
    assert [time for time, _ in frames_of(out)] == pytest.approx([time for time, _ in frames_of(source)], abs=2e-3)
    assert tones_of(out) == pytest.approx([0.5, 2.0, 3.2], abs=0.03)
    before, after = frames_of(source)[30][1], frames_of(out)[30][1]
    assert abs(before[34:].mean() - after[34:].mean()) > 10, "the panel"


def test_frames_of_a_folder(annotate, tmp_path):
    code, printed, _ = annotate(write_frames(tmp_path / "frames", 30), "--output", tmp_path / "b.mkv")
    assert code == 0 and "30 frames of 64 x 48" in printed and len(frames_of(tmp_path / "b.mkv")) == 30


def test_a_looped_file_through_a_pipe(line, tmp_path):
    """The source counts anew at each turn: picture and sound go on side by side."""
    source = write_with_sound(tmp_path / "a.ts", 30, 10, [0.5, 2.0], "mp2")
    out = tmp_path / "b.mp4"
    words = command(*line, "-", "--output", out, "--window", "1s", "--json", tool="annotate")
    content = source.read_bytes() * 3
    result = subprocess.run(words, input=content, capture_output=True, timeout=170)
    assert result.returncode == 0, result.stderr.decode()
    document = json.loads(result.stdout)
    assert document["num_frames"] >= 86 and document["sound"].endswith("as AAC")
    times = [time for time, _ in frames_of(out)]
    assert times == sorted(times) and times[-1] == pytest.approx(8.9, abs=0.5)
    tones = tones_of(out)
    assert tones[:2] == pytest.approx([0.5, 2.0], abs=0.05) and len(tones) >= 5
    third = tones[-2:]
    assert third == pytest.approx([times[-1] - 2.4, times[-1] - 0.9], abs=0.3)


def test_mpeg_ts_over_loopback(annotate, tmp_path):
    source = write_with_sound(tmp_path / "a.ts", 30, 10, [1.0], "mp2")
    server = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(source.read_bytes())

    sender = threading.Thread(target=send)
    sender.start()
    address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    code, printed, _ = annotate(address, "--output", tmp_path / "b.mp4", "--window", "1s", "--json")
    sender.join()
    server.close()
    assert code == 0 and json.loads(printed)["num_frames"] >= 28
    assert tones_of(tmp_path / "b.mp4") == pytest.approx([1.0], abs=0.15)


def test_ctrl_c_leaves_a_video_that_plays(line, tmp_path):
    """The source has not ended: what has come of it by then is in the file."""
    source = write_with_sound(tmp_path / "a.ts", 60, 10, [0.5], "mp2").read_bytes()
    out = tmp_path / "b.mp4"
    words = command(*line, "-", "--output", out, "--window", "1s", "--json", tool="annotate")
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a shell's background job has none
    )
    process.stdin.write(source)
    process.stdin.flush()  # and it stays open: the source goes on
    part = out.with_name(f"{out.name}.tmp")
    while not part.exists() or part.stat().st_size < 1000:  # frames are being written
        assert process.poll() is None, process.stderr.read()
        threading.Event().wait(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=170)  # not communicate, which would end the source
    printed, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130 and b"Traceback" not in err, err
    assert not part.exists() and len(frames_of(out)) == json.loads(printed)["num_frames"] > 0


def test_watching(line, tmp_path):
    """A player that stands in PATH is given a video that it can read."""
    folder = tmp_path / "bin"
    folder.mkdir()
    player = folder / "ffplay"
    player.write_text(f"#!/bin/sh\ncat > {tmp_path / 'got.mkv'}\n")
    player.chmod(0o755)
    video = write_video(tmp_path / "a.mp4", 20, fps=10)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    words = command(*line, video, "--show", "--window", "1s", tool="annotate")
    result = subprocess.run(words, capture_output=True, text=True, timeout=170, env=environment)
    assert result.returncode == 0, result.stderr
    assert len(frames_of(tmp_path / "got.mkv")) == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--output"),
        (("--output", "b.webm"), ".mp4"),
        (("--output", "b.mp4", "--overlay", "heat"), "--overlay"),
        (("--output", "b.mp4", "--topk", "9"), "--topk"),
        (("--output", "b.mp4", "--window", "x"), "window"),
        (("--output", "b.mp4", "--max-latency", "-1"), "--max-latency"),
        (("--output", "b.mp4", "--weights", "gone.pyth"), "gone.pyth"),
        (("--output", "b.mp4", "second.mp4"), "one IN"),
    ],
)
def test_wrong_words(annotate, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = annotate(write_video(tmp_path / "a.mp4", 6), *words)
    assert code in (1, 2) and not out and "error: " in err and message in err
    assert not list(tmp_path.glob("b.*"))


def test_attention_on_the_picture_and_networks_that_have_none(annotate, tmp_path, capsys):
    source, out = write_video(tmp_path / "a.mp4", 20, fps=10), tmp_path / "b.mp4"
    code, printed, _ = annotate(source, "--output", out, "--overlay", "attention", "--window", "1s", "--json")
    assert code == 0 and "GTA" in json.loads(printed)["overlay"] and len(frames_of(out)) == 20
    weights = write_weights(config("r2d"), tmp_path / "r2d.pyth")
    words = ["--weights", weights, source, "--output", tmp_path / "c.mp4", "--overlay", "attention"]
    assert run_command("annotate", [*arguments("r2d"), *map(str, words)]) == 2
    assert "no attention block" in capsys.readouterr().err and not (tmp_path / "c.mp4").exists()


def test_what_is_no_video_and_the_video_itself(annotate, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    assert annotate(tmp_path / "text.mp4", "--output", tmp_path / "b.mp4")[0] == 1
    assert annotate("tcp://127.0.0.1:1", "--output", tmp_path / "b.mp4")[0] == 1
    video = write_video(tmp_path / "a.mp4", 6)
    before = video.read_bytes()
    assert annotate(video, "--output", video)[0] == 2 and video.read_bytes() == before
    assert not (tmp_path / "b.mp4").exists() and not list(tmp_path.glob("*.tmp"))


@pytest.mark.slow
def test_memory_stays_flat_along_a_video(line, tmp_path):
    """Of one minute and of twelve of the same film: what is kept is a window and 20 seconds of scores."""
    minute = write_drawn(tmp_path / "minute.mp4", 300, "libx264", {"preset": "ultrafast", "g": "25", "bf": "0"}, fps=5)
    peaks = []
    for repeats in (1, 12):
        video = write_long(minute, tmp_path / f"{repeats}.mp4", repeats)
        words = ("--output", tmp_path / "out.mp4", "--window", "2s", "--stride", "5s", "--overlay", "attention")
        peaks.append(peak_mib_of(command(*line, video, *words, tool="annotate")))
        assert len(times_of(tmp_path / "out.mp4")) == 300 * repeats
    assert peaks[1] < 1.02 * peaks[0], peaks


def times_of(path) -> list[float]:
    with av.open(str(path)) as container:
        return [packet.pts * float(packet.time_base) for packet in container.demux(video=0) if packet.size]


@pytest.mark.slow
@pytest.mark.skipif(not VIDEOS, reason=f"{CLIPS} is not here")
@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.name)
def test_every_clip(annotate, tmp_path, path):
    shutil.copy(path, tmp_path / path.name)
    code, printed, err = annotate(
        tmp_path / path.name, "--output", tmp_path / "out.mp4", "--overlay", "gradcam", "--json"
    )
    assert code == 0, err
    document = json.loads(printed)
    assert len(frames_of(tmp_path / "out.mp4")) == document["num_frames"] > 40 and document["num_answers"] > 2
