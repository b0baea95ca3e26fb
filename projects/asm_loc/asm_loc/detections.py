"""Detections on disk: ActivityNet's JSON, a CSV, and tables of average precision per class and per tIoU."""

import csv
import io
import json
import math

from slowfast_gta.errors import DataError

from .annotations import read_json
from .average_precision import THUMOS_TIOU, APResult
from .segments import Segments

VERSION = "VERSION 1.3"  # of ActivityNet's submission format


def to_activitynet(detections: dict[str, Segments], classes: list[str], external_data: str) -> dict:
    """ActivityNet's submission: {"results": {video: [{"label", "score", "segment": [start, end]}, ...]}, ...}."""
    results = {}
    for video, segments in detections.items():
        results[video] = [
            {"label": classes[int(label)], "score": score, "segment": [start, end]}
            for label, start, end, score in segments.best_first().to_rows()
        ]
    return {
        "version": VERSION,
        "results": results,
        "external_data": {"used": True, "details": external_data},
    }


def from_activitynet(document: object, classes: list[str], where: object = "detections") -> dict[str, Segments]:
    """The inverse of `to_activitynet`; unknown labels and damaged entries are sentences."""
    index = {name: i for i, name in enumerate(classes)}
    found = {}
    try:
        for video, entries in document["results"].items():
            rows = []
            for entry in entries:
                if entry["label"] not in index:
                    raise DataError(
                        f'{where}: {video} has the label "{entry["label"]}", which is not a class of the run.'
                    )
                start, end = (float(t) for t in entry["segment"])
                rows.append([index[entry["label"]], start, end, float(entry["score"])])
            if not all(math.isfinite(v) for row in rows for v in row):
                raise DataError(f"{where}: a time or a score of {video} is not finite.")
            found[video] = Segments.from_rows(rows)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise DataError(f"{where} is not in ActivityNet's format ({type(error).__name__}: {error}).") from None
    return found


def read_detections(path, classes: list[str]) -> dict[str, Segments]:
    """Detections of a JSON file in ActivityNet's format."""
    return from_activitynet(read_json(path), classes, path)


def detections_csv(detections: dict[str, Segments], classes: list[str]) -> str:
    """video,label,start,end,score; best first in each video."""
    rows = [
        [video, classes[int(label)], f"{start:.3f}", f"{end:.3f}", f"{score:.6f}"]
        for video, segments in detections.items()
        for label, start, end, score in segments.best_first().to_rows()
    ]
    return csv_text(["video", "label", "start", "end", "score"], rows)


def average_precision_csv(result: APResult, classes: list[str]) -> str:
    """One row a class and one "mean", in per cent: class, instances, predictions, AP at each tIoU."""
    header = ["class", "instances", "predictions", *(f"AP@{t:g}" for t in result.thresholds)]
    rows = []
    for row, label in enumerate(result.classes.tolist()):
        counts = [int(result.num_instances[row]), int(result.num_predictions[row])]
        rows.append([classes[label], *counts, *(f"{100 * v:.2f}" for v in result.ap[row])])
    total = [int(result.num_instances.sum()), int(result.num_predictions.sum())]
    rows.append(["mean", *total, *(f"{100 * v:.2f}" for v in result.per_threshold)])
    return csv_text(header, rows)


def csv_text(header: list[str], rows: list[list[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def to_json(document: object) -> str:
    """Floats in full, so that what is read back is what was written."""
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def results_of(result: APResult) -> dict:
    """What results.json holds of one evaluation, in per cent: mAP per tIoU, and averaged as is the custom (THUMOS-14:
    over .1 to .7)."""
    averaged = [t for t in result.thresholds if result.thresholds != THUMOS_TIOU or t <= THUMOS_TIOU[6]]
    per_tiou = {f"{t:g}": _per_cent(v) for t, v in zip(result.thresholds, result.per_threshold, strict=True)}
    return {
        "mAP": _per_cent(result.mean(min(averaged), max(averaged))),
        "mAP_averaged_over": averaged,
        "mAP_per_tiou": per_tiou,
        "num_instances": int(result.num_instances.sum()),
        "num_predictions": int(result.num_predictions.sum()),
        "num_predictions_of_absent_classes": result.num_ignored,
    }


def _per_cent(value: float) -> float | None:
    """None where there was nothing to evaluate: JSON has no NaN."""
    return 100 * float(value) if math.isfinite(value) else None
