"""Predictor and load_clip, the public names: what they give is what a test computes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from eval_networks import config, write_weights
from made_videos import write_frames, write_video
from miniatures import CLASSES, keys

import slowfast_gta
from slowfast_gta import Predictor, build_model, load_clip, load_config, load_weights
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.errors import ConfigError, DataError, WeightsError
from slowfast_gta.inference.features import build_feature_extractor


def test_public_names_are_listed():
    assert {"Predictor", "load_clip", "load_config", "build_model", "load_weights"} <= set(dir(slowfast_gta))


def test_a_run_folder(trained, tmp_path):
    predictor = Predictor(trained)
    assert predictor.class_names == CLASSES and predictor.weights == list_checkpoints(trained)[-1][1]
    video = write_video(tmp_path / "a.mp4", 20)
    top = predictor(video, k=2)
    assert len(top) == 2 and top[0]["probability"] >= top[1]["probability"]
    # This config samples whole videos: its one window is the clip of a test with one view.
    (window,) = predictor.windows(video, features=True, maps=True)
    assert (window.start_sec, window.end_sec) == (0, pytest.approx(20 / 12)) and len(window.frame_indices) == 4
    assert window.features.shape == (256,) and window.maps == {}, "R2D has no attention block"
    cfg = load_config(trained / "config.yaml")
    model = build_model(cfg)
    load_weights(model, predictor.weights, fine_tune=False)
    with torch.no_grad():
        expected = model.eval()(load_clip(video, cfg))[0].numpy()
    assert np.abs(window.probabilities - expected).max() < 1e-5
    assert predictor.top(window.probabilities, 1)[0]["label"] == int(expected.argmax())


def test_scores_are_the_bits_of_the_test(trained, ssv2):
    """scores.npz of the run, video by video and all together."""
    cfg = load_config(trained / "config.yaml")
    predictor = Predictor(trained)
    with np.load(trained / "scores.npz", allow_pickle=False) as stored:
        ids, scores = stored["video_id"].tolist(), stored["scores"]
    from slowfast_gta.datasets.build import build_dataset

    records = [record for record in build_dataset(cfg, "test").records("test") if record.video_id in ids]
    together = {record.video_id: found for record, found in predictor.scores_of(records)}
    for record in records:
        expected = scores[ids.index(record.video_id)]
        assert np.array_equal(together[record.video_id], expected) and np.array_equal(
            predictor.scores(record), expected
        )
    # This config tests one view of each video, which is the one window that extraction takes of it.
    extractor = build_feature_extractor(cfg, predictor.weights, layer="head")
    rows = {path: found.rows for path, found in extractor.extract([record.path for record in records])}
    assert all(np.array_equal(rows[record.path][0], scores[ids.index(record.video_id)]) for record in records)


def test_windows_along_a_video(tmp_path):
    cfg = config("gta")
    predictor = Predictor(cfg, write_weights(cfg, tmp_path / "w.pyth"))
    video = write_video(tmp_path / "a.mp4", 40, fps=10)
    windows = list(predictor.windows(video, window="1s", stride=5, maps=True))
    assert [window.start_sec for window in windows] == pytest.approx([n / 2 for n in range(7)])
    assert windows[-1].end_sec == pytest.approx(4) and all(len(window.frame_indices) == 4 for window in windows)
    assert all(name.startswith("s3.pathway0_attention0.") or "s4." in name for name in windows[0].maps)
    for window in windows[:2]:
        with torch.no_grad():
            model = build_model(cfg)
            load_weights(model, predictor.weights)
            part = load_clip(video, cfg, span_sec=(window.start_sec, window.end_sec))
            expected = model.eval()(part)[0].numpy()
        assert np.abs(window.probabilities - expected).max() < 1e-5, "the frames of that second"


def test_a_broken_video_ends_nothing_else(tmp_path):
    cfg = config("r2d")
    predictor = Predictor(cfg, write_weights(cfg, tmp_path / "w.pyth"), batch_size=3)
    good = [str(write_video(tmp_path / f"{n}.mp4", 20 + n)) for n in range(2)]
    (tmp_path / "none.mp4").write_text("none")
    found = list(predictor.windows_of([good[0], str(tmp_path / "none.mp4"), good[1]], window=8))
    kinds = [getattr(one, "fault", "window") for one in found]
    assert [kind == "window" for kind in kinds] == [*[True] * 3, False, False, *[True] * 3, False]
    assert kinds[3] is None and isinstance(kinds[4], DataError) and kinds[-1] is None
    assert [one.video for one in found[:3]] == [good[0]] * 3 and found[5].video == good[1]
    alone = list(predictor.windows(good[1], window=8))
    assert all(np.array_equal(a.probabilities, b.probabilities) for a, b in zip(alone, found[5:8], strict=True))
    with pytest.raises(DataError):
        list(predictor.windows(tmp_path / "none.mp4", window=8))


def test_the_readers_end_where_nobody_reads_on(tmp_path):
    import threading

    cfg = config("r2d")
    predictor = Predictor(cfg, write_weights(cfg, tmp_path / "w.pyth"))
    before = threading.active_count()
    windows = predictor.windows(write_video(tmp_path / "a.mp4", 200), window=4)
    next(windows)
    windows.close()
    assert threading.active_count() == before


# ---------------------------------------------------------------------------------------------------------- plugins


@pytest.fixture
def with_plugin(trained, tmp_path, monkeypatch) -> Path:
    """A stranger's run folder whose PLUGINS leave a trace when they are imported."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    folder = tmp_path / "stranger"
    shutil.copytree(trained, folder)
    plugin = folder / f"plugin_{tmp_path.name}.py"
    plugin.write_text("from pathlib import Path\nPath(__file__).with_name('imported').touch()\n")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("PLUGINS: []", f"PLUGINS: [./{plugin.name}]"))
    assert plugin.name in (folder / "config.yaml").read_text()
    return folder


