"""What each video counts, of a run's scores: the same figures as the run's own, and text that gives them back."""

import numpy as np
import pytest

from slowfast_gta.engine.evaluation.metrics import order_accuracy, pair_accuracy, topk_accuracy
from slowfast_gta.experiments.marks import VIDEOS, load_marks, values_of

PAIRS = [(0, 1), (2, 3)]


def save_scores(folder, seed: int = 0, num_videos: int = 30, **changed) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 4, (num_videos, 5)).astype(np.float32)  # with ties
    arrays = {"video_id": np.array([f"v{at}" for at in range(num_videos)]), "scores": scores}
    arrays |= {"label": generator.integers(0, 5, num_videos), "reversed_pairs": np.array(PAIRS)}
    arrays |= {"backwards_scores": generator.integers(0, 4, (num_videos, 5)).astype(np.float32)}
    arrays |= changed
    np.savez(folder / "scores.npz", **arrays)
    return arrays


def test_their_means_are_the_run_s_figures(tmp_path):
    arrays = save_scores(tmp_path)
    marks = load_marks(tmp_path)
    of = (arrays["scores"], arrays["label"])
    assert np.nanmean(values_of(marks, "top1")) == pytest.approx(topk_accuracy(*of, 1))
    assert np.nanmean(values_of(marks, "pairs.choice")) == pytest.approx(pair_accuracy(*of, PAIRS)["choice"])
    order = order_accuracy(arrays["scores"], arrays["backwards_scores"], arrays["label"], PAIRS)
    assert np.nanmean(values_of(marks, "order.both_ways")) == pytest.approx(order["both_ways"])
    counted = np.isfinite(values_of(marks, "pairs.choice"))
    assert counted.sum() == (arrays["label"] < 4).sum()  # class 4 is of no pair
    assert values_of(marks, "top5") is None


def test_videos_are_in_the_order_of_their_ids(tmp_path):
    arrays = save_scores(tmp_path)
    marks = load_marks(tmp_path)
    mixed = np.random.default_rng(9).permutation(len(arrays["label"]))
    keys = ("video_id", "scores", "label", "backwards_scores")
    save_scores(tmp_path, **{key: arrays[key][mixed] for key in keys})
    assert load_marks(tmp_path) == marks
    other = save_scores(tmp_path, video_id=np.array([f"w{at}" for at in range(30)]))
    assert load_marks(tmp_path)[VIDEOS] != marks[VIDEOS] and len(other["label"]) == 30


def test_no_scores_and_scores_of_strangers_give_nothing(tmp_path):
    assert load_marks(tmp_path) == {}
    (tmp_path / "scores.npz").write_bytes(b"no archive")
    assert load_marks(tmp_path) == {}
    save_scores(tmp_path, video_id=np.array([{"code": "runs"}] * 30, dtype=object))
    assert load_marks(tmp_path) == {}
    save_scores(tmp_path, label=np.zeros((30, 2), np.int64))  # a verb and a noun
    assert load_marks(tmp_path) == {}
