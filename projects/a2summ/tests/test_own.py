"""One's own videos: annotations, features that are kept, training, and a summary with what was learned."""

import json
from pathlib import Path

import numpy as np
import pytest
from a2summ import world
from a2summ.data.own import Segment, load_own, prepare_features, read_annotations, split_keys, target_frames
from a2summ.frames import PlainDescriptor
from a2summ.network import digest_from_cfg
from a2summ.shots.choose import Timeline
from a2summ.world_network import train_world_network
from a2summ_stand_ins import Letters
from a2summ_videos import make_video

from slowfast_gta import load_config
from slowfast_gta.commands import run_command
from slowfast_gta.errors import DataError


@pytest.fixture(autouse=True)
def _letters(monkeypatch):
    monkeypatch.setattr("a2summ.text_encoder.SentenceEncoder", Letters)
    monkeypatch.setattr("a2summ.task.SentenceEncoder", Letters)


def test_videos_a_network_and_words_become_summaries(tmp_path):
    """The whole way in small, to see that it is one: what is learned is the matter of `make a2summ`."""
    short = ["SOLVER.MAX_EPOCH", 1, "TRAIN.EVAL_PERIOD", 1]
    network = train_world_network(tmp_path / "network", 2, short)
    small = ["SOLVER.MAX_EPOCH", 2, "A2SUMM.DIM", 16, "NUM_GPUS", 0]
    found = world.run_seed(tmp_path, 0, 6, 2, network, small)
    assert found.keys() == {
        "A2Summ", "A2Summ, text of another video", "training-free centrality", "random scores"
    }  # fmt: skip
    for values in found.values():
        assert len(values) == 2
        assert all(0 <= value <= 100 for value in values)
    run = tmp_path / "seed_0" / "run"
    assert (run / "artefacts" / "summarizer.pth").is_file()
    assert json.loads((run / "results.json").read_text())["dataset"] == "Own"
    summary = json.loads((tmp_path / "seed_0" / "summaries" / "video_006" / "summary.json").read_text())
    assert "summarizer.pth" in summary["summarizer"]
    assert summary["frame_features"] == {
        "name": "2d, 4 frames",
        "digest": digest_from_cfg(load_config(network[0]), network[1]),
        "dim": 128,
    }
    text, means = world.table([found])
    assert len(text.splitlines()) == 6
    assert means["A2Summ"] == pytest.approx(np.mean(found["A2Summ"]))


def test_planted_summaries_need_pictures_and_words():
    for seed in range(20):
        is_round, is_cooking = world.plan_of(np.random.default_rng(seed))
        assert (is_round.sum(), is_cooking.sum(), (is_round & is_cooking).sum()) == (6, 6, 3)
    assert world.f1_seconds([(0, 3), (6, 9)], [(0, 3), (3, 6)]) == pytest.approx(50)
    assert world.f1_seconds([], [(0, 3)]) == 0


