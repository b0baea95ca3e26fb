"""What one seed's test says of the order of time: each clip scored forwards and backwards, and counted both ways."""

from collections.abc import Mapping
from dataclasses import dataclass

from slowfast_gta.experiments.outcomes import Outcome
from slowfast_gta.experiments.statistics import proportion_interval

HALF = 50.0  # percent: what a network that is blind to order has inside pairs, exactly, when clips count both ways


@dataclass(frozen=True)
class SeedOrder:
    """Percent right inside pairs of one seed. `choice`: of clips as they are, with its binomial 95 % interval.
    `largest_difference`: between the scores of a clip and of it backwards; `blind`: no more than float32 makes."""

    seed: int
    choice: float
    low: float
    high: float
    num_videos: int
    both_ways: float
    largest_difference: float
    blind: bool

    @property
    def exact(self) -> bool:
        """Whether equal scores come out as exactly half."""
        return self.blind and self.both_ways == HALF


def order_of(outcome: Outcome) -> SeedOrder | None:
    """None where the run did not test both directions (TEST.BACKWARDS), or its classes are no pairs."""
    order, pairs = outcome.results.get("order"), outcome.results.get("pairs")
    if not isinstance(order, Mapping) or not isinstance(pairs, Mapping) or "both_ways" not in order:
        return None
    low, high = proportion_interval(pairs["choice"], pairs["num_videos"])
    return SeedOrder(
        outcome.seed,
        pairs["choice"],
        low,
        high,
        pairs["num_videos"],
        order["both_ways"],
        order["largest_difference"],
        order["blind"],
    )
