"""What a table's runs say: each row's figures over seeds, each difference to the reference and each of the papers'
claims over the same seeds and videos, with Holm's correction over all of a metric's comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from slowfast_gta.errors import RunError
from slowfast_gta.experiments.marks import VIDEOS, values_of
from slowfast_gta.experiments.order import SeedOrder, order_of
from slowfast_gta.experiments.outcomes import Outcome, figure_of
from slowfast_gta.experiments.rates import RateChoice
from slowfast_gta.experiments.statistics import (
    CONFIDENCE,
    Difference,
    Estimate,
    bootstrap_difference,
    bootstrap_estimate,
    estimate,
    holm,
    paired_difference,
)

BY_SEED = Mapping[int, Outcome]


@dataclass(frozen=True)
class Question:
    """What is asked of runs. `papers`: {row: the paper's figure}. `reference`: what each other row is compared with.
    `claims`: (above, below) by the papers. `blind`: rows that cannot see the order of frames. `intervals`: t, over
    seeds, or bootstrap, over videos."""

    title: str
    source: str
    metrics: Sequence[str]
    seeds: Sequence[int]
    reference: str
    papers: Mapping[str, float | None] = field(default_factory=dict)
    claims: Sequence[tuple[str, str]] = ()
    blind: Sequence[str] = ()
    intervals: str = "t"
    note: str = ""


@dataclass(frozen=True)
class RowResult:
    """One row. `figures`: {metric: its estimate}, none without a seed. `missing`: seeds that are not finished.
    `order`: of each seed, where both directions were tested. `choice`: of its learning rate, where one was made."""

    name: str
    paper: float | None
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    figures: Mapping[str, Estimate]
    gmacs: float | None
    params_m: float | None
    seconds: float | None  # the mean over seeds
    cpu_seconds: float | None
    num_videos: int | None
    order: tuple[SeedOrder, ...]
    choice: RateChoice | None


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
        """above | below | not significant | one seed | no seed in common | same in every seed."""
        if self.difference is None:
            return "no seed in common"
        value = self.difference.estimate
        if self.adjusted is None:
            return "one seed" if value.n < 2 else "same in every seed"
        if self.adjusted > 1 - CONFIDENCE:
            return "not significant"
        return "above" if value.mean > 0 else "below"

    @property
    def agreement(self) -> str:
        """Of a claim: agrees | disagrees | open; "" of what the papers do not claim."""
        if not self.claimed:
            return ""
        return {"above": "agrees", "below": "disagrees"}.get(self.verdict, "open")


@dataclass(frozen=True)
class TableResult:
    """`chosen_rates`: each row has the learning rate that validation chose."""

    title: str
    source: str
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: tuple[RowResult, ...]
    intervals: str
    comparisons: tuple[Comparison, ...] = field(default=())
    blind: tuple[str, ...] = ()
    chosen_rates: bool = False
    note: str = ""
    machines: tuple[str, ...] = ()  # what the runs were made on

    @property
    def not_blind(self) -> tuple[str, ...]:
        """Rows that should be blind to order, and are not in every seed: a fault, of the table or of the network."""
        return tuple(
            row.name for row in self.rows if row.name in self.blind and not all(item.exact for item in row.order)
        )


def compare_rows(
    question: Question, outcomes: Mapping[str, BY_SEED], choices: Mapping[str, RateChoice] | None = None
) -> TableResult:
    """`outcomes`: {row: {seed: outcome}}; `choices`: of learning rates, {row: choice}, where the runs are those chosen.

    Raises RunError where results lack a metric or, for the bootstrap, what each video counts for it.
    """
    rows = tuple(_row(question, name, by_seed, (choices or {}).get(name)) for name, by_seed in outcomes.items())
    claims = list(question.claims)
    pairs = [(name, question.reference) for name in outcomes if name != question.reference]
    pairs = list(dict.fromkeys([*(pair for pair in pairs if pair[::-1] not in claims), *claims]))
    comparisons: list[Comparison] = []
    for metric in question.metrics:
        differences = [_difference(question.intervals, metric, outcomes[a], outcomes[b]) for a, b in pairs]
        adjusted = holm([difference.p if difference else None for difference in differences])
        for (first, second), difference, p in zip(pairs, differences, adjusted, strict=True):
            paper = _paper_difference(question.papers.get(first), question.papers.get(second))
            comparisons.append(Comparison(metric, first, second, difference, p, paper, (first, second) in claims))
    return TableResult(
        question.title,
        question.source,
        tuple(question.metrics),
        tuple(question.seeds),
        rows,
        question.intervals,
        tuple(comparisons),
        tuple(question.blind),
        choices is not None,
        question.note,
        tuple(sorted({_machine_of(outcome) for by_seed in outcomes.values() for outcome in by_seed.values()} - {""})),
    )


def _row(question: Question, name: str, by_seed: BY_SEED, choice: RateChoice | None) -> RowResult:
    ordered = [by_seed[seed] for seed in sorted(by_seed)]
    figures = {metric: _estimate(question.intervals, ordered, metric) for metric in question.metrics if ordered}
    cost: Mapping[str, float] = ordered[0].cost if ordered else {}
    return RowResult(
        name,
        question.papers.get(name),
        tuple(sorted(by_seed)),
        tuple(seed for seed in question.seeds if seed not in by_seed),
        figures,
        cost.get("gmacs"),
        cost.get("params_m"),
        _mean([item.seconds for item in ordered]),
        _mean([item.cpu_seconds for item in ordered]),
        ordered[0].results.get("num_videos") if ordered else None,
        tuple(order for order in map(order_of, ordered) if order is not None),
        choice,
    )


def _estimate(intervals: str, ordered: Sequence[Outcome], metric: str) -> Estimate:
    figures = [figure_of(item, metric) for item in ordered]
    return bootstrap_estimate(_of_videos(ordered, metric)) if intervals == "bootstrap" else estimate(figures)


def _difference(intervals: str, metric: str, ours: BY_SEED, theirs: BY_SEED) -> Difference | None:
    common = sorted(set(ours) & set(theirs))
    if not common:
        return None
    first, second = [ours[seed] for seed in common], [theirs[seed] for seed in common]
    if intervals == "bootstrap":
        of_videos = _of_videos([*first, *second], metric)
        return bootstrap_difference(of_videos[: len(common)], of_videos[len(common) :])
    return paired_difference(*([figure_of(item, metric) for item in of] for of in (first, second)))


def _of_videos(runs: Sequence[Outcome], metric: str) -> np.ndarray:
    """(runs, V) what each video counts, percent, of the videos that count for `metric`."""
    marks = [values_of(run.marks, metric) for run in runs]
    rows = [values for values in marks if values is not None]
    if len(rows) < len(runs):
        seeds = ", ".join(str(run.seed) for run, values in zip(runs, marks, strict=True) if values is None)
        raise RunError(
            f"A bootstrap needs what each video counts for {metric}, which is not known of seeds {seeds}. It is known "
            "of top1, pairs.choice and order.both_ways where scores.npz is whole; for others, take intervals by t."
        )
    if len({run.marks[VIDEOS] for run in runs}) > 1:
        raise RunError("A bootstrap needs the same test videos in all runs, and these were tested on different ones.")
    of_videos = np.stack(rows)
    return of_videos[:, np.isfinite(of_videos).all(0)]


def _machine_of(outcome: Outcome) -> str:
    """Processor, threads, versions; "" where the results do not say."""
    machine = outcome.results.get("environment")
    if not isinstance(machine, Mapping):
        return ""
    line = f"{machine.get('processor')}, {machine.get('threads')} threads a run, PyTorch {machine.get('PyTorch')}"
    return f"{line}, {outcome.date}" if outcome.date else line


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _paper_difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else round(first - second, 4)