def make_root(tmp_path, rows, header="video,start_sec,end_sec"):
    (tmp_path / "videos").mkdir(exist_ok=True)
    for name in ("a", "b"):
        if not (tmp_path / "videos" / f"{name}.mp4").exists():
            make_video(tmp_path / "videos" / f"{name}.mp4", 12.0, sound=False, shot_sec=6.0)
    (tmp_path / "annotations.csv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "splits.yml").write_text("- {train_keys: [a], test_keys: [b]}\n")
    return tmp_path


def test_chosen_segments_are_the_target(tmp_path):
    root = make_root(tmp_path, ["a,0,3", "b,3.0,6.0"])
    prepare_features(root, PlainDescriptor(), Letters())
    kept = {path: path.stat().st_mtime_ns for path in root.rglob("*.npz")}
    prepare_features(root, PlainDescriptor(), Letters())
    assert kept == {path: path.stat().st_mtime_ns for path in root.rglob("*.npz")}, "computed once"
    sample = load_own(root, PlainDescriptor.digest, Letters.digest, 0, 0.15)["test"][0]
    assert sample.frame_labels.nonzero().flatten().tolist() == list(range(6, 12))
    assert sample.reference.timeline.shots.tolist() == [[0, 12], [12, 24]]
    assert len(sample.sentences) == 0


def test_features_of_a_changed_video_or_transcript_are_computed_anew(tmp_path):
    root = make_root(tmp_path, ["a,0,3", "b,3.0,6.0"])
    (root / "transcripts").mkdir()
    srt = root / "transcripts" / "b.srt"
    for text, num in (("", 0), ("1\n00:00:01,000 --> 00:00:02,000\nIt rains.\n", 1)):
        if text:
            srt.write_text(text)
        prepare_features(root, PlainDescriptor(), Letters())
        sample = load_own(root, PlainDescriptor.digest, Letters.digest, 0, 0.15)["test"][0]
        assert len(sample.sentences) == num
    make_video(root / "videos" / "b.mp4", 9.0, sound=False, shot_sec=6.0)
    (kept,) = root.rglob("a.npz")
    before = kept.stat().st_mtime_ns
    prepare_features(root, PlainDescriptor(), Letters())
    assert len(load_own(root, PlainDescriptor.digest, Letters.digest, 0, 0.15)["test"][0].frames) == 18
    assert kept.stat().st_mtime_ns == before
    (next(root.rglob("b.npz"))).write_bytes(b"PK\x03\x04 torn")
    prepare_features(root, PlainDescriptor(), Letters())
    assert len(load_own(root, PlainDescriptor.digest, Letters.digest, 0, 0.15)["test"][0].frames) == 18


def test_rated_segments_become_shots():
    timeline = Timeline(20, np.arange(20), np.array([[0, 5], [5, 10], [10, 20]]))
    segments = [Segment(0.0, 2.5, 1.0), Segment(2.5, 5.0, 3.0), Segment(4.0, 5.0, 2.0)]
    times = np.arange(20) / 2
    assert target_frames(segments, times, timeline, 0.25).nonzero()[0].tolist() == [5, 6, 7, 8, 9]
    assert target_frames(segments, times, timeline, 0.5).nonzero()[0].tolist() == list(range(10))
    chosen = [Segment(1.0, 2.0, None)]
    assert target_frames(chosen, times, timeline, 0.25).nonzero()[0].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("rows", "header", "match"),
    [
        ([], "video,start_sec,end_sec", "no row"),
        (["a,0,3"], "name,from,to", "columns"),
        (["a,0,x"], "video,start_sec,end_sec", r"csv:2"),
        (["a,0,3", "b,5,4"], "video,start_sec,end_sec", r"csv:3"),
        (["a,0"], "video,start_sec,end_sec", r"csv:2"),
        (["a,0,nan"], "video,start_sec,end_sec", r"csv:2"),
        (["a,0,3,high"], "video,start_sec,end_sec,importance", r"csv:2"),
    ],
)
def test_broken_annotations_name_the_line(tmp_path, rows, header, match):
    root = make_root(tmp_path, rows, header)
    with pytest.raises(DataError, match=match):
        read_annotations(root / "annotations.csv")


def test_videos_and_splits_must_fit(tmp_path):
    root = make_root(tmp_path, ["a,0,3", "c,0,3"])
    with pytest.raises(DataError, match="c"):
        prepare_features(root, PlainDescriptor(), Letters())
    make_root(tmp_path, ["a,0,3", "b,0,3"])
    (root / "splits.yml").unlink()
    with pytest.raises(DataError, match="too few"):
        split_keys(root, 0)
    with pytest.raises(DataError, match="videos"):
        prepare_features(tmp_path / "nowhere", PlainDescriptor(), Letters())


def test_a_run_on_a_folder_without_annotations_is_refused(tmp_path, capsys):
    config = Path(__file__).parents[1] / "configs" / "Own.yaml"
    assert run_command("run", ["--cfg", str(config), "DATA.PATH_TO_DATA_DIR", str(tmp_path)], "a2summ") == 1
    assert "error: " in capsys.readouterr().err
