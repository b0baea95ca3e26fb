"""What a report says of runs, as plain rows: settings that differ, curves, figures, classes, confusions, mistakes.

Legend: V videos, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from slowfast_gta.engine.evaluation.metrics import class_accuracy, confusion_matrix, pair_accuracy
from slowfast_gta.reports.bootstrap import bootstrap_intervals
from slowfast_gta.reports.history import OutputScores, RunHistory

FIGURES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class_accuracy": "mean over classes",
    "pairs": "inside reversed pairs",
}
CURVES = {"loss": "loss", "top1": "top-1, percent", "lr": "learning rate"}
MOST_POINTS, MOST_CONFUSED, MOST_CELLS = 500, 25, 20000
_IS_PLACE = ("OUTPUT_DIR", "SHARD_ID")  # differs between any two runs, and says nothing


def differing_settings(histories: Sequence[RunHistory]) -> list[tuple[str, list[str]]]:
    """(key, its value in each run) of those that are not the same in all; "" where a run has no such key."""
    keys = sorted({key for history in histories for key in history.settings} - set(_IS_PLACE))
    rows = [(key, [history.settings.get(key, "") for history in histories]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def curve_points(histories: Sequence[RunHistory], name: str) -> list[dict]:
    """{"run", "split", "step", "value"} of a number of metrics.jsonl, 500 of each curve at most."""
    points = []
    for history in histories:
        for kind, split in (("train", "training"), ("val", "validation")):
            rows = [row for row in history.rows if row["kind"] == kind and _is_number(row.get(name))]
            for index in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_POINTS)).round().astype(int)):
                row = rows[index]
                point = {"run": history.name, "split": split, "step": row.get("step"), "value": row[name]}
                points.append(point)
    return points


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e300  # and so not NaN; a whole number can be any size


def epoch_rows(history: RunHistory) -> list[dict]:
    """The table beside the curves: at each validation, its numbers and the last ones of training before it."""
    rows, last = [], {}
    for row in history.rows:
        if row["kind"] == "train":
            last = row
        elif row["kind"] == "val":
            rows.append(
                {
                    "step": row.get("step"),
                    "epoch": last.get("epoch"),
                    "lr": last.get("lr"),
                    "train_loss": last.get("loss"),
                    "val_loss": row.get("loss"),
                    "top1": row.get("top1"),
                    "top5": row.get("top5"),
                }
            )
    return rows


def figure_rows(history: RunHistory) -> list[dict]:
    """{"run", "figure", "value", "low", "high"} of each output."""
    rows = []
    for output in history.outputs:
        pairs = history.pairs if len(history.outputs) == 1 else []
        for name, (value, low, high) in bootstrap_intervals(output, pairs).items():
            figure = f"{output.name}: {FIGURES[name]}" if output.name else FIGURES[name]
            rows.append({"run": history.name, "figure": figure, "value": value, "low": low, "high": high})
    return rows


def class_rows(output: OutputScores) -> list[dict]:
    """{"class", "accuracy", "num_videos", "order"}; accuracy None where a class has no video."""
    counts = confusion_matrix(output.scores, output.labels)
    values = class_accuracy(counts)
    return [
        {
            "class": name,
            "accuracy": None if np.isnan(value) else round(float(value), 2),
            "num_videos": int(count),
            "order": number,
        }
        for number, (name, value, count) in enumerate(zip(output.class_names, values, counts.sum(1), strict=True))
    ]


def confusion_cells(output: OutputScores) -> tuple[list[dict], int]:
    """(The cells that are not 0, the fullest 20 000 at most; how many were left out)."""
    counts = confusion_matrix(output.scores, output.labels)
    rows, columns = np.nonzero(counts)
    order = np.argsort(-counts[rows, columns], kind="stable")
    totals = counts.sum(1)
    cells = [
        {
            "true": output.class_names[i],
            "predicted": output.class_names[j],
            "i": i,
            "j": j,
            "count": int(counts[i, j]),
            "percent": round(100 * float(counts[i, j]) / float(totals[i]), 2),
        }
        for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    ]
    return cells[:MOST_CELLS], max(0, len(cells) - MOST_CELLS)


def most_confused(cells: Sequence[dict]) -> list[dict]:
    """The cells beside the diagonal with the most videos."""
    return [cell for cell in cells if cell["i"] != cell["j"]][:MOST_CONFUSED]


def pair_rows(history: RunHistory) -> list[dict]:
    """{"names", "choice", "right_pair", "num_videos"} of each pair of classes that are each other's reversal."""
    if len(history.outputs) != 1:
        return []
    (output,) = history.outputs
    rows = []
    for a, b in history.pairs:
        accuracy = pair_accuracy(output.scores, output.labels, [(a, b)])
        if accuracy["num_videos"]:
            rows.append({"names": [output.class_names[a], output.class_names[b]], **accuracy})
    return sorted(rows, key=lambda row: row["choice"])


def wrong_videos(history: RunHistory, most: int) -> tuple[list[int], int]:
    """(Indices of the videos with a wrong prediction of an output, the surest mistakes first; how many there are)."""
    if not history.outputs or not history.videos:
        return [], 0
    wrong = np.zeros(len(history.videos), bool)
    sure = np.zeros(len(history.videos))
    for output in history.outputs:
        mistaken = output.scores.argmax(1) != output.labels
        wrong |= mistaken
        sure = np.maximum(sure, np.where(mistaken, output.scores.max(1), -np.inf))
    indices = np.flatnonzero(wrong)
    return indices[np.argsort(-sure[indices], kind="stable")][:most].tolist(), len(indices)


def predictions_of(history: RunHistory, index: int, k: int = 3) -> list[dict[str, Any]]:
    """Of one video and each output: {"output", "true", "true_score", "top": [(class, score)], "is_right"}."""
    predictions = []
    for output in history.outputs:
        scores, label = output.scores[index], int(output.labels[index])
        top = np.argsort(-scores, kind="stable")[:k].tolist()
        predictions.append(
            {
                "output": output.name,
                "true": output.class_names[label],
                "true_score": float(scores[label]),
                "top": [(output.class_names[label_of_top], float(scores[label_of_top])) for label_of_top in top],
                "is_right": top[0] == label,
            }
        )
    return predictions
