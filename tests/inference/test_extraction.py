"""A folder of features: what is in the files, and that they are the same however the work was shared or cut off."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from drawn_videos import write_drawn, write_long
from eval_networks import arguments, config, write_weights
from made_videos import write_frames, write_video
from memory_use import peak_mib_of
from miniatures import command

from slowfast_gta import build_model, load_weights
from slowfast_gta.commands import run_command
from slowfast_gta.inference.feature_files import load_features
from slowfast_gta.inference.features import build_feature_extractor
from slowfast_gta.inference.network import build_eval_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(config("r2d"), tmp_path_factory.mktemp("weights") / "w.pyth")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Videos of several lengths and kinds, in folders; one is none."""
    folder = tmp_path_factory.mktemp("videos")
    for number, length in enumerate((40, 9, 70)):
        write_video(folder / f"v{number}.mp4", length, fps=10)
    (folder / "more").mkdir()
    write_video(folder / "more" / "v0.avi", 33, fps=10)
    write_frames(folder / "frames", 21)
    (folder / "broken.mp4").write_text("This is no video.\n")
    return folder


def extract(weights: Path, videos, output: Path, *words: object, name: str = "r2d", code: int = 1, pairs=()) -> Path:
    sources = videos if isinstance(videos, list) else [videos]
    line = [*arguments(name, *pairs), "--weights", weights, "--output", output, *words, *sources]
    assert run_command("extract_features", [str(word) for word in line]) == code
    return output


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def manifest(folder: Path, name: str = "manifest.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


WINDOWS = ("--window", 16, "--stride", 8)


@pytest.fixture(scope="module")
def whole(weights, videos, tmp_path_factory) -> Path:
    return extract(weights, videos, tmp_path_factory.mktemp("whole") / "out", *WINDOWS)


def test_what_is_in_a_file_and_in_the_manifest(whole, weights, videos):
    entries = manifest(whole)
    names = [entry["video"] for entry in entries]
    assert names == sorted(names) == ["frames", "more/v0", "v0", "v1", "v2"]
    cfg = config("r2d")
    network = build_eval_network(cfg, weights)
    model = build_model(cfg)
    load_weights(model, weights)
    model.eval()
    for entry in entries:
        with np.load(whole / entry["file"], allow_pickle=False) as stored:
            rows, times, frames = stored["features"], stored["times"], stored["frames"]
            meta = json.loads(str(stored["meta"]))
        assert rows.shape == (entry["num_rows"], 256) and times.shape == (len(rows), 2)
        assert frames.shape == (len(rows), 4) and rows.dtype == np.float32
        assert meta["class_names"] == network.class_names and meta["weights"] == network.weights_digest
        assert (meta["layer"], meta["pool"], meta["window"], meta["stride"]) == ("s5", "avg", "16", "8")
        rate = 30 if entry["video"] == "frames" else 10  # a folder does not say it: TARGET_FPS
        assert times[:, 0] == pytest.approx(np.arange(len(rows)) * 8 / rate)
        assert times[-1, 1] == pytest.approx(entry["duration_sec"])
    failed = manifest(whole, "failed.jsonl")
    assert [entry["video"] for entry in failed] == ["broken"] and "broken.mp4" in failed[0]["error"]


def test_rows_are_the_unfolded_networks_features_of_these_frames(whole, weights, videos):
    import torch

    from slowfast_gta.loading.transforms import TestTransform, to_clips
    from slowfast_gta.video.readers import read_frames

    cfg = config("r2d")
    network = build_eval_network(cfg, weights)
    model = build_model(cfg)
    load_weights(model, weights)
    model.eval()
    arrays, _ = load_features(whole / "v2.npz")
    for row, frames in zip(arrays["features"], arrays["frames"], strict=True):
        (crop,) = TestTransform.from_cfg(cfg, 1)(read_frames(videos / "v2.mp4", frames.tolist()))
        with torch.no_grad():
            (features,) = model.features(network.normalize(to_clips(np.ascontiguousarray(crop[None]))))
        expected = features.mean((2, 3, 4))[0].numpy()
        assert np.abs(row - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_same_files_over_shards_readers_and_orders(whole, weights, videos, tmp_path):
    for shard in (2, 0, 1):
        extract(weights, videos, tmp_path, *WINDOWS, "--num_shards", 3, "--shard_id", shard, code=int(shard == 0))
    assert digests(tmp_path) == digests(whole)
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{videos / name} 3\n" for name in ("v2.mp4", "v0.mp4")))
    alone = extract(weights, listed, tmp_path / "b", *WINDOWS, code=0, pairs=("DATA_LOADER.NUM_WORKERS", 3))
    for name in ("v0.npz", "v2.npz"):
        assert (alone / name).read_bytes() == (whole / name).read_bytes() or _same_arrays(alone / name, whole / name)


def _same_arrays(first: Path, second: Path) -> bool:
    """What the files hold of the video: their paths in the records may be written differently."""
    (ours, _), (theirs, _) = load_features(first), load_features(second)
    return all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_torchrun_and_srun_share_the_videos(whole, weights, videos, tmp_path, monkeypatch):
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "LOCAL_WORLD_SIZE": "2"}
    for rank in ("0", "1"):
        for name, value in {**common, "RANK": rank, "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, value)
        extract(weights, videos, tmp_path, *WINDOWS, code=int(rank == "0"))
        assert len(manifest(tmp_path)) == (2 if rank == "0" else 5)
    assert digests(tmp_path) == digests(whole)


def test_what_is_done_is_not_done_again_and_what_changed_is(weights, tmp_path, capsys):
    source = write_video(tmp_path / "a.mp4", 40, fps=10)
    out = tmp_path / "out"
    extract(weights, source, out, *WINDOWS, code=0)
    before = (out / "a.npz").stat().st_mtime_ns
    capsys.readouterr()
    extract(weights, source, out, *WINDOWS, "--json", code=0)
    results = json.loads(capsys.readouterr().out)
    assert (results["num_there"], results["num_done"]) == (1, 0) and (out / "a.npz").stat().st_mtime_ns == before
    write_video(source, 60, fps=10)
    extract(weights, source, out, *WINDOWS, "--json", code=0)
    results = json.loads(capsys.readouterr().out)
    assert results["num_done"] == 1 and results["num_windows"] == 7 and manifest(out)[0]["num_rows"] == 7
    for key in ("videos_per_hour", "windows_per_hour", "video_hours_per_hour"):
        assert results[key] > 0


@pytest.mark.parametrize("kind", ["npz", "npy", "safetensors", "h5"])
def test_formats_hold_the_same(whole, weights, videos, tmp_path, kind):
    if kind == "h5":
        pytest.importorskip("h5py", reason="h5py is not installed")
    extract(weights, videos / "v0.mp4", tmp_path, *WINDOWS, "--format", kind, code=0)
    arrays, meta = load_features(tmp_path / f"v0.{kind}")
    expected, _ = load_features(whole / "v0.npz")
    assert np.array_equal(arrays["features"], expected["features"])
    if kind == "npy":
        (entry,) = manifest(tmp_path)
        assert np.array_equal(entry["times"], expected["times"]) and np.array_equal(entry["frames"], expected["frames"])
    else:
        assert np.array_equal(arrays["times"], expected["times"]) and meta["format"] == kind


def test_float16_and_views(whole, weights, videos, tmp_path):
    expected, _ = load_features(whole / "v0.npz")
    half = extract(weights, videos / "v0.mp4", tmp_path / "half", *WINDOWS, "--dtype", "float16", code=0)
    arrays, _ = load_features(half / "v0.npz")
    assert np.array_equal(arrays["features"], expected["features"].astype(np.float16))
    words = (*WINDOWS, "--crops", "10", "--keep-views")
    ten = extract(weights, videos / "v0.mp4", tmp_path / "ten", *words, code=0)
    arrays, _ = load_features(ten / "v0.npz")
    assert arrays["features"].shape == (4, 10, 256)
    assert np.array_equal(arrays["features"][:, 4], expected["features"]), "the fifth is the centre"
    mirrored = extract(weights, videos / "v0.mp4", tmp_path / "mirror", *WINDOWS, "--mirror", code=0)
    both = (arrays["features"][:, 4] + arrays["features"][:, 9]) / 2
    np.testing.assert_allclose(load_features(mirrored / "v0.npz")[0]["features"], both, rtol=1e-6, atol=1e-7)


def test_the_i3d_preset(tmp_path):
    cfg = config("i3d")
    weights = write_weights(cfg, tmp_path / "w.pyth")
    video = write_video(tmp_path / "a.mp4", 70, fps=50)
    out = extract(weights, video, tmp_path / "out", "--preset", "i3d", name="i3d", code=0)
    arrays, meta = load_features(out / "a.npz")
    assert (meta["window"], meta["stride"], meta["fps"], meta["tail"]) == ("16", "16", 25.0, "drop")
    assert arrays["features"].shape == (2, 256) and arrays["frames"].shape == (2, 8)
    assert arrays["times"].tolist() == pytest.approx(np.array([[0, 0.64], [0.64, 1.28]]))
    assert manifest(out)[0]["counts"] == {"num_left_out": 3}  # 35 moments, 32 of them in windows


def test_a_row_for_each_frame_two_a_second(weights, videos, tmp_path):
    """What summaries are made of, as files and as a call."""
    out = extract(weights, videos / "v2.mp4", tmp_path, "--pool", "space", code=0)
    arrays, _ = load_features(out / "v2.npz")
    assert arrays["frames"][:, 0].tolist() == list(range(0, 70, 5)) and arrays["frames"].shape == (14, 1)
    assert arrays["times"][:, 0] == pytest.approx(np.arange(14) / 2)
    assert arrays["times"][:-1, 1] == pytest.approx(arrays["times"][1:, 0]) and arrays["times"][-1, 1] == 7.0
    extractor = build_feature_extractor(config("r2d"), weights, pool="space")
    features = extractor(videos / "v2.mp4")
    assert np.array_equal(features.rows, arrays["features"]) and np.array_equal(features.times, arrays["times"])
    # R2D sees every frame by itself: the mean over the frames of a window is the window's row.
    rows = build_feature_extractor(config("r2d"), weights, fps=2.0)(videos / "v2.mp4").rows
    np.testing.assert_allclose(features.rows[:12].reshape(3, 4, -1).mean(1), rows[:3], rtol=1e-5, atol=1e-6)


def test_killed_and_called_again(whole, weights, videos, tmp_path):
    kill_and_go_on(whole, weights, videos, tmp_path, num_kills=2)


def test_what_a_killed_process_left_of_a_file_is_removed(whole, weights, videos, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    (output / "v2.npz.9743.tmp").write_bytes(b"half of it")
    (output / "more" / "v0.npz.12.tmp").write_bytes(b"")
    (output / "v9.npz.12.tmp").write_bytes(b"of a video that another process is at")
    extract(weights, videos, output, *WINDOWS)
    assert [path.name for path in output.rglob("*.tmp")] == ["v9.npz.12.tmp"]
    (output / "v9.npz.12.tmp").unlink()
    assert digests(output) == digests(whole)


@pytest.mark.slow
def test_killed_twenty_times_and_called_again(whole, weights, videos, tmp_path):
    kill_and_go_on(whole, weights, videos, tmp_path, num_kills=20)


def kill_and_go_on(whole: Path, weights: Path, videos: Path, output: Path, num_kills: int) -> None:
    words = ("--weights", weights, "--output", output, *WINDOWS, videos)
    line = command(*arguments("r2d"), *words, tool="extract_features")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    draw = random.Random(0)
    for _ in range(num_kills):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + 120
        num_before = len(list(output.rglob("*")))
        while process.poll() is None and time.monotonic() < deadline and len(list(output.rglob("*"))) == num_before:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    extract(weights, videos, output, *WINDOWS)
    assert digests(output) == digests(whole)


@pytest.mark.slow
def test_memory_stays_flat_over_an_hour(tmp_path):
    """A window every 4 s of a minute and of an hour of the same film: the hour takes no more than its rows."""
    cfg_words = ("--window", 16, "--stride", 100)
    weights = write_weights(config("r2d"), tmp_path / "w.pyth")
    short = write_drawn(tmp_path / "minute.mp4", 1500, "libx264", {"preset": "ultrafast", "g": "50", "bf": "0"})
    peaks = {}
    for name, repeats in (("minute", 1), ("hour", 60)):
        video = write_long(short, tmp_path / f"{name}_long.mp4", repeats)
        peaks[name] = peak_mib(weights, video, tmp_path / name, *cfg_words)
        video.unlink()
    rows = manifest(tmp_path / "hour")[0]["num_rows"]
    assert rows >= 890 and peaks["hour"] < peaks["minute"] + 60, peaks


@pytest.mark.slow
def test_a_file_of_1500_megabytes(tmp_path):
    """Bytes that decoders pass over, in the packets of a short film: larger than what may be in memory at once."""
    weights = write_weights(config("r2d"), tmp_path / "w.pyth")
    short = write_drawn(tmp_path / "short.mp4", 250, "libx264", {"preset": "ultrafast", "g": "50", "bf": "0"})
    small = peak_mib(weights, short, tmp_path / "small", "--window", 16, "--stride", 100)
    video = write_long(short, tmp_path / "large.mp4", 4, filler_bytes=1_500_000)
    try:
        assert video.stat().st_size > 1_490_000_000
        large = peak_mib(weights, video, tmp_path / "large", "--window", 16, "--stride", 100)
    finally:
        video.unlink()
    assert manifest(tmp_path / "large")[0]["num_rows"] >= 10 and large < small + 200, (small, large)


def peak_mib(weights: Path, video: Path, output: Path, *words: object) -> float:
    """The most memory that the command has had, in a process of its own."""
    words = (*arguments("r2d"), "--weights", weights, "--output", output, *words, video)
    return peak_mib_of(command(*words, tool="extract_features"))


# ---------------------------------------------------------------------------------------------------------- refusals


def test_another_network_or_window_needs_another_folder(whole, weights, videos, tmp_path, capsys):
    before = digests(whole)
    other = write_weights(config("r2d"), tmp_path / "other.pyth", seed=1)
    extract(weights, videos, whole, "--window", 8, code=2)
    extract(other, videos, whole, *WINDOWS, code=2)
    assert digests(whole) == before and "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("--window", "x"),
        ("--stride", 4),
        ("--fps", -1),
        ("--layer", "s9"),
        ("--layer", "head", "--pool", "spatial"),
        ("--pool", "space", "--window", 16),
        ("--pool", "spatial", "--window", 8, "--stride", 4),
        ("--crops", 10, "--mirror"),
        ("--num_shards", 2, "--shard_id", 2),
        ("--batch-size", 0),
    ],
)
def test_wrong_words_are_refused(weights, videos, tmp_path, capsys, words):
    extract(weights, videos / "v1.mp4", tmp_path / "out", *words, code=2)
    message = capsys.readouterr().err
    assert "error: " in message and "Traceback" not in message and not (tmp_path / "out" / "manifest.jsonl").exists()


def test_wrong_sources_are_refused(weights, videos, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    extract(weights, empty, tmp_path / "out")
    (tmp_path / "list.txt").write_text("\n")
    extract(weights, tmp_path / "list.txt", tmp_path / "out")
    same = [videos / "v0.mp4", videos / "more" / "v0.avi"]
    extract(weights, same, tmp_path / "out", "--window", 16, code=0)
    assert [entry["video"] for entry in manifest(tmp_path / "out")] == ["v0.avi", "v0.mp4"], "told apart by suffix"
    clash = write_video(tmp_path / "v0.mp4", 9)
    extract(weights, [videos / "v0.mp4", clash], tmp_path / "other", code=2)
    extract(tmp_path / "none.pyth", videos, tmp_path / "out")
    (tmp_path / "file").touch()
    extract(weights, videos / "v0.mp4", tmp_path / "file" / "out", "--window", 16)
    assert "Traceback" not in capsys.readouterr().err


def test_space_pooling_needs_a_network_that_keeps_every_frame(tmp_path):
    cfg = config("slowfast")
    weights = write_weights(cfg, tmp_path / "w.pyth")
    video = write_video(tmp_path / "a.mp4", 40, fps=10)
    extract(weights, video, tmp_path / "out", "--pool", "space", name="slowfast", code=2)
    words = ("--pool", "spatial", "--fps", 10, "--window", 16)
    out = extract(weights, video, tmp_path / "s", *words, name="slowfast", code=0)
    arrays, _ = load_features(out / "a.npz")
    assert arrays["frames"].shape[1] == 4 and len(arrays["features"]) == 10, "4 steps a window; 40 frames are 2.5"
