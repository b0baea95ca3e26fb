"""Detections as files: nothing is lost on the way, and tables hold the numbers of the evaluation."""

import csv
import io
import json

import numpy as np
import pytest
from asm_loc.average_precision import THUMOS_TIOU, mean_average_precision
from asm_loc.detections import (
    average_precision_csv,
    detections_csv,
    from_activitynet,
    read_detections,
    results_of,
    to_activitynet,
    to_json,
)
from asm_loc.segments import Segments

from slowfast_gta.errors import DataError

CLASSES = ["Jump", "Run"]
FOUND = {"a": Segments([0, 1], [1 / 3, 2.0], [2.0, 3.5], [0.1, 0.9]), "b": Segments.empty()}


def test_activitynet_round_trip(tmp_path):
    path = tmp_path / "detections.json"
    path.write_text(to_json(to_activitynet(FOUND, CLASSES, "features of I3D")))
    document = json.loads(path.read_text())
    assert document["results"]["a"][0] == {"label": "Run", "score": 0.9, "segment": [2.0, 3.5]}
    assert document["external_data"] == {"used": True, "details": "features of I3D"}
    again = read_detections(path, CLASSES)
    assert again["a"].to_rows() == FOUND["a"].best_first().to_rows()  # the same bits
    assert len(again["b"]) == 0


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"results": []},
        {"results": {"a": [{"label": "Run"}]}},
        {"results": {"a": [{"label": "Swim", "score": 1, "segment": [0, 1]}]}},
        {"results": {"a": [{"label": "Run", "score": 1, "segment": [0]}]}},
        {"results": {"a": [{"label": "Run", "score": "nan", "segment": [0, 1]}]}},
    ],
)
def test_damaged_detections(document):
    with pytest.raises(DataError):
        from_activitynet(document, CLASSES)


def test_csv():
    rows = list(csv.DictReader(io.StringIO(detections_csv(FOUND, CLASSES))))
    assert [r["label"] for r in rows] == ["Run", "Jump"]
    assert (rows[1]["video"], float(rows[1]["start"]), float(rows[1]["score"])) == ("a", 0.333, 0.1)


def test_tables():
    truth = {"a": Segments([0, 1], [0.0, 2.0], [2.0, 3.5], [1, 1]), "b": Segments([0], [0.0], [1.0], [1])}
    result = mean_average_precision(truth, FOUND, THUMOS_TIOU)
    rows = list(csv.DictReader(io.StringIO(average_precision_csv(result, CLASSES))))
    assert [r["class"] for r in rows] == ["Jump", "Run", "mean"]
    assert [int(rows[0][c]) for c in ("instances", "predictions")] == [2, 1]
    assert (float(rows[0]["AP@0.5"]), float(rows[1]["AP@0.9"]), float(rows[2]["AP@0.5"])) == (50.0, 100.0, 75.0)
    values = results_of(result)
    assert values["mAP_per_tiou"]["0.5"] == 75.0
    assert values["num_instances"] == 3
    nothing = results_of(mean_average_precision({}, {}))
    assert nothing["mAP"] is None
    json.dumps(nothing, allow_nan=False)


def test_segments():
    segments = Segments([1, 0], [0.0, 5.0], [3.0, 9.0], [-1.0, 2.0])
    assert segments.clipped(1.0, 5.0).to_rows() == [[1, 1.0, 3.0, -1.0]]
    assert segments.best_first().label.tolist() == [0, 1]
    assert Segments.from_rows(segments.to_rows()).to_rows() == segments.to_rows()
    assert segments[np.array([True, False])].label.tolist() == [1]
    with pytest.raises(ValueError, match="length"):
        Segments([1], [0.0, 1.0], [1.0], [1.0])
