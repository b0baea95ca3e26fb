"""Random scores on the same shots: what any result has to be compared with, since good shots alone come close."""

import numpy as np

from a2summ.metrics.fscore import f1_of_users
from a2summ.shots.choose import Timeline, choose_shots, summary_frames


def chance_f1(
    timeline: Timeline, user_summaries: np.ndarray, budget: float = 0.15, num_draws: int = 20, seed: int = 0
) -> dict[str, float]:
    """{"f1_max", "f1_mean"}: means over `num_draws` draws of uniform scores a frame, chosen with the same knapsack."""
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(num_draws):
        chosen = choose_shots(generator.uniform(size=len(timeline.picks)), timeline, budget)
        draws.append(f1_of_users(summary_frames(chosen, timeline), user_summaries))
    return {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}
