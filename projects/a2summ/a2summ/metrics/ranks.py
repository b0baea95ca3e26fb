"""Rank correlation of predicted scores with people's, by named protocol, since papers mean different things by it.

tvsum_ratings      every user's ratings, every 15th frame, against the T scores; mean over users (Otani 2019)
summe_mean_scores  the mean of the users' summaries, every 15th frame, against the T scores
summe_csta         the mean of the users' summaries against the BINARY summary, all frames (as CSTA does)
"""

import warnings

import numpy as np
from scipy import stats

PROTOCOLS = ("tvsum_ratings", "summe_mean_scores", "summe_csta")
_EVERY = 15  # original frames a sampled one


def rank_correlations(predicted: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """(T,), (U, T) -> {"kendall", "spearman", "num_constant"}: tau-b and rho, means over the U references.

    A constant reference (or prediction) has no rank; it is left out and counted. NaN when nothing is left.
    """
    pairs = [_pair(predicted, reference) for reference in references]
    known = np.array([pair for pair in pairs if not np.isnan(pair).any()]).reshape(-1, 2)
    means = known.mean(0) if len(known) else np.full(2, np.nan)
    return {"kendall": float(means[0]), "spearman": float(means[1]), "num_constant": len(pairs) - len(known)}


def _pair(predicted: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        tau = stats.kendalltau(predicted, reference).statistic
        rho = stats.spearmanr(predicted, reference).statistic
    return float(tau), float(rho)


def by_protocol(
    protocol: str, scores: np.ndarray, summary: np.ndarray, user_summaries: np.ndarray, ratings: np.ndarray | None
) -> dict[str, float]:
    """One video's correlations. `scores` (T,), `summary` bool (n,), `user_summaries` (U, n), `ratings` (U', n)."""
    if protocol == "tvsum_ratings":
        if ratings is None:
            raise ValueError("tvsum_ratings needs the users' ratings (ydata-anno.tsv)")
        return rank_correlations(*_same_length(scores, ratings[:, ::_EVERY]))
    mean = np.asarray(user_summaries, np.float64).mean(0, keepdims=True)
    if protocol == "summe_mean_scores":
        return rank_correlations(*_same_length(scores, mean[:, ::_EVERY]))
    if protocol == "summe_csta":
        return rank_correlations(*_same_length(np.asarray(summary, np.float64), mean))
    raise ValueError(f"{protocol}: unknown protocol; it must be one of {', '.join(PROTOCOLS)}")


def _same_length(predicted: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both cut to the shorter length: ceil(n / 15) and T can differ by one."""
    length = min(len(predicted), references.shape[1])
    return predicted[:length], references[:, :length]
