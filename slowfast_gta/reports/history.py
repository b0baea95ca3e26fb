"""What a run has left, read as data: config.yaml, metrics.jsonl, results.json, scores.npz, complexity.json.

Nothing is computed anew from today's settings, no plug-in is imported, and whatever a stranger's files hold is text and
numbers. `notes` names what an older run did not store.

Legend: V videos, K classes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from slowfast_gta.engine.writers import read_rows
from slowfast_gta.errors import DataError, counted
from slowfast_gta.plain_arrays import load_npz
from slowfast_gta.plain_yaml import load_yaml

# Of results.json, which are missing where there is nothing to say.
_CONTAINERS = {"missing": dict, "rounding": dict, "environment": dict, "outputs": dict, "per_class": list}


@dataclass(frozen=True)
class OutputScores:
    """One output's predictions. `name` is empty where there is only one."""

    name: str
    class_names: list[str]
    scores: np.ndarray  # (V, K)
    labels: np.ndarray  # (V,)


@dataclass(frozen=True)
class TestedVideo:
    """Where a tested video is; an empty path where the run did not store it."""

    video_id: str
    path: str = ""
    span: tuple[float, float] | None = None


@dataclass
class RunHistory:
    """A run folder."""

    name: str
    folder: Path
    settings: dict[str, str]  # "DATA.NUM_FRAMES": "8"
    rows: list[dict]  # of metrics.jsonl
    results: dict[str, Any]  # {} where the run was not tested
    outputs: list[OutputScores] = field(default_factory=list)
    videos: list[TestedVideo] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)  # labels of classes that are each other's reversal
    complexity: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def load_histories(folders: Sequence[Path]) -> list[RunHistory]:
    """One of each folder, with names that tell them apart. Raises DataError where one holds no run."""
    resolved = [folder.expanduser().resolve() for folder in folders]
    twice = {folder for folder in resolved if resolved.count(folder) > 1}
    if twice:
        raise DataError(f"{min(twice)} is named twice. Name each run once.")
    names = [folder.name for folder in resolved]
    return [
        load_history(folder, name if names.count(name) == 1 else f"{folder.parent.name}/{name}")
        for folder, name in zip(resolved, names, strict=True)
    ]


