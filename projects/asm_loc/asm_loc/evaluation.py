"""From a network and a split to detections, mAP, tables, and what pictures need."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from slowfast_gta.engine.task import Evaluation
from slowfast_gta.errors import DataError, counted
from slowfast_gta.loading.batch import BadVideo

from .average_precision import APResult, mean_average_precision
from .datasets import VideoSet
from .detections import results_of
from .loading import TestLoader
from .network import ASMLoc
from .refinement import VideoOutput, run_on_video, segments_of
from .segments import Segments
from .settings import Settings


@dataclass(frozen=True)
class Signals:
    """What a picture shows of one video: seconds between rows (R + 1,), A_f (R,), CAS (classes, R), proposals."""

    edges: np.ndarray
    attention: np.ndarray
    classes: np.ndarray
    cas: np.ndarray
    proposals: Segments


@dataclass
class Found:
    """What one process, or all, found."""

    detections: dict[str, Segments] = field(default_factory=dict)
    scores: dict[str, np.ndarray] = field(default_factory=dict)  # video scores (K,)
    signals: dict[str, Signals] = field(default_factory=dict)
    bad: list[BadVideo] = field(default_factory=list)

    @classmethod
    def merge(cls, parts: Sequence["Found"]) -> "Found":
        """All of it, in the order of names."""
        merged = cls()
        for name in ("detections", "scores", "signals"):
            everything = {key: value for part in parts for key, value in getattr(part, name).items()}
            setattr(merged, name, dict(sorted(everything.items())))
        merged.bad = sorted(item for part in parts for item in part.bad)
        return merged


def find(
    network: ASMLoc,
    loader: TestLoader,
    proposals: dict[str, Segments] | None,
    settings: Settings,
    num_pictures: int = 0,
) -> Found:
    """Detections of a network, in evaluation mode, on this process's videos."""
    found, truth = Found(), loader.videos.truth()
    for index in loader:
        name = loader.videos.videos[index].video
        try:
            features = loader.videos.features(index)
        except (DataError, OSError) as error:
            found.bad.append(BadVideo(name, str(error), name, timed_out=False))
            found.detections[name] = Segments.empty()
            continue
        given = None if proposals is None else proposals[name]
        output = run_on_video(network, features, given, settings)
        detected = segments_of(output, features, settings, settings.proposals.detection_sweeps)
        found.detections[name], found.scores[name] = detected, output.scores.video
        if index < num_pictures:
            shown = Segments.concat([detected, truth[name]]).classes()
            found.signals[name] = signals_of(output, features.timeline.to_seconds, given, shown)
    return found


def signals_of(
    output: VideoOutput, to_seconds: Callable[[np.ndarray], np.ndarray], given: Segments | None, classes: np.ndarray
) -> Signals:
    """What a picture shows of an output: CAS of `classes`, at the seconds of its rows; `given`: its proposals."""
    row_map = output.example.row_map
    edges = to_seconds(row_map.snippets(np.arange(row_map.num_rows + 1)))
    cas = output.scores.cas[:, classes].T
    return Signals(edges, output.scores.attention, classes, cas, Segments.empty() if given is None else given)


def evaluation_of(
    found: Found, videos: VideoSet, thresholds: Sequence[float], settings: Settings, facts: dict
) -> Evaluation:
    """mAP over the videos that have features, and over all that are annotated; video-level accuracy."""
    result = mean_average_precision(videos.truth(), found.detections, thresholds)
    results = {**facts, **videos.counts(), "num_missing": len(found.bad), **results_of(result)}
    if results["num_instances_without_features"]:
        everything = mean_average_precision(videos.truth(with_missing=True), found.detections, thresholds)
        results["with_videos_without_features"] = results_of(everything)
    accuracy = video_accuracy(found, videos, settings.proposals.class_threshold)
    results |= {
        "video_accuracy": accuracy,
        "classes": videos.classes,
        "missing": {b.video_id: b.reason for b in found.bad},
    }
    have_truth = len(result.classes) > 0
    metrics = {"score": results["mAP"] if have_truth else accuracy, "video_accuracy": accuracy}
    if have_truth:
        metrics |= {"mAP": results["mAP"]} | {f"mAP@{t}": v for t, v in results["mAP_per_tiou"].items()}
    return Evaluation(
        results,
        arrays_of(found, videos, result),
        metrics,
        _summary(results, have_truth),
        remarks=(videos.summary(),) if videos.missing else (),
        bad_videos=tuple(found.bad),
    )


def video_accuracy(found: Found, videos: VideoSet, threshold: float) -> float:
    """Per cent of the videos read of which exactly the true classes score `threshold` or more."""
    table = dict(zip((a.video for a in videos.videos), videos.labels().astype(bool), strict=True))
    right = [np.array_equal(scores >= threshold, table[name]) for name, scores in found.scores.items()]
    return 100 * float(np.mean(right)) if right else 0.0


def _summary(results: dict, have_truth: bool) -> str:
    text = f"all labels right in {results['video_accuracy']:.1f} % of {counted(results['num_videos'], 'video')}"
    if not have_truth:
        return text
    at = {t: f"{v:.1f}" for t, v in results["mAP_per_tiou"].items()}
    middle = f", {at['0.5']} at tIoU 0.5" if "0.5" in at else ""
    over = results["mAP_averaged_over"]
    return f"mAP {results['mAP']:.2f} % averaged over tIoU {over[0]:g} to {over[-1]:g}{middle}, {text}"


def arrays_of(found: Found, videos: VideoSet, result: APResult) -> dict[str, np.ndarray]:
    """scores.npz: video scores, all detections as columns, average precision, and the signals of pictured videos."""
    names = list(found.detections)
    arrays = {"video_id": np.array(names, str), "class_names": np.array(videos.classes, str)}
    empty = np.full(len(videos.classes), np.nan)
    arrays["scores"] = np.stack([found.scores.get(name, empty) for name in names]) if names else np.empty((0, 0))
    arrays |= _columns("detection", found.detections, names)
    arrays |= _columns("truth", {n: t for n, t in videos.truth().items() if n in found.detections}, names)
    arrays |= {"ap": result.ap, "ap_classes": result.classes, "tiou": np.array(result.thresholds)}
    arrays |= {"ap_num_instances": result.num_instances, "ap_num_predictions": result.num_predictions}
    for name, signals in found.signals.items():
        number = names.index(name)
        arrays |= {
            f"signal_{number}_{part}": getattr(signals, part) for part in ("edges", "attention", "classes", "cas")
        }
        arrays[f"signal_{number}_proposals"] = np.array(signals.proposals.to_rows()).reshape(-1, 4)
    return arrays


def _columns(kind: str, by_video: dict[str, Segments], names: list[str]) -> dict[str, np.ndarray]:
    """Segments of all videos as columns, with the number of each one's video."""
    present = [name for name in names if name in by_video]
    together = Segments.concat([by_video[name] for name in present])
    lengths = [len(by_video[name]) for name in present]
    video = np.repeat(np.array([names.index(name) for name in present], np.int64), lengths)
    columns = {part: getattr(together, part) for part in ("label", "start", "end", "score")}
    return {f"{kind}_{part}": column for part, column in {"video": video, **columns}.items()}
