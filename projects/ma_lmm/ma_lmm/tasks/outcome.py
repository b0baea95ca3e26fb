"""What answers are worth: the entries of results.json, the arrays of scores.npz, and a sentence. V samples."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ma_lmm.tasks.metrics import anticipation_scores, caption_scores, exact_scores, first_word_scores
from slowfast_gta.engine.task import Evaluation
from slowfast_gta.errors import RunError, counted
from slowfast_gta.loading.batch import BadVideo


class Answered(NamedTuple):
    """What a model answered to a sample: its texts, the best first; `ranks`, of a closed set, all classes in order."""

    id: str
    answers: tuple[str, ...]
    texts: list[str]
    ranks: list[int] | None = None


def evaluation_of(
    task_name: str,
    metric: str,
    answered: Sequence[Answered],
    class_names: Sequence[str],
    bad: Sequence[BadVideo],
    counts: dict[str, int],
) -> Evaluation:
    """All samples' answers -> scores in percent. Raises RunError where there is none."""
    if not answered:
        raise RunError(f"No sample could be read: {len(bad)} missing. {bad[0].reason if bad else ''}")
    answered = sorted(answered)
    scores, remarks = _scores(metric, answered, class_names)
    leading = next(name for name in ("recall5", "cider", "cider_plain", "top1") if name in scores)
    results: dict[str, Any] = {
        "task": task_name,
        **{name: round(value, 4) for name, value in scores.items()},
        "num_samples": len(answered),
        "num_missing": len(bad),
        "final": not bad,
        **counts,
        "missing": {one.video_id: one.reason for one in sorted(bad)},
        "answers": {one.id: one.texts[0] for one in answered},
    }
    width = max(len(one.texts) for one in answered)
    arrays = {
        "sample_id": np.array([one.id for one in answered]),
        "answer": np.array([one.answers[0] for one in answered]),
        "texts": np.array([one.texts + [""] * (width - len(one.texts)) for one in answered]),
    }
    summary = (
        ", ".join(f"{name} {value:.2f}" for name, value in scores.items()) + f", {counted(len(answered), 'sample')}"
    )
    summary = f"NOT FINAL, {counted(len(bad), 'sample')} missing: {summary}" if bad else summary
    metrics = {"score": scores[leading], **scores, "num_samples": len(answered), "num_missing": len(bad)}
    return Evaluation(results, arrays, metrics, summary, tuple(remarks), tuple(bad))


def _scores(
    metric: str, answered: Sequence[Answered], class_names: Sequence[str]
) -> tuple[dict[str, float], list[str]]:
    texts = [one.texts for one in answered]
    if metric == "captions":
        return caption_scores([beams[0] for beams in texts], [one.answers for one in answered])
    if metric == "anticipation":
        number_of = {name: number for number, name in enumerate(class_names)}
        labels = np.array([number_of[one.answers[0]] for one in answered])
        return anticipation_scores(np.array([one.ranks for one in answered]), labels), []
    count = {"exact": exact_scores, "first_word": first_word_scores}[metric]
    return count(texts, [one.answers[0] for one in answered]), []
