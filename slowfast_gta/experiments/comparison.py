"""What a table's runs say: each row's figures over seeds, each difference to the reference and each of the papers'
claims over the same seeds, with Holm's correction over all of a metric's comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slowfast_gta.experiments.outcomes import Outcome, figure_of
from slowfast_gta.experiments.statistics import CONFIDENCE, Difference, Estimate, estimate, holm, paired_difference

BY_SEED = Mapping[int, Outcome]


@dataclass(frozen=True)
class RowResult:
    """One row. `figures`: {metric: its estimate}, none without a seed. `missing`: seeds that are not finished."""

    name: str
    paper: float | None
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    figures: Mapping[str, Estimate]
    gmacs: float | None
    params_m: float | None
    seconds: float | None  # the mean over seeds
    num_videos: int | None


@dataclass(frozen=True)
class Comparison:
    """`first` over `second`. `adjusted`: p after Holm. `paper`: the papers' difference; `claimed`: they say above."""

    metric: str
    first: str
    second: str
    difference: Difference | None  # None: they have no seed in common
    adjusted: float | None
    paper: float | None
    claimed: bool

    @property
    def verdict(self) -> str:
        """above | below | cannot be told | one seed | no seed in common | same in every seed."""
        if self.difference is None:
            return "no seed in common"
        found = self.difference.estimate
        if found.n < 2:
            return "one seed"
        if self.adjusted is None:
            return "same in every seed"
        if self.adjusted > 1 - CONFIDENCE:
            return "cannot be told"
        return "above" if found.mean > 0 else "below"

    @property
    def agreement(self) -> str:
        """Of a claim: agrees | disagrees | open; "" of what the papers do not claim."""
        if not self.claimed:
            return ""
        return {"above": "agrees", "below": "disagrees"}.get(self.verdict, "open")


@dataclass(frozen=True)
class TableResult:
    title: str
    source: str
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: tuple[RowResult, ...]
    comparisons: tuple[Comparison, ...] = field(default=())


def compare_rows(
    title: str,
    source: str,
    metrics: Sequence[str],
    seeds: Sequence[int],
    outcomes: Mapping[str, BY_SEED],
    papers: Mapping[str, float | None],
    reference: str,
    claims: Sequence[tuple[str, str]] = (),
) -> TableResult:
    """`outcomes`: {row: {seed: outcome}}. Raises RunError where results lack a metric."""
    rows = tuple(_row(name, found, papers.get(name), metrics, seeds) for name, found in outcomes.items())
    pairs = [(name, reference) for name in outcomes if name != reference and (reference, name) not in claims]
    pairs = list(dict.fromkeys([*pairs, *claims]))
    comparisons: list[Comparison] = []
    for metric in metrics:
        differences = [_difference(metric, outcomes[first], outcomes[second]) for first, second in pairs]
        adjusted = holm([found.p if found else None for found in differences])
        for (first, second), found, p in zip(pairs, differences, adjusted, strict=True):
            paper = _paper_difference(papers.get(first), papers.get(second))
            comparisons.append(Comparison(metric, first, second, found, p, paper, (first, second) in claims))
    return TableResult(title, source, tuple(metrics), tuple(seeds), rows, tuple(comparisons))


def _row(name: str, found: BY_SEED, paper: float | None, metrics: Sequence[str], seeds: Sequence[int]) -> RowResult:
    ordered = [found[seed] for seed in sorted(found)]
    figures = {metric: estimate([figure_of(one, metric) for one in ordered]) for metric in metrics} if ordered else {}
    cost: Mapping[str, float] = ordered[0].cost if ordered else {}
    times = [one.seconds for one in ordered if one.seconds is not None]
    return RowResult(
        name,
        paper,
        tuple(sorted(found)),
        tuple(seed for seed in seeds if seed not in found),
        figures,
        cost.get("gmacs"),
        cost.get("params_m"),
        sum(times) / len(times) if times else None,
        ordered[0].results.get("num_videos") if ordered else None,
    )


def _difference(metric: str, ours: BY_SEED, theirs: BY_SEED) -> Difference | None:
    common = sorted(set(ours) & set(theirs))
    if not common:
        return None
    return paired_difference(*([figure_of(of[seed], metric) for seed in common] for of in (ours, theirs)))


def _paper_difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else round(first - second, 4)
