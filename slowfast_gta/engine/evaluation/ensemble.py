"""The weighted mean of several runs' scores of the same videos.

Legend: V videos, K classes; with several outputs (verb, noun), of all of them side by side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_gta.class_names import ClassNames, by_output, difference, fingerprint
from slowfast_gta.engine.evaluation.results import result_arrays, summarize, write_results
from slowfast_gta.engine.evaluation.score import Scores
from slowfast_gta.errors import ConfigError, DataError, RunError, counted
from slowfast_gta.plain_arrays import load_npz


@dataclass(frozen=True)
class TestedRun:
    """A scores.npz."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    path: Path
    per_video: Scores
    class_names: ClassNames
    names_are_given: bool  # False: an older file, whose classes are "class 0", "class 1", ...
    pairs: list[tuple[int, int]]  # classes that are each other's reversal


def load_run(path: str | Path) -> TestedRun:
    """The scores.npz at `path`, or in the folder `path`. Raises RunError where it is none, or not whole."""
    path = Path(path) / "scores.npz" if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise RunError(f"There is no file {path}. A test writes its scores.npz to OUTPUT_DIR.")
    try:
        return _run_of(path, load_npz(path))
    except DataError as fault:
        raise RunError(f"{fault} It must be the scores.npz of a test.") from None
    except KeyError as fault:
        raise RunError(f"{path} has no {fault.args[0]}: it is not the scores.npz of a test.") from None
    except (ValueError, TypeError, IndexError, ArithmeticError) as fault:
        raise RunError(f"{path} cannot be read as the scores.npz of a test: {fault}.") from None


def _run_of(path: Path, arrays: dict[str, np.ndarray]) -> TestedRun:
    """Raises KeyError for what is missing, ValueError for what is not as `result_arrays` makes it."""
    outputs = [name.removeprefix("scores_") for name in arrays if name.startswith("scores_")]
    suffixes = [f"_{output}" for output in outputs] or [""]
    scores = [arrays[f"scores{suffix}"] for suffix in suffixes]
    labels = [arrays[f"label{suffix}"] for suffix in suffixes]
    video_ids = arrays["video_id"].tolist()
    for suffix, table, of_output in zip(suffixes, scores, labels, strict=True):
        if table.ndim != 2 or table.dtype.kind != "f" or len(table) != len(video_ids) or not table.size:
            raise ValueError(f"scores{suffix} are {table.dtype} {table.shape}, of {counted(len(video_ids), 'video')}")
        if of_output.shape != (len(table),) or of_output.dtype.kind not in "iu":
            raise ValueError(
                f"label{suffix} are {of_output.dtype} {of_output.shape}, of {counted(len(video_ids), 'video')}"
            )
        if of_output.min() < 0 or of_output.max() >= table.shape[1]:
            raise ValueError(f"label{suffix} are not all below {table.shape[1]}, the number of classes")
    if len(set(video_ids)) != len(video_ids):
        raise ValueError("a video is in it twice")
    given = all(f"class_names{suffix}" in arrays for suffix in suffixes)
    sizes = [table.shape[1] for table in scores]
    names = [_class_names(arrays, suffix, size) for suffix, size in zip(suffixes, sizes, strict=True)]
    missing = arrays.get("missing", np.array([], str)).tolist()
    per_video = Scores(
        [str(video_id) for video_id in video_ids],
        np.concatenate(scores, axis=1),
        np.stack(labels, axis=1) if outputs else labels[0],
        int(arrays.get("num_views", 1)),
        {str(video_id): f"it is missing in {path}" for video_id in missing},
    )
    pairs = [(int(first), int(other)) for first, other in arrays.get("reversed_pairs", [])]
    return TestedRun(path, per_video, dict(zip(outputs, names, strict=True)) if outputs else names[0], given, pairs)


def _class_names(arrays: dict[str, np.ndarray], suffix: str, size: int) -> list[str]:
    names = arrays.get(f"class_names{suffix}", np.array([f"class {label}" for label in range(size)]))
    if names.shape != (size,) or names.dtype.kind != "U":
        raise ValueError(f"class_names{suffix} are {names.dtype} {names.shape}, for {size} classes")
    return names.tolist()


