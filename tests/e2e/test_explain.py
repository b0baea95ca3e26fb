"""tools/explain.py: pictures, numbers, and what cannot be asked for."""

import json

import numpy as np
import pytest
from eval_networks import arguments, config, write_weights
from made_videos import write_frames, write_video

from slowfast_gta.commands import run_command


@pytest.fixture
def explain(tmp_path, capsys):
    """explain(name of the network, words ...) -> (exit code, stdout, stderr), into tmp_path / "out"."""

    def call(name: str, *words: object) -> tuple[int, str, str]:
        weights = write_weights(config(name), tmp_path / f"{name}.pyth")
        line = [*arguments(name), "--weights", str(weights), "--output", str(tmp_path / "out"), *map(str, words)]
        code = run_command("explain", line)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def test_pictures_and_their_numbers(explain, tmp_path):
    video = write_video(tmp_path / "a.mp4", 24, fps=12)
    words = ("--query", "12,20,3", "--block", "s4.0", "--class", "class 1", "2", "--video", "--json")
    code, out, _ = explain("gta", *words, "--", video)
    assert code == 0
    document = json.loads(out)
    names = {picture["files"][0].rpartition("/")[2] for picture in document["pictures"]}
    assert {"s4.0_spatial.png", "s4.0_regions.png", "s4.0_pixel_heads.png", "gradcam_1.png", "gradcam_2.png"} <= names
    assert not [name for name in names if name.startswith("s3.")] and document["not_drawn"]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert names < written and {"s4.0_spatial.mp4", "gradcam_1.mp4", "maps.npz"} <= written
    with np.load(document["maps"], allow_pickle=False) as stored:
        for picture in document["pictures"]:
            name = picture["files"][0].rpartition("/")[2].removesuffix(".png")
            assert list(stored[name].shape) == picture["shape"]
    point = next(picture for picture in document["pictures"] if picture["kind"] == "spatial")
    assert point["query"] == [12, 20, 3] and len(document["frames"]) == 4 and len(document["top5_backwards"]) == 3


def test_the_folder_of_a_run_and_a_network_without_blocks(trained, tmp_path, capsys):
    frames = write_frames(tmp_path / "frames", 9)
    line = ["--cfg", str(trained), str(frames), "--output", str(tmp_path / "out"), "--format", "svg"]
    assert run_command("explain", line) == 0
    out = capsys.readouterr().out
    (picture,) = (tmp_path / "out").glob("*.svg")
    assert str(picture) in out and "forwards" in out and "no attention block" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--query", "32,0,0"), "--query"),
        (("--query", "here"), "--query"),
        (("--block", "s9.1"), "s4.0"),
        (("--class", "no such class"), "--class"),
        (("--layer", "s9"), "s9"),
        (("--at", "100"), "--at"),
        (("--at", "-1"), "--at"),
        (("--initial", "gone.pyth"), "gone.pyth"),
        (("--weights", "gone.pyth"), "gone.pyth"),
        (("second.mp4",), "one VIDEO"),
    ],
)
def test_wrong_words(explain, tmp_path, words, message):
    code, out, err = explain("gta", write_video(tmp_path / "a.mp4", 12), *words)
    assert code in (1, 2) and not out and "error: " in err and message in err
    assert not (tmp_path / "out").exists()


def test_what_is_no_video_and_no_weights(explain, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    assert explain("gta", tmp_path / "text.mp4")[0] == 1 and explain("gta", tmp_path / "gone.mp4")[0] == 1
    line = [*arguments("gta", "OUTPUT_DIR", tmp_path / "run"), "--output", str(tmp_path / "out"), "a.mp4"]
    assert run_command("explain", line) == 1 and "--weights" in capsys.readouterr().err
    assert explain("r2d", "--block", "s4.0", "--", write_video(tmp_path / "a.mp4", 12))[0] == 2
