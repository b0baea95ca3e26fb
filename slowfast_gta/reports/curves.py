"""The numbers of a run over its steps, as a picture: what metrics.jsonl has."""

import logging
from pathlib import Path

from slowfast_gta.engine.writers import read_rows
from slowfast_gta.reports.style import DASHES, LINES, Axes, Figure, has_matplotlib, new_figure, not_drawn, save_picture

logger = logging.getLogger("slowfast_gta")

KINDS = {"train": "training", "val": "validation"}
_TITLES = {"loss": "loss", "top1": "top-1, %", "top5": "top-5, %", "lr": "learning rate"}
_MOST_PANELS = 6


def save_curves_picture(output_dir: str | Path) -> Path | None:
    """Draw OUTPUT_DIR's metrics.jsonl into curves.png; None, with a line in the log, without matplotlib or a number."""
    path = Path(output_dir) / "curves.png"
    if not panels_of(read_rows(Path(output_dir) / "metrics.jsonl")):
        return None
    if not has_matplotlib():
        logger.warning("%s", not_drawn(str(path)))
        return None
    save_picture(path, draw_curves(output_dir))
    return path


def draw_curves(output_dir: str | Path) -> Figure:
    """Loss, accuracies and learning rate over the training steps."""
    rows = read_rows(Path(output_dir) / "metrics.jsonl")
    names = panels_of(rows)
    with new_figure(3.6 * len(names), 2.9, names) as figure:
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            _draw(axes, rows, name)
    return figure


def panels_of(rows: list[dict]) -> list[str]:
    """Which numbers are drawn: the loss, what validation measures in the order in which it is written, the rate."""
    trained = [name for row in rows if row["kind"] == "train" for name in row]
    measured = [name for row in rows if row["kind"] == "val" for name in row]
    wanted = ["loss", *(name for name in measured if name.startswith("top") or "_top" in name), "lr"]
    names = [name for name in dict.fromkeys(wanted) if name in trained or name in measured]
    return names[:_MOST_PANELS]


def _draw(axes: Axes, rows: list[dict], name: str) -> None:
    for number, (kind, label) in enumerate(KINDS.items()):
        points = [(row["step"], row[name]) for row in rows if row["kind"] == kind and name in row]
        if points:
            steps, values = zip(*points, strict=True)
            style = {"color": LINES[number], "linestyle": DASHES[number], "label": f"{label} ({len(points)})"}
            axes.plot(steps, values, marker="o" if len(points) < 30 else "", markersize=3, **style)
    axes.set_title(_TITLES.get(name, name), loc="left")
    axes.set_xlabel("training steps")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
