"""Validation and testing: the same answers however they are batched, and nothing left out in silence."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_videos import write_video
from miniatures import CFG, TINY, metrics
from torch import nn

from slowfast_gta import build_model, distributed, load_config, load_weights
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.engine.device import build_normalize
from slowfast_gta.engine.evaluation.results import format_summary, summarize
from slowfast_gta.engine.evaluation.score import Scores, score_videos
from slowfast_gta.engine.precision import Rounding
from slowfast_gta.errors import ConfigError, RunError
from slowfast_gta.loading.batch import BadVideo, Batch
from slowfast_gta.loading.sampling import ClipSampling, segment_views, twice_sampled_views
from slowfast_gta.loading.transforms import TestTransform, resize_frames
from slowfast_gta.video.readers import open_video


@pytest.fixture
def scores_of(run_tiny, trained, tmp_path):
    """scores_of(KEY, VALUE, ...) -> (results, scores.npz) of testing the trained network."""

    def call(*pairs):
        weights = list_checkpoints(trained)[-1][1]
        code, _, err = run_tiny("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", weights, *pairs)
        assert code == 0, err
        with np.load(tmp_path / "run" / "scores.npz", allow_pickle=False) as stored:
            return json.loads((tmp_path / "run" / "results.json").read_text()), dict(stored)

    return call


def test_results_have_the_keys_that_are_promised(scores_of):
    results, scores = scores_of()
    assert {"split", "top1", "top5", "num_videos", "num_views", "num_missing", "final", "missing", "per_class"} <= set(
        results
    )
    assert results["split"] == "test" and results["final"] is True and results["missing"] == {}
    assert (results["num_videos"], results["num_views"], results["num_missing"], results["top5"]) == (6, 1, 0, 100.0)
    assert [row["num_videos"] for row in results["per_class"]] == [2, 2, 2]
    assert scores["video_id"].tolist() == [str(number) for number in range(1012, 1018)]
    assert scores["label"].tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(scores["scores"].sum(1), 1, atol=1e-5)
    top1 = 100 * (scores["scores"].argmax(1) == scores["label"]).mean()
    assert results["top1"] == pytest.approx(top1, abs=1e-3)


@pytest.mark.parametrize(
    "pairs", [("TEST.BATCH_SIZE", 1), ("TEST.BATCH_SIZE", 64), ("TEST.BATCH_SIZE", 5, "DATA_LOADER.NUM_WORKERS", 2)]
)
def test_scores_do_not_depend_on_how_they_are_computed(scores_of, pairs):
    views = ("TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.NUM_SPATIAL_CROPS", 3)
    results, wanted = scores_of(*views)
    again, found = scores_of(*views, *pairs)
    assert found["video_id"].tolist() == wanted["video_id"].tolist()
    np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-6)
    assert again["top1"] == results["top1"] and again["num_views"] == 6


@pytest.mark.parametrize(("num_clips", "num_crops"), [(1, 1), (3, 1), (1, 3), (2, 3)])
def test_a_score_is_the_mean_over_the_views(scores_of, ssv2, trained, num_clips, num_crops):
    views = ("TEST.NUM_ENSEMBLE_VIEWS", num_clips, "TEST.NUM_SPATIAL_CROPS", num_crops)
    _, scores = scores_of(*views)
    cfg = load_config(CFG, [*TINY, *views])
    model = build_model(cfg).eval()
    load_weights(model, list_checkpoints(trained)[-1][1])
    normalize = build_normalize(cfg)
    sampling, transform = ClipSampling.from_cfg(cfg), TestTransform.from_cfg(cfg, num_crops)
    for video_id, row in zip(scores["video_id"], scores["scores"], strict=True):
        answers = []
        with open_video(ssv2 / "20bn-something-something-v2" / f"{video_id}.webm") as video:
            for indices in sampling.views(video.num_frames, video.fps, num_clips):
                for crop in transform(video.read(list(indices))):
                    with torch.no_grad():
                        answers.append(
                            model(normalize(torch.from_numpy(crop.copy()).permute(3, 0, 1, 2)[None]))[0].numpy()
                        )
        assert len(answers) == num_clips * num_crops
        np.testing.assert_allclose(row, np.mean(answers, axis=0), atol=1e-6)
        if len(answers) > 1:
            assert np.ptp(answers, axis=0).max() > 1e-6, "the views are the same"


def test_full_resolution_gives_each_video_its_own_shape(ssv2, trained, tmp_path, run_tiny):
    """Two videos of other sizes; the score of each is the network's answer to its whole frames."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(1012, 1018):
        size = {1013: (48, 100), 1014: (70, 50)}.get(number, (48, 64))
        write_video(videos / f"{number}.webm", 14, *size)
    pairs = ("TEST.FULL_RESOLUTION", True, "DATA.TEST_CROP_SIZE", 40, "TEST.BATCH_SIZE", 64)
    pairs += ("TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.CLIP_POSITIONS", "twice", "DATA.PATH_PREFIX", videos)
    weights = list_checkpoints(trained)[-1][1]
    code, _, err = run_tiny("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", weights, *pairs)
    assert code == 0, err
    cfg = load_config(CFG, [*TINY, *pairs])
    model = build_model(cfg).eval()
    load_weights(model, weights)
    normalize = build_normalize(cfg)
    with np.load(tmp_path / "run" / "scores.npz", allow_pickle=False) as stored:
        rows = dict(zip(stored["video_id"].tolist(), stored["scores"], strict=True))
    for video_id, size in (("1013", (40, 83)), ("1014", (56, 40)), ("1015", (40, 53))):
        with open_video(videos / f"{video_id}.webm") as video:
            clips = [resize_frames(video.read(view), size) for view in twice_sampled_views(14, cfg.DATA.NUM_FRAMES)]
        with torch.no_grad():
            answers = model(normalize(torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3)))
        np.testing.assert_allclose(rows[video_id], answers.mean(0).numpy(), atol=1e-5)