def test_a_strangers_code_is_not_imported(with_plugin):
    with pytest.raises(ConfigError, match="trust_plugins"):
        Predictor(with_plugin)
    assert not (with_plugin / "imported").exists()
    Predictor(with_plugin, trust_plugins=True)
    assert (with_plugin / "imported").exists()


def test_nor_by_the_commands(with_plugin, tmp_path, capsys):
    from slowfast_gta.commands import run_command

    video = str(write_video(tmp_path / "a.mp4", 20))
    line = ["--cfg", str(with_plugin / "config.yaml"), "NUM_GPUS", "0"]
    assert run_command("predict", [*line, "--json", video]) == 2
    assert run_command("extract_features", [*line, "--output", str(tmp_path / "out"), video]) == 2
    assert not (with_plugin / "imported").exists() and "Traceback" not in capsys.readouterr().err
    assert run_command("predict", [*line, "--trust-plugins", "--json", video]) == 0
    assert (with_plugin / "imported").exists() and len(json.loads(capsys.readouterr().out)) == 1


def test_what_this_user_trained_is_trusted_until_it_changes(with_plugin):
    from slowfast_gta.config.trust import save_trust

    save_trust(with_plugin / "config.yaml")
    Predictor(with_plugin)
    (with_plugin / "imported").unlink()
    with (with_plugin / "config.yaml").open("a") as file:
        file.write("\n")
    with pytest.raises(ConfigError):
        Predictor(with_plugin)


# -------------------------------------------------------------------------------------------------------- refusals


def test_wrong_use_is_refused(trained, tmp_path):
    cfg = config("r2d")
    weights = write_weights(cfg, tmp_path / "w.pyth")
    with pytest.raises(ConfigError, match="weights"):
        Predictor(cfg)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        Predictor(tmp_path)
    shutil.copy(trained / "config.yaml", tmp_path)
    with pytest.raises(WeightsError, match="checkpoints"):
        Predictor(tmp_path, overrides=keys("OUTPUT_DIR", tmp_path))
    predictor = Predictor(cfg, weights)
    video = write_video(tmp_path / "a.mp4", 20)
    for wrong in ({"window": 0}, {"stride": 4}, {"features": "s9", "window": 4}, {"window": 4, "fps": -1}):
        with pytest.raises(ConfigError):
            list(predictor.windows(video, **wrong))
    with pytest.raises(DataError):
        predictor(tmp_path / "gone.mp4")


def test_clips(tmp_path):
    cfg = config("i3d")
    video, folder = write_video(tmp_path / "a.mp4", 40), write_frames(tmp_path / "frames", 12)
    assert load_clip(video, cfg).shape == (1, 3, 8, 32, 32)
    assert load_clip(video, cfg, num_views=2, num_crops=3).shape == (6, 3, 8, 32, 32)
    assert load_clip(folder, 4).shape == (1, 3, 4, 224, 224) and load_clip(folder, 4, crop_size=48).shape[-1] == 48
    for wrong in ({"span_sec": (2, 1)}, {"num_crops": 2}, {"num_views": 0}):
        with pytest.raises(ConfigError):
            load_clip(video, cfg, **wrong)
    for source in (0, -1):
        with pytest.raises(ConfigError):
            load_clip(video, source)
    with pytest.raises(DataError):
        load_clip(tmp_path / "gone.mp4", 8)
