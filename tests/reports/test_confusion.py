"""The confusion matrix of a run: few classes, many, several outputs, none drawn without matplotlib."""

import json
import logging

import numpy as np
import pytest

from slowfast_gta.reports import confusion
from slowfast_gta.reports.confusion import draw_confusion, most_confused, order_of_classes, save_confusion_picture

PARTS = {"scores": np.eye(2, dtype=np.float32), "label": np.arange(2)}


def write_run(folder, num_classes: int, labels, predicted, num_missing=0):
    names = [{"name": f"Class {number}"} for number in range(num_classes)]
    results = {"top1": 50.0, "num_missing": num_missing, "per_class": names}
    (folder / "results.json").write_text(json.dumps(results))
    scores = np.eye(num_classes, dtype=np.float32)[predicted]
    np.savez(folder / "scores.npz", video_id=np.arange(len(labels)).astype(str), scores=scores, label=np.array(labels))
    return folder


def words_of(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text"))]


@pytest.mark.parametrize("num_classes", [3, 40])
def test_the_matrix_of_a_run(tmp_path, num_classes):
    folder = write_run(tmp_path, num_classes, [0, 1, 2, 2], [0, 1, 1, 0], num_missing=1)
    assert save_confusion_picture(folder).read_bytes().startswith(b"\x89PNG")
    figure = draw_confusion([folder], ["mine"])
    words = words_of(figure)
    assert any("mine: 4 videos" in word and "1 video missing" in word for word in words)
    assert {f"Class {number}" for number in range(num_classes)} <= set(words)
    (drawn,) = [
        axes.images[0].get_array() for axes in figure.axes if axes.images and len(axes.images[0].get_array()) > 2
    ][:1]
    assert sorted(drawn.compressed()[drawn.compressed() > 0]) == [50, 50, 100, 100]
    if num_classes > 32:
        assert {"Class 2 → Class 0: 1 of 2", "Class 2 → Class 1: 1 of 2"} <= set(words)


def test_too_many_classes_to_name(tmp_path):
    words = words_of(draw_confusion([write_run(tmp_path, 230, [0, 7], [0, 9])]))
    assert "Class 7 → Class 9: 1 of 1" in words and "Class 0" not in words


def test_several_outputs_and_runs(tmp_path):
    one = {"top1": 100.0, "per_class": [{"name": "open"}, {"name": "close"}]}
    (tmp_path / "results.json").write_text(json.dumps({"num_missing": 0, "outputs": {"verb": one, "noun": one}}))
    arrays = {f"{what}_{output}": value for output in ("verb", "noun") for what, value in PARTS.items()}
    np.savez(tmp_path / "scores.npz", **arrays)
    titles = [word for word in words_of(draw_confusion([tmp_path, tmp_path], ["a", "b"])) if "top-1" in word]
    assert [title.split(": 2 videos")[0] for title in titles] == ["a: verb", "a: noun", "b: verb", "b: noun"]


def test_most_confused_pairs():
    counts = np.array([[5, 2, 0], [1, 9, 3], [0, 0, 4]])
    assert most_confused(counts) == [(1, 2, 3), (0, 1, 2), (1, 0, 1)]
    assert most_confused(counts, 1) == [(1, 2, 3)] and counts[0, 0] == 5


def test_confused_classes_are_adjacent():
    partner = {0: 5, 5: 0, 1: 3, 3: 1, 2: 7, 7: 2, 4: 6, 6: 4}
    counts = np.diag(np.full(8, 9))
    for one, other in partner.items():
        counts[one, other] = 1 + one
    order = order_of_classes(counts)
    assert sorted(order) == list(range(8))
    assert all(abs(order.index(one) - order.index(other)) == 1 for one, other in partner.items())


def test_without_matplotlib_the_run_continues(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(confusion, "has_matplotlib", lambda: False)
    with caplog.at_level(logging.WARNING, "slowfast_gta"):
        assert save_confusion_picture(write_run(tmp_path, 3, [0], [0])) is None
    assert "confusion.png" in caplog.text and not (tmp_path / "confusion.png").exists()
