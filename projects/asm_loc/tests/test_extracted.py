"""Features of one's own videos, as tools/extract_features.py leaves them: through the command itself, in all of its
formats, and sentences for what does not belong together or is damaged."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from asm_loc.config import EXTENSION, DataFiles
from asm_loc.features import ExtractedFeatures, same_origin, timed_features
from asm_loc.timeline import Timeline
from eval_networks import arguments, config, write_weights
from made_videos import write_video

from slowfast_gta.commands import run_command
from slowfast_gta.config.load import load_config
from slowfast_gta.errors import DataError, UserError
from slowfast_gta.inference.feature_files import FORMATS, save_features

CFG = Path(__file__).resolve().parents[1] / "configs" / "World.yaml"
LENGTHS = {"a": 40, "b": 9, "sub/c": 70}  # frames, at 10 a second
WINDOWS = ("--window", "8", "--stride", "4")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "sub").mkdir()
    for name, length in LENGTHS.items():
        write_video(folder / f"{name}.mp4", length, fps=10)
    (folder / "empty.mp4").write_bytes(b"")  # without length
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return [write_weights(config("r2d"), folder / f"{seed}.pyth", seed) for seed in (0, 1)]


def extract(weights, videos, output, *words):
    """The exit code is 1: one of the videos has no length."""
    line = [*arguments("r2d"), "--weights", weights, "--output", output, *words, videos]
    assert run_command("extract_features", [str(word) for word in line]) == 1
    return output


@pytest.fixture(scope="module")
def folder(weights, videos, tmp_path_factory):
    return extract(weights[0], videos, tmp_path_factory.mktemp("npz") / "out", *WINDOWS)


def records(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def write_manifest(folder, entries):
    (folder / "manifest.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))


def test_every_row_has_its_time(folder):
    source = ExtractedFeatures(folder)
    assert source.videos() == sorted(LENGTHS)
    for name, length in LENGTHS.items():
        features = source.load(name)
        with np.load(folder / f"{name}.npz") as stored:
            assert np.array_equal(features.rows, stored["features"])
            centres = stored["times"].mean(1)
        # Windows of 0.8 s, one every 0.4 s; a row stands for the times that are nearest to its window's centre.
        edges = features.timeline.edges
        np.testing.assert_allclose(edges[1:-1], (centres[1:] + centres[:-1]) / 2, atol=1e-12)
        assert np.all((edges[:-1] < centres) & (centres < edges[1:]))
        assert edges[-1] == pytest.approx(length / 10, abs=0.4)
    made_by = source.describe()
    assert (made_by["layer"], made_by["window"], made_by["stride"]) == ("s5", "8", "4")
    assert len(made_by["weights"]) == 64


@pytest.mark.parametrize("form", FORMATS)
def test_all_formats_and_shards_give_the_same(folder, form, weights, videos, tmp_path):
    if form == "h5" and importlib.util.find_spec("h5py") is None:
        pytest.skip("h5py is not installed")
    for shard in range(2):
        words = ("--format", form, "--num_shards", 2, "--shard_id", shard)
        line = [*arguments("r2d"), "--weights", weights[0], "--output", tmp_path / "out", *WINDOWS, *words, videos]
        run_command("extract_features", [str(word) for word in line])
    one, other = ExtractedFeatures(folder), ExtractedFeatures(tmp_path / "out")
    assert one.describe() == other.describe()
    for name in LENGTHS:
        a, b = one.load(name), other.load(name)
        assert np.array_equal(a.rows, b.rows)
        assert np.array_equal(a.timeline.edges, b.timeline.edges)


def data_files(train, test, tmp_path, labels="a.mp4,Run\n", test_labels="sub/c,Run,0,1\n"):
    (tmp_path / "train.csv").write_text("video,label\n" + labels)
    (tmp_path / "test.csv").write_text("video,label,start,end\n" + test_labels)
    keys = {"FORMAT": "extracted", "FEATURES": train, "TEST_FEATURES": test}
    keys |= {"ANNOTATIONS": tmp_path / "train.csv", "TEST_ANNOTATIONS": tmp_path / "test.csv"}
    pairs = [str(item) for key, value in keys.items() for item in (f"ASM_LOC.{key}", value)]
    return DataFiles.from_cfg(load_config(CFG, pairs, EXTENSION))


def test_a_csv_names_videos_with_or_without_suffix(folder, tmp_path):
    sets = data_files(folder, "", tmp_path, "a.mp4,Run\nb,Jump\nempty.mp4,Run\n").load()
    assert [a.video for a in sets["train"].videos] == ["a", "b"]
    assert [a.video for a in sets["test"].videos] == ["sub/c"]
    # The video without length has no features: counted and said, in training too.
    assert sets["train"].counts()["num_videos_without_features"] == 1
    assert "empty" in sets["train"].summary()


def test_labels_unknown_to_training(folder, tmp_path):
    with pytest.raises(DataError, match=r"sub/c.*Swim"):
        data_files(folder, "", tmp_path, test_labels="sub/c,Swim,0,1\n").load()


def test_no_video_has_features(folder, tmp_path):
    with pytest.raises(DataError, match=r"other"):
        data_files(folder, "", tmp_path, "other,Run\n").load()


def test_another_network_rate_or_layer_is_refused(folder, weights, videos, tmp_path):
    source = ExtractedFeatures(folder)
    same_origin(source.describe(), source, "test")
    others = {
        "weights": (weights[1], WINDOWS),
        "fps": (weights[0], (*WINDOWS, "--fps", "5")),
        "stride": (weights[0], ("--window", "8")),
        "layer": (weights[0], (*WINDOWS, "--layer", "s4")),
    }
    for key, (file, words) in others.items():
        other = tmp_path / key
        line = [*arguments("r2d"), "--weights", file, "--output", other, *words, videos / "sub"]
        assert run_command("extract_features", [str(word) for word in line]) == 0
        with pytest.raises(DataError, match=f'"{key}"'):
            data_files(folder, other, tmp_path).load()
        # The same where somebody puts the files of both into one folder.
        mixed = tmp_path / f"mixed_{key}"
        shutil.copytree(folder, mixed)
        write_manifest(mixed, [*records(folder)[:1], {**records(folder)[1], key: records(other)[0][key]}])
        with pytest.raises(DataError, match=f'"{key}"'):
            ExtractedFeatures(mixed)


def test_a_window_that_is_the_whole_video(weights, videos, tmp_path):
    extract(weights[0], videos, tmp_path / "out")
    with pytest.raises(DataError, match="--window"):
        ExtractedFeatures(tmp_path / "out")


def test_files_that_are_damaged_or_not_there(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for spoil in (lambda path: path.write_bytes(b"PK" + bytes(50)), lambda path: path.unlink()):
        spoil(copy / "a.npz")
        with pytest.raises(DataError, match=r"a\.npz"):
            ExtractedFeatures(copy).load("a")
    with pytest.raises(DataError, match="unlisted"):
        ExtractedFeatures(copy).load("unlisted")
    write_manifest(copy, [{**records(folder)[1], "file": "../b.npz"}])
    with pytest.raises(DataError, match="outside"):
        ExtractedFeatures(copy).load("b")
    for text in ("{", "[]\n", '{"video": "a"}\n', "", "3\n"):
        (copy / "manifest.jsonl").write_text(text)
        with pytest.raises(DataError, match=r"manifest\.jsonl"):
            ExtractedFeatures(copy)
    with pytest.raises(DataError, match=r"manifest\.jsonl"):
        ExtractedFeatures(tmp_path)


def test_rows_that_are_none(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with np.load(copy / "a.npz") as stored:
        good = {name: stored[name] for name in ("features", "times", "frames")}
    broken = good["features"].copy()
    broken[1, 3] = np.nan
    cases = (
        {"features": broken},
        {"features": good["features"][:0], "times": good["times"][:0]},
        {"features": good["features"][:, None]},  # the views kept
        {"times": good["times"][:3]},
        {"times": np.full_like(good["times"], np.nan)},  # nobody knows them
        {"times": good["times"][::-1]},
    )
    for case in cases:
        save_features(copy / "a.npz", good | case, {})
        with pytest.raises(UserError, match=r"a\.npz"):
            ExtractedFeatures(copy).load("a")
    for times in (None, "no", [["a", "b"]], {}):
        with pytest.raises(DataError, match="here"):
            timed_features(np.ones((1, 4), np.float32), times, "here")


def test_windows_side_by_side_are_their_own_times():
    starts = np.arange(5) * 0.64
    features = timed_features(np.ones((5, 4)), np.stack([starts, starts + 0.64], 1), "here")
    np.testing.assert_allclose(features.timeline.edges, Timeline.uniform(5, 0.64).edges, atol=1e-12)
