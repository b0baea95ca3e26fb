"""Validation and testing, one deterministic path: every view of every video once, the mean over a video's views.

Legend: B views at a time, V videos, K classes; with several outputs (verb, noun), of all of them side by side.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.class_names import ClassNames, fingerprint
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.engine.bad_files import BadFiles, counts_sentence
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.engine.device import Normalize, build_normalize, load_device
from slowfast_gta.engine.evaluation.metrics import (
    class_accuracy,
    confusion_matrix,
    joint_topk_accuracy,
    pair_accuracy,
    topk_accuracy,
)
from slowfast_gta.engine.logging import Progress
from slowfast_gta.engine.outputs import side_by_side
from slowfast_gta.engine.writers import build_writer
from slowfast_gta.errors import RunError
from slowfast_gta.loading.clips import BadVideo
from slowfast_gta.loading.loader import build_test_loader
from slowfast_gta.models.build import build_model
from slowfast_gta.models.fold import fold_batch_norms
from slowfast_gta.models.packed import pack_
from slowfast_gta.models.weights.load import load_weights_for
from slowfast_gta.models.weights.report import WeightsReport

logger = logging.getLogger("slowfast_gta")


@dataclass
class Scores:
    """What a network said of each video. `missing` maps the id of a video that has no score to the reason."""

    video_ids: list[str]
    scores: np.ndarray  # (V, K) mean probability over views
    labels: np.ndarray  # (V,), or (V, outputs)
    num_views: int
    missing: dict[str, str] = field(default_factory=dict)
    repeated_frames: int = 0  # that did not decode; a near one was taken
    counts: dict[str, int] = field(default_factory=dict)  # what became of the videos, as batches have it
    bad_videos: list[BadVideo] = field(default_factory=list)


@torch.no_grad()
def evaluate(model: nn.Module, loader, normalize: Normalize, batch_size: int, num_views: int, title: str) -> Scores:
    """The scores of all videos of `loader`, gathered from all processes; leaves `model` in the mode it was in."""
    was_training = model.training
    model.eval()
    views: dict[str, dict[int, np.ndarray]] = {}
    labels, bad_videos, counts = {}, [], Counter()
    progress = Progress(loader, len(loader), title)
    for batch in progress:
        bad_videos += batch["errors"]
        counts.update(batch["counts"], repeated_frames=batch["num_repeated"], num_alike_clips=batch["num_alike"])
        if batch["frames"] is None:
            continue
        parts = batch["frames"].split(batch_size)
        answers = torch.cat([side_by_side(model(normalize(part))).float() for part in parts]).cpu().numpy()
        rows = zip(batch["video_id"], batch["view_id"].tolist(), batch["label"].tolist(), answers, strict=True)
        for video_id, view_id, label, answer in rows:
            views.setdefault(video_id, {})[view_id] = answer
            labels[video_id] = label
    model.train(was_training)
    return _gather(views, labels, bad_videos, counts, num_views)


def _gather(views: dict, labels: dict, bad_videos: list[BadVideo], counts: Counter, num_views: int) -> Scores:
    """One row for each video that has all its views; what several processes have is joined, nothing counted twice."""
    all_views, all_labels, all_bad, all_counts = {}, {}, [], Counter()
    for part_views, part_labels, part_bad, part_counts in distributed.gather((views, labels, bad_videos, counts)):
        for video_id, answers in part_views.items():
            all_views.setdefault(video_id, {}).update(answers)
        all_labels.update(part_labels)
        all_bad += part_bad
        all_counts.update(part_counts)
    all_missing = {bad.video_id: bad.reason for bad in all_bad}
    for video_id, answers in all_views.items():
        if len(answers) != num_views:
            all_missing.setdefault(video_id, f"only {len(answers)} of its {num_views} views were scored")
    video_ids = sorted(video_id for video_id in all_views if video_id not in all_missing)
    rows = [np.mean([answer for _, answer in sorted(all_views[video_id].items())], axis=0) for video_id in video_ids]
    return Scores(
        video_ids,
        np.stack(rows) if rows else np.zeros((0, 0), np.float32),
        np.array([all_labels[video_id] for video_id in video_ids], dtype=np.int64),
        num_views,
        all_missing,
        all_counts.pop("repeated_frames", 0),
        dict(all_counts),
        all_bad,
    )


def summarize(found: Scores, class_names: ClassNames, pairs: Sequence[tuple[int, int]]) -> dict:
    """The entries of results.json that follow from scores: accuracies in percent, counts, what is missing.

    With several outputs, top1 and top5 are those of their combination, and "outputs" has those of each.
    """
    if not found.video_ids:
        reasons = "; ".join(list(found.missing.values())[:3])
        raise RunError(f"No video could be scored: {len(found.missing)} are missing. {reasons}")
    broken = ~np.isfinite(found.scores).all(1)
    if broken.any():
        raise RunError(
            f"The network's scores of {broken.sum()} videos are not numbers (the first: "
            f"{found.video_ids[int(broken.argmax())]}). Its weights or BatchNorm statistics are broken: test an "
            "earlier checkpoint (TEST.CHECKPOINT_FILE_PATH), or train with a lower SOLVER.BASE_LR."
        )
    counts = {
        "num_videos": len(found.video_ids),
        "num_views": found.num_views,
        "num_missing": len(found.missing),
        "repeated_frames": found.repeated_frames,
        **found.counts,
        "class_fingerprint": fingerprint(class_names),
        "final": not found.missing,
        "missing": dict(sorted(found.missing.items())),
    }
    if isinstance(class_names, dict):
        outputs = split_outputs(found, class_names)
        scores, labels = [one for one, _ in outputs.values()], found.labels
        joint = {f"top{k}": round(joint_topk_accuracy(scores, labels, k), 4) for k in (1, 5)}
        each = {output: _accuracies(*outputs[output], names) for output, names in class_names.items()}
        return joint | counts | {"outputs": each}
    accuracies = _accuracies(found.scores, found.labels, class_names)
    per_class = accuracies.pop("per_class")
    results = accuracies | counts | {"per_class": per_class}
    pairs = [pair for pair in pairs if np.isin(pair, found.labels).any()]  # the others have nothing to say
    if pairs:
        results["pairs"] = pair_accuracy(found.scores, found.labels, pairs)
        results["per_pair"] = [
            {"names": [class_names[a], class_names[b]], **pair_accuracy(found.scores, found.labels, [(a, b)])}
            for a, b in pairs
        ]
    return results


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


def split_outputs(found: Scores, class_names: dict[str, list[str]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{output: (scores (V, K), labels (V,))}."""
    ends = np.cumsum([len(names) for names in class_names.values()])[:-1]
    scores = np.split(found.scores, ends, axis=1)
    return dict(zip(class_names, zip(scores, found.labels.T, strict=True), strict=True))


