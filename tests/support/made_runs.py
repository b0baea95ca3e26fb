"""Run folders as training and testing leave them, with made-up answers: for what only reads them."""

import json
from pathlib import Path

import numpy as np
from made_videos import write_video

from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.engine.evaluation.results import result_arrays, summarize, video_arrays, write_results
from slowfast_gta.engine.evaluation.score import Scores

HOSTILE = '<script>document.title = "taken"</script>'
QUOTED = "Opening \"a' <b>door</b> &amp; \\u003c"


def class_list(num_classes: int) -> list[str]:
    """Names of which two are markup and one is not ASCII."""
    names = [HOSTILE, QUOTED, "Étirer un ruban 拉", *(f"Doing thing {number}" for number in range(num_classes))]
    return names[:num_classes]


def write_run(
    folder: Path,
    num_classes: int = 6,
    num_videos: int = 60,
    outputs: dict[str, int] | None = None,
    missing: dict[str, str] | None = None,
    seed: int = 0,
    settings: str = "SOLVER: {BASE_LR: 0.1}\n",
    num_files: int = 4,
) -> Path:
    """A run of a two-output network where `outputs` says how many classes each has. The first `num_files` of the videos
    whose answer is wrong are there."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    sizes = outputs or {"": num_classes}
    names = {name: class_list(count) for name, count in sizes.items()}
    parts, labels = [], []
    for count in sizes.values():
        label = draw.integers(count, size=num_videos)
        logits = draw.normal(size=(num_videos, count)) + 2.5 * np.eye(count)[label]
        parts.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
        labels.append(label)
    ids = [f"video{number:04d}" for number in range(num_videos)]
    table = np.concatenate(parts, 1).astype(np.float32)
    missing = missing or {}
    found = Scores(ids, table, np.stack(labels, 1) if outputs else labels[0], 1, missing)
    class_names = names if outputs else names[""]
    pairs = [] if outputs else [(0, 1), (2, 3)]
    records = [VideoRecord(str(folder / "videos" / f"{name}.mp4"), 0, name) for name in ids]
    wrong = [
        index
        for index in range(num_videos)
        if any(p[index].argmax() != y[index] for p, y in zip(parts, labels, strict=True))
    ]
    (folder / "videos").mkdir()
    for index in sorted(wrong, key=lambda index: -max(part[index].max() for part in parts))[:num_files]:
        write_video(Path(records[index].path), 24 + index % 5, fps=12)
    results = {"split": "test", "dataset": "Made up"} | summarize(found, class_names, pairs)
    results["environment"] = {"Python": "3", "processor": HOSTILE}
    write_results(folder, results, result_arrays(found, class_names, pairs) | video_arrays(ids, records))
    (folder / "config.yaml").write_text(f"DATA: {{NUM_FRAMES: 8}}\n{settings}")
    (folder / "complexity.json").write_text(json.dumps({"gmacs": 33.0, "params_m": 24.3, "num_views": 1, "stages": []}))
    rows = []
    for epoch in range(1, 11):
        loss = 2.0 * 0.8**epoch
        rows.append(
            {"kind": "train", "step": 10 * epoch, "epoch": epoch, "lr": 0.1 / epoch, "loss": loss, "top1": 9.0 * epoch}
        )
        rows.append({"kind": "val", "step": 10 * epoch, "loss": loss * 1.1, "top1": 8.0 * epoch, "top5": 90.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
