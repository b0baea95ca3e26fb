"""F1 of a summary with the summaries of several users, on original frames."""

import numpy as np


def f1_of_users(summary: np.ndarray, user_summaries: np.ndarray) -> dict[str, float]:
    """bool (n,) and (U, n') of 0/1 -> {"f1_max", "f1_mean"} over the users, in percent.

    The summary is cut, or padded with zeros, to the users' length. Without overlap F1 is 0. SumMe is reported by the
    maximum, TVSum by the mean.
    """
    users = np.asarray(user_summaries) > 0.5
    fitted = np.zeros(users.shape[1], bool)
    shared = min(len(summary), len(fitted))
    fitted[:shared] = np.asarray(summary, bool)[:shared]
    overlap = (users & fitted).sum(1)
    total = users.sum(1) + fitted.sum()
    scores = 100 * 2 * overlap / np.maximum(total, 1)
    return {"f1_max": float(scores.max()), "f1_mean": float(scores.mean())}
