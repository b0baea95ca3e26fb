"""What scores are worth: the entries of results.json, the arrays of scores.npz, and a sentence.

Legend: V videos, K classes.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_gta.class_names import ClassNames, fingerprint
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.engine.evaluation.metrics import (
    class_accuracy,
    confusion_matrix,
    joint_topk_accuracy,
    mean_cross_entropy,
    order_accuracy,
    pair_accuracy,
    topk_accuracy,
)
from slowfast_gta.engine.evaluation.score import Scores
from slowfast_gta.errors import RunError, counted
from slowfast_gta.files import whole_file, write_whole


def summarize(per_video: Scores, class_names: ClassNames, pairs: Sequence[tuple[int, int]]) -> dict:
    """The entries of results.json that follow from scores: accuracies in percent, counts, what is missing.

    With several outputs, top1 and top5 are those of their combination, and "outputs" has those of each.
    """
    if not per_video.video_ids:
        reasons = "; ".join(list(per_video.missing.values())[:3])
        raise RunError(f"No video could be scored: {len(per_video.missing)} missing. {reasons}")
    broken = ~np.isfinite(per_video.scores).all(1)
    if broken.any():
        raise RunError(
            f"The network's scores of {counted(broken.sum(), 'video')} are non-finite (the first: "
            f"{per_video.video_ids[int(broken.argmax())]}). Its weights or BatchNorm statistics are broken: test an "
            "earlier checkpoint (TEST.CHECKPOINT_FILE_PATH), or train with a lower SOLVER.BASE_LR."
        )
    counts = {
        "num_videos": len(per_video.video_ids),
        "num_views": per_video.num_views,
        "num_missing": len(per_video.missing),
        "repeated_frames": per_video.repeated_frames,
        **per_video.counts,
        "class_fingerprint": fingerprint(class_names),
        "final": not per_video.missing,
        "missing": dict(sorted(per_video.missing.items())),
    }
    if isinstance(class_names, dict):
        outputs = split_outputs(per_video, class_names)
        scores, labels = [table for table, _ in outputs.values()], per_video.labels
        joint = {f"top{k}": round(joint_topk_accuracy(scores, labels, k), 4) for k in (1, 5)}
        each = {output: _accuracies(*outputs[output], names) for output, names in class_names.items()}
        return joint | counts | {"outputs": each}
    accuracies = _accuracies(per_video.scores, per_video.labels, class_names)
    per_class = accuracies.pop("per_class")
    results = accuracies | counts | {"per_class": per_class}
    pairs = [pair for pair in pairs if np.isin(pair, per_video.labels).any()]  # the others have nothing to say
    if pairs:
        results["pairs"] = pair_accuracy(per_video.scores, per_video.labels, pairs)
        results["per_pair"] = [
            {"names": [class_names[a], class_names[b]], **pair_accuracy(per_video.scores, per_video.labels, [(a, b)])}
            for a, b in pairs
        ]
    return results


def order_results(per_video: Scores, back: Scores, pairs: Sequence[tuple[int, int]]) -> dict:
    """`order_accuracy` of the videos that were scored both forwards and backwards, of one output or several (whose
    classes have no reversal: `pairs` is empty then)."""
    backwards = backwards_scores(per_video, back)
    both = np.isfinite(backwards).all(1)
    labels = per_video.labels[both]
    return order_accuracy(per_video.scores[both], backwards[both], labels if labels.ndim == 1 else labels[:, 0], pairs)


def backwards_scores(per_video: Scores, back: Scores) -> np.ndarray:
    """(V, K): `back` in the order of `per_video`; NaN where a video has no score backwards."""
    there = {video_id: at for at, video_id in enumerate(back.video_ids)}
    missing = np.full(per_video.scores.shape[1], np.nan, per_video.scores.dtype)
    rows = [back.scores[there[video_id]] if video_id in there else missing for video_id in per_video.video_ids]
    return np.stack(rows) if rows else np.empty_like(per_video.scores)


def _accuracies(scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict:
    confusion = confusion_matrix(scores, labels)
    per_class = class_accuracy(confusion)
    return {
        "top1": round(topk_accuracy(scores, labels, 1), 4),
        "top5": round(topk_accuracy(scores, labels, 5), 4),
        "mean_class_accuracy": round(float(np.nanmean(per_class)), 4),
        "per_class": [
            {"name": name, "accuracy": None if np.isnan(value) else round(float(value), 4), "num_videos": int(count)}
            for name, value, count in zip(class_names, per_class, confusion.sum(1), strict=True)
        ],
    }


def split_outputs(per_video: Scores, class_names: dict[str, list[str]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{output: (scores (V, K), labels (V,))}."""
    ends = np.cumsum([len(names) for names in class_names.values()])[:-1]
    scores = np.split(per_video.scores, ends, axis=1)
    return dict(zip(class_names, zip(scores, per_video.labels.T, strict=True), strict=True))