def test_near_identical_clips_are_reported(scores_of, tmp_path):
    """Twenty clips of parts of three or four frames."""
    results, _ = scores_of("TEST.NUM_ENSEMBLE_VIEWS", 20, "DATA_LOADER.NUM_WORKERS", 2)
    frames = [12 + number % 5 for number in range(12, 18)]
    wanted = sum(20 - len(set(map(tuple, segment_views(count, 4, 20)))) for count in frames)
    assert results["num_alike_clips"] == wanted > 40
    assert f"Clips identical to another: {wanted};" in (tmp_path / "run" / "log.txt").read_text()


def test_several_crops_of_whole_frames_are_refused():
    with pytest.raises(ConfigError, match=r"NUM_SPATIAL_CROPS.*3;.*TEST.FULL_RESOLUTION"):
        load_config(CFG, ["TEST.FULL_RESOLUTION", True, "TEST.NUM_SPATIAL_CROPS", 3])


def test_validation_is_a_test_with_one_view(scores_of, trained):
    results, _ = scores_of()
    validation = [row for row in metrics(trained) if row["kind"] == "val"][-1]
    assert {key: validation[key] for key in ("top1", "top5", "num_videos", "num_missing")} == {
        key: results[key] for key in ("top1", "top5", "num_videos", "num_missing")
    }


def test_a_result_with_missing_videos_does_not_call_itself_final():
    found = Scores(["a", "b"], np.eye(3)[:2], np.array([0, 1]), 2, {"c": "c.webm: the file is cut off."})
    results = summarize(found, ["x", "y", "z"], [(0, 1)])
    assert (results["top1"], results["num_videos"], results["num_missing"]) == (100.0, 2, 1)
    assert results["final"] is False and results["missing"] == {"c": "c.webm: the file is cut off."}
    assert results["per_class"][2] == {"name": "z", "accuracy": None, "num_videos": 0}
    assert results["per_pair"] == [{"names": ["x", "y"], "choice": 100.0, "right_pair": 100.0, "num_videos": 2}]
    assert format_summary(results).startswith("NOT FINAL, 1 video missing: top-1 100.00 %")
    assert "NOT FINAL" not in format_summary(results | {"num_missing": 0})
    json.loads(json.dumps(results, allow_nan=False))


def test_results_are_valid_json_where_a_pair_has_no_video():
    found = Scores(["a"], np.eye(4)[:1], np.array([0]), 1)
    some = summarize(found, ["w", "x", "y", "z"], [(0, 3), (1, 2)])
    assert [row["names"] for row in some["per_pair"]] == [["w", "z"]] and some["pairs"]["num_videos"] == 1
    none = summarize(found, ["w", "x", "y", "z"], [(1, 2)])
    assert "pairs" not in none and format_summary(none)
    json.dumps([some, none], allow_nan=False)


