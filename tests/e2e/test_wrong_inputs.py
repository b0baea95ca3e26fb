"""What users get wrong in the five commands that ask a trained network: each a sentence, an exit code, nothing lost."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from eval_networks import arguments, config, write_weights
from made_videos import write_video

from slowfast_gta.commands import run_command
from slowfast_gta.inference.network import EvalNetwork

OUTPUT = {
    "predict": ("--output", "answers.txt"),
    "extract_features": ("--output", "features"),
    "explain": ("--output", "pictures"),
    "annotate": ("--output", "annotated.mp4"),
    "export": ("--format", "torch", "--output", "network.pt2"),
}
WRITES_A_FILE = ("predict", "annotate", "export")
every_command = pytest.mark.parametrize("command", OUTPUT)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with weights of two networks, a video, and what looks like one."""
    folder = tmp_path_factory.mktemp("made")
    write_weights(config("gta"), folder / "w.pyth")
    write_weights(config("r2d"), folder / "other.pyth")
    write_video(folder / "a.mp4", 24, fps=12)
    (folder / "zero.mp4").touch()
    (folder / "empty").mkdir()
    write_sound(folder / "sound.mp4")
    return folder


def write_sound(path: Path) -> None:
    """A second of silence, without pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode()])


@pytest.fixture
def call(made, tmp_path, monkeypatch, capsys):
    """call(command, video, words, ...) in an empty folder of its own -> (exit code, stderr)."""
    for path in made.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))

    def run(command: str, video: str, *words: str, cfg: list[str] | None = None) -> tuple[int, str]:
        source = ["--check", video] if command == "export" else [video]
        given = [*(cfg or arguments("gta")), *(() if "--weights" in words else ("--weights", "w.pyth"))]
        code = run_command(command, [*given, *(() if "--output" in words else OUTPUT[command]), *words, *source])
        err = capsys.readouterr().err
        assert "Traceback" not in err
        return code, err

    return run


@pytest.mark.slow
@every_command
@pytest.mark.parametrize("video", ["gone.mp4", "zero.mp4", "sound.mp4", "empty"])
def test_what_is_no_video(call, command, video):
    code, err = call(command, video)
    assert code == 1 and "error: " in err and video in err
    assert not any(Path(OUTPUT[name][-1]).exists() for name in ("annotate", "export", "explain"))


@pytest.mark.slow
@every_command
def test_weights_that_are_another_network_s(call, command):
    code, err = call(command, "a.mp4", "--weights", "other.pyth")
    assert code == 1 and "other.pyth" in err and not Path(OUTPUT[command][-1]).exists()


@every_command
def test_a_folder_that_is_no_run(call, command):
    code, err = call(command, "a.mp4", cfg=["--cfg", "empty"])
    assert code == 2 and "config.yaml" in err


@every_command
def test_a_strangers_folder_runs_no_code_of_theirs(call, command, tmp_path):
    """Also where it lacks what a training leaves, so that the config alone looks like anybody's."""
    run = tmp_path / "stranger"
    run.mkdir()
    (run / f"plugin_{command}.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('imported').touch()\n"
    )
    text = config("gta").dump().replace("PLUGINS: []", f"PLUGINS: [./plugin_{command}.py]")
    (run / "config.yaml").write_text(text)
    code, err = call(command, "a.mp4", cfg=["--cfg", "stranger"])
    assert code == 2 and "--trust-plugins" in err and not (run / "imported").exists()
    code, err = call(command, "gone.mp4", "--trust-plugins", cfg=["--cfg", "stranger"])
    assert code == 1 and "gone.mp4" in err and (run / "imported").exists()


@pytest.mark.slow
@every_command
def test_where_nothing_can_be_written(call, command):
    """Root may write everywhere but below a file."""
    name = "w.pyth/" + ("x.mp4" if command == "annotate" else "x")
    words = ("--format", "torch") if command == "export" else ()
    code, err = call(command, "a.mp4", *words, "--output", name)
    assert code == 1 and "error: " in err and "w.pyth" in err and Path("w.pyth").is_file()


@pytest.mark.parametrize("command", WRITES_A_FILE)
@pytest.mark.parametrize("output", ["a.mp4", "w.pyth"])
def test_what_is_read_is_not_written_over(call, command, output):
    before = Path(output).read_bytes()
    words = ("--format", "torch") if command == "export" else ()
    code, err = call(command, "a.mp4", *words, "--output", output)
    assert code == 2 and "error: " in err and Path(output).read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("command", WRITES_A_FILE)
def test_a_folder_that_is_not_there_is_made(call, command):
    name = f"new/deep/{OUTPUT[command][-1]}"
    words = ("--format", "torch") if command == "export" else ()
    assert call(command, "a.mp4", *words, "--output", name)[0] == 0 and Path(name).stat().st_size


@pytest.mark.parametrize("command", ["predict", "extract_features"])
def test_ctrl_c_leaves_no_half_files(call, command, monkeypatch):
    """It comes while the network answers for the second time; videos are read ahead by threads meanwhile."""
    answered = EvalNetwork.__call__
    calls = []

    def interrupted(self, *given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answered(self, *given)

    monkeypatch.setattr(EvalNetwork, "__call__", interrupted)
    words = ("--windows",) if command == "predict" else ()
    code, _ = call(command, "a.mp4", *words, "--window", "4", "--batch-size", "1")
    assert code == 130 and len(calls) == 2
    left = [path for path in Path("features").rglob("*") if path.suffix == ".npz"]
    assert not left and not Path("answers.txt").exists() and not list(Path().rglob("*.tmp"))