def mean_loss(per_video: Scores, class_names: ClassNames, act: str) -> float:
    """The cross-entropy of one view of each video, as training has it without label smoothing; of several outputs, the
    sum of theirs. `act`: MODEL.HEAD_ACT."""
    outputs = (
        split_outputs(per_video, class_names)
        if isinstance(class_names, dict)
        else {"": (per_video.scores, per_video.labels)}
    )
    return sum(mean_cross_entropy(scores, labels, act) for scores, labels in outputs.values())


def scalar_metrics(results: dict) -> dict:
    """The few numbers of `results` that metrics.jsonl and TensorBoard get."""
    few = {key: value for key, value in results.items() if key in ("loss", "top1", "top5") or key.startswith("num_")}
    few["repeated_frames"] = results["repeated_frames"]
    for output, values in results.get("outputs", {}).items():
        few |= {f"{output}_top1": values["top1"], f"{output}_top5": values["top5"]}
    return few


def format_summary(results: dict) -> str:
    """One line that a person can quote; with videos missing, it begins with their number and NOT FINAL."""
    line = f"loss {results['loss']:.4f}, " if "loss" in results else ""
    line += f"top-1 {results['top1']:.2f} %, top-5 {results['top5']:.2f} %, "
    line += f"{counted(results['num_videos'], 'video')} x {counted(results['num_views'], 'view')}"
    for output, values in results.get("outputs", {}).items():
        line += f"; {output} top-1 {values['top1']:.2f} %, top-5 {values['top5']:.2f} %"
    if "pairs" in results:
        line += f"; inside reversed pairs {results['pairs']['choice']:.2f} %"
    if "both_ways" in results.get("order", {}):
        line += f", of clips counted both ways {results['order']['both_ways']:.2f} %"
    if results["num_missing"]:
        line = f"NOT FINAL, {counted(results['num_missing'], 'video')} missing: {line}"
    return line


def result_arrays(
    per_video: Scores, class_names: ClassNames, pairs: Sequence[tuple[int, int]] = ()
) -> dict[str, np.ndarray]:
    """The arrays of scores.npz.

    video_id (V,), scores (V, K), label (V,), class_names (K,), with several outputs scores_verb and so on;
    class_fingerprint, num_views, reversed_pairs (P, 2), missing: the ids of videos without a score.
    """
    arrays = {"video_id": np.array(per_video.video_ids)}
    if isinstance(class_names, dict):
        for output, (scores, labels) in split_outputs(per_video, class_names).items():
            arrays |= {f"scores_{output}": scores, f"label_{output}": labels}
            arrays |= {f"class_names_{output}": np.array(class_names[output])}
    else:
        arrays |= {"scores": per_video.scores, "label": per_video.labels, "class_names": np.array(class_names)}
    arrays |= {"class_fingerprint": np.array(fingerprint(class_names)), "num_views": np.array(per_video.num_views)}
    arrays |= {"reversed_pairs": np.array(pairs, dtype=np.int64).reshape(-1, 2)}
    return arrays | {"missing": np.array(sorted(per_video.missing), dtype=str)}


def video_arrays(video_ids: Sequence[str], records: Sequence[VideoRecord]) -> dict[str, np.ndarray]:
    """Where the videos are, for whoever looks at them later: video_path (V,); span (V, 2), NaN of a whole video."""
    by_id = {record.video_id: record for record in records}
    ordered = [by_id[video_id] for video_id in video_ids]
    spans = np.array([record.span or (np.nan, np.nan) for record in ordered], dtype=np.float64)
    return {"video_path": np.array([record.path for record in ordered], dtype=str), "span": spans.reshape(-1, 2)}


def write_results(output_dir: Path, results: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """results.json and scores.npz, each whole or not at all."""
    with whole_file(output_dir / "scores.npz") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    write_whole(output_dir / "results.json", json.dumps(results, indent=2))
