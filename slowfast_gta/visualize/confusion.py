"""The confusion matrix of a test, as a picture."""

import json
from pathlib import Path

import numpy as np

from slowfast_gta.engine.metrics import confusion_matrix
from slowfast_gta.visualize.heatmap import draw_heatmap, save_picture


def save_confusion_picture(output_dir: str | Path) -> Path:
    """Draw OUTPUT_DIR's results.json and scores.npz into confusion.png; rows are true classes, in percent of a row."""
    picture = draw_confusion(output_dir)
    path = Path(output_dir) / "confusion.png"
    save_picture(path, picture)
    return path


def draw_confusion(output_dir: str | Path, title: str | None = None) -> np.ndarray:
    """The confusion matrix of a tested run as a picture (H, W, 3)."""
    results = json.loads((Path(output_dir) / "results.json").read_text())
    with np.load(Path(output_dir) / "scores.npz", allow_pickle=False) as stored:
        counts = confusion_matrix(stored["scores"], stored["label"])
    percent = np.rint(100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(int)
    names = [entry["name"] for entry in results["per_class"]]
    if title is None:
        title = f"Predicted (columns) for each true class (rows), percent; top-1 {results['top1']:.1f} %"
        if results["num_missing"]:
            title += f"; NOT FINAL, {results['num_missing']} videos missing"
    few = len(names) <= 32
    return draw_heatmap(percent, title, names, names, cell_px=26 if few else 6, numbers=few)