def headline(results: dict) -> dict:
    """The few numbers of `results` that metrics.jsonl and TensorBoard get."""
    few = {key: value for key, value in results.items() if key in ("top1", "top5") or key.startswith("num_")}
    few["repeated_frames"] = results["repeated_frames"]
    for output, values in results.get("outputs", {}).items():
        few |= {f"{output}_top1": values["top1"], f"{output}_top5": values["top5"]}
    return few


def sentence(results: dict) -> str:
    """One line that a person can quote; with videos missing, it says so and does not call itself final."""
    line = f"top-1 {results['top1']:.2f} %, top-5 {results['top5']:.2f} %, {results['num_videos']} videos"
    line += f" x {results['num_views']} views"
    for output, values in results.get("outputs", {}).items():
        line += f"; {output} top-1 {values['top1']:.2f} %, top-5 {values['top5']:.2f} %"
    if "pairs" in results:
        line += f"; inside reversed pairs {results['pairs']['choice']:.2f} %"
    if results["num_missing"]:
        line = f"NOT FINAL, {results['num_missing']} videos missing: {line}"
    return line


def test(cfg) -> dict | None:
    """Test a checkpoint with all views; writes results.json and scores.npz into OUTPUT_DIR, on the main process."""
    begin = time.perf_counter()
    device = load_device(cfg)
    dataset = build_dataset(cfg, "test")
    loader = build_test_loader(cfg, "test", dataset)
    model = build_model(cfg)
    class_names = dataset.class_names()
    report = load_test_weights(cfg, model, class_names)
    model = pack_(fold_batch_norms(model)).to(device)
    num_views = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    found = evaluate(model, loader, build_normalize(cfg, device), cfg.TEST.BATCH_SIZE, num_views, "testing")
    if not distributed.is_main():
        return None
    BadFiles(cfg.OUTPUT_DIR).add(found.bad_videos)
    results = {"split": "test", "dataset": cfg.TEST.DATASET, "checkpoint": str(report.path)}
    results |= summarize(found, class_names, dataset.reversed_pairs())
    results["seconds"] = round(time.perf_counter() - begin, 2)
    write_results(Path(cfg.OUTPUT_DIR), results, found, class_names, dataset.reversed_pairs())
    writer = build_writer(cfg)
    writer.write("test", 0, headline(results))
    writer.close()
    logger.info("Test: %s.", sentence(results))
    if alike := found.counts.get("num_alike_clips"):
        logger.info("%d clips are the same as another: their videos are too short for so many.", alike)
    if told := counts_sentence(found.counts, found.repeated_frames):
        logger.info("Test: %s.", told)
    for video_id, reason in list(results["missing"].items())[:10]:
        logger.warning("  missing: %s: %s", video_id, reason)
    return results