def test_scores_that_are_no_numbers_are_not_a_result():
    scores = np.eye(3)
    scores[1, 2] = np.nan
    with pytest.raises(RunError, match=r"\b1 video\b.*\bb\b"):
        summarize(Scores(["a", "b", "c"], scores, np.array([0, 1, 2]), 1), ["x", "y", "z"], [])


def test_no_scores_at_all_is_refused():
    with pytest.raises(RunError, match=r"\bNo video\b.*: 1\b.*\ba\.webm: the file is empty\b"):
        summarize(
            Scores([], np.zeros((0, 0)), np.zeros(0, int), 1, {"a": "a.webm: the file is empty."}), ["x", "y"], []
        )


def test_a_process_sends_one_row_for_each_complete_video(monkeypatch):
    """Not its views: of Kinetics they are a gigabyte, and would go to every process."""
    sent = []
    monkeypatch.setattr(distributed, "gather_on_main", lambda value: sent.append(value) or [value])
    batches = [batch_of_views(["a", "a", "b"], [0, 1, 0]), batch_of_views(["b", "c"], [1, 1])]
    found = score_videos(nn.Flatten(), batches, as_they_are, 2, 2, "test")
    assert sorted(sent[0].rows) == ["a", "b"] == found.video_ids and sorted(sent[0].views) == ["c"]
    views = {name: [] for name in "abc"}
    for batch in batches:
        for name, clip in zip(batch.video_id, batch.frames, strict=True):
            views[name].append(clip.flatten().numpy())
    np.testing.assert_array_equal(found.scores, [np.mean(views[name], axis=0) for name in "ab"])
    assert re.search(r"\bviews scored: only 1 of 2\b", found.missing["c"])


def batch_of_views(video_ids: list[str], view_ids: list[int], num_frames: int = 1) -> Batch:
    frames = torch.randn(len(video_ids), 3, num_frames, 2, 2)
    labels = torch.zeros(len(video_ids), dtype=torch.long)
    return Batch(frames, labels, labels, torch.tensor(view_ids), video_ids)


def as_they_are(clips):
    return clips


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("searching", [False, True])
def test_the_network_is_in_eval_meanwhile_and_cudnn_as_before(monkeypatch, training, searching):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", searching)
    seen = []
    model = nn.Sequential(nn.Flatten()).train(training)
    model[0].register_forward_hook(lambda module, *_: seen.append((module.training, torch.backends.cudnn.benchmark)))
    score_videos(model, [batch_of_views(["a"], [0])], as_they_are, 1, 1, "test")
    assert seen == [(False, False)]
    assert (model.training, model[0].training, torch.backends.cudnn.benchmark) == (training, training, searching)


@pytest.mark.parametrize("backwards", [False, True])
def test_only_backwards_reverses_the_frames(backwards):
    batch = batch_of_views(["a", "b"], [0, 0], num_frames=3)
    found = score_videos(nn.Flatten(), [batch], as_they_are, 2, 1, "test", backwards=backwards)
    frames = batch.frames.flip(2) if backwards else batch.frames
    np.testing.assert_array_equal(found.scores, frames.flatten(1).numpy())


def test_what_could_not_be_read_is_kept_with_its_reason():
    none = torch.zeros(0, dtype=torch.long)
    bad = [BadVideo("c", "c.mp4: torn.", "c.mp4", False), BadVideo("a", "a.mp4: torn.", "a.mp4", True)]
    empty = Batch(None, none, none, none, [], bad[:1], video_counts={"num_requested": 1, "num_skipped": 1})
    batch = batch_of_views(["a", "b"], [0, 0])
    batch = replace(batch, errors=bad[1:], num_repeated=3, video_counts={"num_requested": 2})
    found = score_videos(nn.Flatten(), [empty, batch], as_they_are, 2, 1, "test")
    assert found.video_ids == ["b"] and found.missing == {"c": "c.mp4: torn.", "a": "a.mp4: torn."}
    assert found.bad_videos == bad and found.repeated_frames == 3
    assert found.counts == {"num_requested": 3, "num_skipped": 1, "num_alike_clips": 0}
    assert score_videos(nn.Flatten(), [empty], as_they_are, 2, 1, "test").scores.shape == (0, 0)


