"""The confusion matrix of a test, as a picture."""

import json
from pathlib import Path

import numpy as np

from slowfast_gta.engine.evaluation.metrics import confusion_matrix
from slowfast_gta.reports.heatmap import beside, draw_heatmap, save_picture


def save_confusion_picture(output_dir: str | Path) -> Path:
    """Draw OUTPUT_DIR's results.json and scores.npz into confusion.png; rows are true classes, in percent of a row."""
    picture = draw_confusion(output_dir)
    path = Path(output_dir) / "confusion.png"
    save_picture(path, picture)
    return path


def draw_confusion(output_dir: str | Path, title: str | None = None) -> np.ndarray:
    """The confusion matrix of a tested run as a picture (H, W, 3); with several outputs, theirs beside each other."""
    results = json.loads((Path(output_dir) / "results.json").read_text())
    with np.load(Path(output_dir) / "scores.npz", allow_pickle=False) as stored:
        if "outputs" not in results:
            return _draw(stored["scores"], stored["label"], results, title or _title(results, results))
        pictures = [
            _draw(stored[f"scores_{output}"], stored[f"label_{output}"], values, f"{output}: {_title(values, results)}")
            for output, values in results["outputs"].items()
        ]
    return beside(pictures, title or "")


def _title(values: dict, results: dict) -> str:
    title = f"Predicted (columns) for each true class (rows), percent; top-1 {values['top1']:.1f} %"
    return title + f"; NOT FINAL, {results['num_missing']} videos missing" * bool(results["num_missing"])


def _draw(scores: np.ndarray, labels: np.ndarray, values: dict, title: str) -> np.ndarray:
    counts = confusion_matrix(scores, labels)
    percent = np.rint(100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(int)
    names = [entry["name"] for entry in values["per_class"]]
    few = len(names) <= 32
    return draw_heatmap(percent, title, names, names, cell_px=26 if few else 6, numbers=few)