def load_test_weights(cfg, model: nn.Module, class_names: ClassNames | None = None) -> WeightsReport:
    """Weights of TEST.CHECKPOINT_FILE_PATH, else OUTPUT_DIR's newest, else TRAIN.CHECKPOINT_FILE_PATH; all of them,
    and for `class_names`."""
    path = cfg.TEST.CHECKPOINT_FILE_PATH
    found = list_checkpoints(cfg.OUTPUT_DIR)
    if not path and found:
        path = found[-1][1]
    path = path or cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not path:
        raise RunError(
            f"There is nothing to test: {cfg.OUTPUT_DIR} has no checkpoint, and TEST.CHECKPOINT_FILE_PATH is empty. "
            "Train first (TRAIN.ENABLE True) or name a file of weights."
        )
    return load_weights_for(cfg, model, path, fine_tune=False, class_names=class_names)


def write_results(
    output_dir: Path, results: dict, found: Scores, class_names: ClassNames, pairs: Sequence[tuple[int, int]] = ()
) -> None:
    """results.json and scores.npz, each whole or not at all.

    scores.npz: video_id (V,), scores (V, K), label (V,), class_names (K,), with several outputs scores_verb and so on;
    class_fingerprint, num_views, reversed_pairs (P, 2), missing: the ids of videos without a score.
    """
    arrays = {"scores": found.scores, "label": found.labels, "class_names": np.array(class_names)}
    if isinstance(class_names, dict):
        arrays = {}
        for output, (scores, labels) in split_outputs(found, class_names).items():
            arrays |= {f"scores_{output}": scores, f"label_{output}": labels}
            arrays |= {f"class_names_{output}": np.array(class_names[output])}
    arrays |= {"class_fingerprint": np.array(fingerprint(class_names)), "num_views": np.array(found.num_views)}
    arrays |= {"reversed_pairs": np.array(pairs, dtype=np.int64).reshape(-1, 2)}
    arrays |= {"missing": np.array(sorted(found.missing), dtype=str)}
    temporary = output_dir / "scores.tmp.npz"
    np.savez_compressed(temporary, video_id=np.array(found.video_ids), **arrays)
    temporary.replace(output_dir / "scores.npz")
    temporary = output_dir / "results.tmp"
    temporary.write_text(json.dumps(results, indent=2))
    temporary.replace(output_dir / "results.json")
