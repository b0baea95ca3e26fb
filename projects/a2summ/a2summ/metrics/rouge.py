"""ROUGE-1, -2 and -Lsum of chosen sentences with a reference text, by the package rouge-score (Porter stemmer)."""

from collections.abc import Sequence

import numpy as np
from rouge_score import rouge_scorer

NAMES = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeLsum": "rougeL"}


def rouge(sentences: Sequence[str], reference: str | Sequence[str]) -> dict[str, float]:
    """F of each, in percent: {"rouge1", "rouge2", "rougeL"}; sentences are joined by newlines.

    The reference comes first, as the package wants it: the release swaps the two, which changes Lsum.
    """
    scorer = rouge_scorer.RougeScorer(list(NAMES), use_stemmer=True)
    target = reference if isinstance(reference, str) else "\n".join(reference)
    scores = scorer.score(target, "\n".join(sentences))
    return {ours: 100 * scores[theirs].fmeasure for theirs, ours in NAMES.items()}


def top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """The indices of the k highest values, ascending; of equal ones the earlier."""
    return np.sort(np.argsort(-np.asarray(logits), kind="stable")[:k])