def check_same_test(runs: Sequence[TestedRun]) -> None:
    """Raises RunError unless all runs are tests of the same videos, labels and classes, with finite scores."""
    first = runs[0]
    for run in runs:
        broken = ~np.isfinite(run.per_video.scores).all(1)
        if broken.any():
            video_id = run.per_video.video_ids[int(broken.argmax())]
            raise RunError(
                f"{run.path}: the scores of {counted(broken.sum(), 'video')} are non-finite (the first: {video_id})."
            )
    for run in runs[1:]:
        if what := _difference(first, run):
            raise RunError(
                f"{first.path} and {run.path} cannot be averaged, since they are tests of different things: {what}."
            )


def _difference(first: TestedRun, run: TestedRun) -> str | None:
    """What the two were asked differently."""
    sizes = [{output: len(names) for output, names in by_output(each.class_names).items()} for each in (first, run)]
    if sizes[0] != sizes[1]:
        return f"their classes are {_as_text(sizes[0])} and {_as_text(sizes[1])}"
    if what := difference(first.class_names, run.class_names, ("in the one", "in the other")):
        return f"{what} (fingerprints {fingerprint(first.class_names)} and {fingerprint(run.class_names)})"
    asked = [{*each.per_video.video_ids, *each.per_video.missing} for each in (first, run)]
    if asked[0] != asked[1]:
        only = [sorted(asked[0] - asked[1]), sorted(asked[1] - asked[0])]
        return (
            f"videos only in the first: {len(only[0])}, only in the second: {len(only[1])} (for example "
            f"{(only[0] or only[1])[0]})"
        )
    ours, theirs = (
        dict(zip(each.per_video.video_ids, each.per_video.labels.tolist(), strict=True)) for each in (first, run)
    )
    unlike = [video_id for video_id, label in ours.items() if theirs.get(video_id, label) != label]
    if unlike:
        video_id = unlike[0]
        return (
            f"unequal labels of {counted(len(unlike), 'video')} "
            f"(the first: {video_id}, {ours[video_id]} and {theirs[video_id]})"
        )
    return None


def _as_text(sizes: dict[str, int]) -> str:
    return ", ".join(f"{count} {output}".strip() for output, count in sizes.items())


def average(runs: Sequence[TestedRun], weights: Sequence[float]) -> Scores:
    """The weighted mean, for the videos that every run has scored; the others are missing."""
    check_same_test(runs)
    missing = {video_id: reason for run in reversed(runs) for video_id, reason in run.per_video.missing.items()}
    video_ids = sorted(video_id for video_id in runs[0].per_video.video_ids if video_id not in missing)
    positions = [{video_id: position for position, video_id in enumerate(run.per_video.video_ids)} for run in runs]
    rows = [[position[video_id] for video_id in video_ids] for position in positions]
    total: Any = sum(
        weight / sum(weights) * run.per_video.scores[row].astype(np.float64)
        for run, row, weight in zip(runs, rows, weights, strict=True)
    )
    num_views = sum(run.per_video.num_views for run in runs)
    return Scores(video_ids, total.astype(np.float32), runs[0].per_video.labels[rows[0]], num_views, missing)


def average_files(paths: Sequence[str], weights: Sequence[float], output_dir: Path) -> dict:
    """Average the runs at `paths` and write results.json and scores.npz into `output_dir`, as a test does.

    Returns what is in results.json. Raises ConfigError for weights that are none and for a folder that is a run's.
    """
    if len(weights) != len(paths) or not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ConfigError(f"--weights must be a number above 0 for each of the {len(paths)} runs, not {list(weights)}.")
    runs = [load_run(path) for path in paths]
    own = [run.path.resolve() for run in runs]
    if len(set(own)) < len(own):
        raise ConfigError("The same scores.npz is named twice. Use --weights to give a run more weight.")
    if any(path.parent == output_dir.resolve() for path in own):
        raise ConfigError(
            f"--output {output_dir} is the folder of one of the runs, whose results would be overwritten."
        )
    averaged = average(runs, weights)
    named = next((run for run in runs if run.names_are_given), runs[0])
    members = []
    for run, weight in zip(runs, weights, strict=True):
        top1 = summarize(run.per_video, run.class_names, [])["top1"]
        members.append({"scores": str(run.path), "weight": weight, "top1": top1, "num_views": run.per_video.num_views})
        members[-1] |= {"num_missing": len(run.per_video.missing), "classes_named": run.names_are_given}
    results = {"split": "test", "ensemble": members} | summarize(averaged, named.class_names, named.pairs)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_results(output_dir, results, result_arrays(averaged, named.class_names, named.pairs))
    return results
