"""The confusion matrix of a test, as a picture: with many classes, too, one that can be read."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slowfast_gta.engine.evaluation.metrics import confusion_matrix
from slowfast_gta.errors import DataError, counted
from slowfast_gta.plain_arrays import load_npz
from slowfast_gta.reports.style import (
    Axes,
    Figure,
    colour_bar,
    draw_matrix,
    has_matplotlib,
    new_figure,
    not_drawn,
    save_picture,
    shortened,
)

logger = logging.getLogger("slowfast_gta")

_FEW = 32  # classes whose cells have their number written in
_NAMED = 200  # classes whose names fit beside the matrix
_MOST_PAIRS = 25


class Confusion(NamedTuple):
    """What is drawn of one output."""

    title: str
    counts: np.ndarray  # (K, K): row = true class, column = predicted
    names: list[str]


def save_confusion_picture(output_dir: str | Path) -> Path | None:
    """Draw OUTPUT_DIR's results.json and scores.npz into confusion.png; None, and a log line, without matplotlib."""
    path = Path(output_dir) / "confusion.png"
    if not has_matplotlib():
        logger.warning("%s", not_drawn(str(path)))
        return None
    save_picture(path, draw_confusion([output_dir]))
    return path


def draw_confusion(output_dirs: Sequence[str | Path], names: Sequence[str] = ()) -> Figure:
    """The confusion matrices of tested runs below each other, those of several outputs too; `names` of the runs."""
    parts: list[Confusion] = []
    for number, folder in enumerate(output_dirs):
        prefix = f"{names[number]}: " if names else ""
        parts += [part._replace(title=prefix + part.title) for part in _load(Path(folder))]
    sizes = [_size(len(part.names)) for part in parts]
    width, height = max(width for width, _ in sizes), sum(height for _, height in sizes)
    with new_figure(width, height, [name for part in parts for name in (part.title, *part.names)]) as figure:
        rows = figure.subfigures(len(parts), 1, height_ratios=[height for _, height in sizes], squeeze=False)[:, 0]
        for row, part in zip(rows, parts, strict=True):
            _draw(row, part)
    return figure


def most_confused(counts: np.ndarray, most: int = _MOST_PAIRS) -> list[tuple[int, int, int]]:
    """[(true class, predicted class, videos)] of the largest counts beside the diagonal, the largest first."""
    others = counts.copy()
    np.fill_diagonal(others, 0)
    order = np.argsort(-others, axis=None, kind="stable")[:most]
    pairs = [tuple(map(int, divmod(index, len(counts)))) for index in order]
    return [(true, predicted, int(others[true, predicted])) for true, predicted in pairs if others[true, predicted]]


def order_of_classes(counts: np.ndarray) -> list[int]:
    """All classes, those that are confused side by side: a chain from the most confused pair, where each is followed by
    the class, of those left, that it is most often confused with, and otherwise by the most confused class left."""
    both = (counts + counts.T).astype(np.float64)
    np.fill_diagonal(both, 0)
    left = np.ones(len(both), bool)
    chain: list[int] = []
    while left.any():
        free = np.flatnonzero(left)
        following = free[both[chain[-1], free].argmax()] if chain else -1
        if not chain or not both[chain[-1], following]:
            following = free[both[np.ix_(free, free)].sum(1).argmax()]
        chain.append(int(following))
        left[following] = False
    return chain


def _load(folder: Path) -> list[Confusion]:
    """Raises DataError where there are no such files, or they are not what a test writes."""
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        stored = load_npz(folder / "scores.npz")
        if "outputs" not in results:
            return [_confusion(stored["scores"], stored["label"], results, results)]
        return [
            _confusion(stored[f"scores_{output}"], stored[f"label_{output}"], values, results, f"{output}: ")
            for output, values in results["outputs"].items()
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise DataError(
            f"{folder}: its results.json and scores.npz are not what a test writes ({type(fault).__name__})."
        ) from None


def _confusion(scores: np.ndarray, labels: np.ndarray, values: dict, results: dict, prefix: str = "") -> Confusion:
    title = (
        f"{prefix}{counted(len(labels), 'video')}, {counted(scores.shape[1], 'class')}, top-1 {values['top1']:.1f} %"
    )
    title += f"; NOT FINAL, {counted(results['num_missing'], 'video')} missing" * bool(results["num_missing"])
    return Confusion(title, confusion_matrix(scores, labels), [entry["name"] for entry in values["per_class"]])


def _cell_inches(num_classes: int) -> float:
    return 0.3 if num_classes <= _FEW else max(0.085, 11 / num_classes) if num_classes <= _NAMED else 12 / num_classes


def _size(num_classes: int) -> tuple[float, float]:
    """Width and height in inches."""
    side = max(2.5, _cell_inches(num_classes) * num_classes)
    return side + (4.0 if num_classes <= _FEW else 9.0), side + 2.6


def _draw(figure: Figure, part: Confusion) -> None:
    counts, names = part.counts, part.names
    few = len(names) <= _FEW
    order = list(range(len(names))) if few else order_of_classes(counts)
    percent = 100.0 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    percent[counts.sum(1) == 0] = np.nan
    left, right = (figure.add_subplot(), None) if few else figure.subplots(1, 2, width_ratios=[1.5, 1])
    labels = [shortened(names[label]) for label in order] if len(names) <= _NAMED else []
    shown = percent[np.ix_(order, order)]
    drawn = draw_matrix(left, shown, labels, labels, most=100.0, numbers="{:.0f}" if few else "")
    points = None if few else 72 * _cell_inches(len(names)) * 0.85
    left.tick_params(axis="x", labelrotation=90, labelsize=points)
    left.tick_params(axis="y", labelsize=points)
    left.set_xlabel("predicted class")
    left.set_ylabel("true class")
    left.set_title(part.title, loc="left")
    colour_bar(figure, drawn, left, "percent of the videos of the true class")
    if right is not None:
        left.set_xlabel(
            "predicted class" if labels else "predicted class (too many to name; those of each other side by side)"
        )
        _list_pairs(right, part)


def _list_pairs(axes: Axes, part: Confusion) -> None:
    """The most confused pairs as bars with their names."""
    pairs = most_confused(part.counts)
    totals = part.counts.sum(1)
    axes.set_title(f"the {len(pairs)} most confused pairs: true → predicted", loc="left")
    axes.set_xlabel("videos")
    axes.barh(range(len(pairs)), [count for _, _, count in pairs], color="#0072B2", height=0.4, align="edge")
    for row, (true, predicted, count) in enumerate(pairs):
        text = f"{shortened(part.names[true])} → {shortened(part.names[predicted])}: {count} of {totals[true]}"
        axes.text(0, row - 0.1, text, va="bottom", ha="left")
    axes.set_ylim(max(len(pairs), 12), -0.8)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
