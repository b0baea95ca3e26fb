"""How sure a figure is, over the videos that it was measured on: bootstrap intervals.

Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979: videos are drawn anew with replacement, as many as
there are, and the figure is computed of each draw; its 2.5 % and 97.5 % quantiles are the interval. It says how much
another test set of that size would move the figure, not what another training (seed) would.

Legend: V videos, K classes.
"""

from collections.abc import Sequence

import numpy as np

from slowfast_gta.engine.evaluation.metrics import hits, pair_choices
from slowfast_gta.reports.history import OutputScores

NUM_DRAWS = 1000
Interval = tuple[float, float, float]  # the figure, and its interval's ends; percent


def bootstrap_intervals(
    output: OutputScores, pairs: Sequence[tuple[int, int]] = (), num_draws: int = NUM_DRAWS, seed: int = 0
) -> dict[str, Interval]:
    """{"top1", "top5", "mean_class_accuracy", "pairs" where there are any}: figure and 95 % interval, percent."""
    if not len(output.labels):
        return {}
    num_videos = len(output.labels)
    choices = pair_choices(output.scores, output.labels, pairs)
    in_pairs = np.isfinite(choices)
    top1, top5 = (hits(output.scores, output.labels, k) for k in (1, 5))

    def figures(weights: np.ndarray) -> list[float]:
        """`weights` (V,): how often each video was drawn."""
        counts = np.bincount(output.labels, weights, len(output.class_names))
        right = np.bincount(output.labels, weights * top1, len(output.class_names))
        of_pairs = weights[in_pairs].sum()
        return [
            100 * float(weights @ top1) / num_videos,
            100 * float(weights @ top5) / num_videos,
            100 * float((right[counts > 0] / counts[counts > 0]).mean()),
            100 * float(weights[in_pairs] @ choices[in_pairs]) / of_pairs if of_pairs else np.nan,
        ]

    generator = np.random.default_rng(seed)
    draws = np.array(
        [
            figures(np.bincount(generator.integers(num_videos, size=num_videos), minlength=num_videos).astype(float))
            for _ in range(num_draws)
        ]
    )
    whole = figures(np.ones(num_videos))
    names = ["top1", "top5", "mean_class_accuracy", *(["pairs"] if in_pairs.any() else [])]
    ends = np.nanquantile(draws[:, : len(names)], (0.025, 0.975), axis=0).T
    return {name: (whole[at], float(ends[at, 0]), float(ends[at, 1])) for at, name in enumerate(names)}