def test_views_that_come_again_do_not_open_a_complete_video():
    """As after a worker that was stuck: its batch is read once more."""
    first = batch_of_views(["a", "a"], [0, 1])
    found = score_videos(nn.Flatten(), [first, batch_of_views(["a"], [0])], as_they_are, 2, 2, "test")
    assert found.missing == {} and found.video_ids == ["a"]
    np.testing.assert_array_equal(found.scores[0], first.frames.flatten(1).numpy().mean(0))


def test_a_lower_precision_is_compared_on_the_first_batch_and_scores_are_float32():
    batches = [batch_of_views(["a", "b"], [0, 0]), batch_of_views(["c"], [0])]
    rounding = Rounding("bfloat16", nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), [3])
    exact = rounding._exact
    rounded = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    rounded.load_state_dict(exact.state_dict())
    found = score_videos(rounded.bfloat16(), batches, as_they_are, 2, 1, "test", rounding)
    with torch.no_grad():
        wanted = rounded(torch.cat([batch.frames for batch in batches]).bfloat16()).float().numpy()
        change = np.abs(exact(batches[0].frames).numpy() - wanted[:2]).max()
    assert found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores, wanted, atol=1e-6)
    assert rounding.change["num_clips"] == 2 and rounding.change["largest_change"] == pytest.approx(change, abs=2e-6)


def test_what_processes_have_is_joined_and_nothing_counted_twice(monkeypatch):
    """Two processes, one after the other: each has a view of "b"; "c" is not whole, and "d" was not read by one."""
    parts = []
    monkeypatch.setattr(distributed, "gather_on_main", lambda value: parts.append(value) or [])
    bad = [BadVideo("d", "d.mp4: torn.", "d.mp4", False)]
    batches = [batch_of_views(["b", "e", "e"], [1, 1, 0]), batch_of_views(["b", "c", "d"], [0, 1, 0])]
    batches[0].label[:] = torch.tensor([2, 1, 1])
    batches[1].label[:] = torch.tensor([2, 3, 4])
    batches[1] = replace(batches[1], errors=bad, num_repeated=2, num_alike=1)
    for batch in batches:
        assert score_videos(nn.Flatten(), [batch], as_they_are, 4, 2, "test") is None
    monkeypatch.setattr(distributed, "gather_on_main", lambda value: parts)
    found = score_videos(nn.Flatten(), [], as_they_are, 4, 2, "test")
    assert found.video_ids == ["b", "e"] and found.labels.tolist() == [2, 1] and found.num_views == 2
    views = batches[0].frames.flatten(1).numpy(), batches[1].frames.flatten(1).numpy()
    np.testing.assert_array_equal(found.scores[1], np.mean([views[0][2], views[0][1]], axis=0))
    np.testing.assert_array_equal(found.scores[0], np.mean([views[1][0], views[0][0]], axis=0))
    assert found.missing["d"] == "d.mp4: torn." and "1 of 2" in found.missing["c"]
    assert found.bad_videos == bad and found.repeated_frames == 2 and found.counts == {"num_alike_clips": 1}


def test_the_mean_has_the_same_bits_in_whatever_order_views_come():
    def scores(order):
        batch = batch_of_views(["a"] * 3, order)
        batch.frames[:] = torch.tensor([1e8, 1.0, -1e8])[order].reshape(3, 1, 1, 1, 1)
        return score_videos(nn.Flatten(), [batch], as_they_are, 3, 3, "test").scores

    assert scores([0, 1, 2]).tobytes() == scores([0, 2, 1]).tobytes() == scores([2, 0, 1]).tobytes()


def test_every_clip_is_scored_backwards_too_where_that_is_asked_for(scores_of):
    """R2D is the mean over frames: it cannot tell. With frames shifted in time (TSM) it can."""
    plain, _ = scores_of()
    found, _ = scores_of("TEST.BACKWARDS", True, "TEST.NUM_ENSEMBLE_VIEWS", 1)
    assert "order" not in plain and found["order"]["blind"] is True
    assert found["order"]["largest_difference"] <= 1e-5 and found["top1"] == plain["top1"]
    shifted, _ = scores_of("TEST.BACKWARDS", True, "TSM.ENABLE", True)
    assert shifted["order"]["blind"] is False