def load_history(folder: Path, name: str = "") -> RunHistory:
    """Raises DataError for a folder that is none, holds no run, or holds files that are not what a run writes."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Name the OUTPUT_DIR of a run.")
    history = RunHistory(
        name or folder.name,
        folder,
        _load_settings(folder / "config.yaml"),
        [row for row in read_rows(folder / "metrics.jsonl") if isinstance(row, dict) and "kind" in row],
        _load_results(folder / "results.json"),
        complexity=_load_json(folder / "complexity.json"),
    )
    if not (history.settings or history.rows or history.results):
        raise DataError(f"{folder} contains no run: neither config.yaml, metrics.jsonl nor results.json.")
    if history.results:
        _load_scores(history)
    else:
        history.notes.append("This run was not tested: there is no results.json.")
    if not history.rows:
        history.notes.append("There is no metrics.jsonl: the curves of its training are missing.")
    if not history.complexity:
        history.notes.append(
            "Its complexity was not stored: python tools/complexity.py --cfg RUN/config.yaml counts it."
        )
    if history.results and "environment" not in history.results:
        history.notes.append("The machine and versions of its test were not stored.")
    return history


def _load_settings(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        tree = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as fault:
        raise DataError(f"{path} cannot be read as a config: {type(fault).__name__}.") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path} contains no keys and values.")
    return dict(_flat(tree))


def _flat(tree: dict, prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        is_section = isinstance(value, dict) and value
        pairs += _flat(value, f"{prefix}{key}.") if is_section else [(f"{prefix}{key}", str(value))]
    return pairs


def _load_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as fault:
        raise DataError(f"{path} cannot be read as JSON: {type(fault).__name__}.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} contains no JSON object.")
    return content


def _load_results(path: Path) -> dict[str, Any]:
    """results.json, whose containers are what a test writes. Raises DataError."""
    results = _load_json(path)
    for key, kind in _CONTAINERS.items():
        if not isinstance(results.get(key) or kind(), kind):
            raise DataError(f"{path} is not what a test writes: {key} is no {kind.__name__}.")
    if rounding := results.get("rounding"):
        numbers = [rounding.get(key) for key in ("num_clips", "largest_change", "num_changed_answers")]
        if "precision" not in rounding or not all(isinstance(number, int | float) for number in numbers):
            raise DataError(f"{path} is not what a test writes: rounding lacks some of its numbers.")
    return results


def _load_scores(history: RunHistory) -> None:
    path = history.folder / "scores.npz"
    if not path.is_file():
        history.notes.append("There is no scores.npz: intervals, confusions and wrong predictions are left out.")
        return
    try:
        arrays = load_npz(path)
        if "video_id" not in arrays or ("scores" not in arrays and not _output_names(arrays)):
            history.notes.append("Its scores.npz is of another task than classification: only its numbers are shown.")
            return
        history.outputs = [_output(arrays, name, history.results) for name in _output_names(arrays) or [""]]
        history.videos = _videos(arrays)
        pairs = arrays.get("reversed_pairs", np.zeros((0, 2), np.int64)).reshape(-1, 2)
        num_classes = len(history.outputs[0].class_names)
        history.pairs = [(int(a), int(b)) for a, b in pairs if min(a, b) >= 0 and max(a, b) < num_classes]
        for output in history.outputs:
            _check_output(output, len(history.videos))
    except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as fault:
        raise DataError(f"{path} was not written by a test ({type(fault).__name__}: {fault}).") from None
    if history.videos and not any(video.path for video in history.videos):
        history.notes.append("The paths of its videos were not stored, so no clips are shown: test it again.")


def _output_names(arrays: dict[str, np.ndarray]) -> list[str]:
    return [name.removeprefix("scores_") for name in arrays if name.startswith("scores_")]


def _output(arrays: dict[str, np.ndarray], name: str, results: dict[str, Any]) -> OutputScores:
    behind = f"_{name}" if name else ""
    scores, labels = arrays[f"scores{behind}"], arrays[f"label{behind}"]
    if scores.dtype.kind != "f" or labels.dtype.kind not in "iu":
        raise ValueError(f"scores are {scores.dtype}, labels {labels.dtype}")
    if f"class_names{behind}" in arrays:
        names = [str(text) for text in arrays[f"class_names{behind}"]]
    else:
        values = results["outputs"][name] if name else results
        names = [str(entry["name"]) for entry in values["per_class"]]
    return OutputScores(name, names, scores.astype(np.float64), labels.astype(np.int64))


def _check_output(output: OutputScores, num_videos: int) -> None:
    """Raises ValueError."""
    if output.scores.shape != (num_videos, len(output.class_names)) or output.labels.shape != (num_videos,):
        raise ValueError(
            f"{counted(num_videos, 'video')}, {counted(len(output.class_names), 'class')}, scores {output.scores.shape}"
        )
    if num_videos and not (output.labels.min() >= 0 and output.labels.max() < len(output.class_names)):
        raise ValueError("a label that no class has")


def _videos(arrays: dict[str, np.ndarray]) -> list[TestedVideo]:
    ids = [str(text) for text in arrays["video_id"]]
    paths = [str(text) for text in arrays["video_path"]] if "video_path" in arrays else [""] * len(ids)
    spans: list[Any] = arrays["span"].tolist() if "span" in arrays else [[np.nan, np.nan]] * len(ids)
    return [
        TestedVideo(video_id, path, None if np.isnan(begin) else (begin, end))
        for video_id, path, (begin, end) in zip(ids, paths, spans, strict=True)
    ]
