"""The best of a table's learning rates for each row, chosen by validation and never by the test videos.

A shared recipe favours the row that it was made for. So each row is trained with each rate, by the table's choosing
seeds; the rate with the highest validation top-1, averaged over them, is the row's, and is then run with all seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slowfast_gta.errors import RunError
from slowfast_gta.experiments.outcomes import Outcome
from slowfast_gta.experiments.plan import PlannedRun


@dataclass(frozen=True)
class RateChoice:
    """`rate`: the chosen one. `validation`: {learning rate: top-1 on validation, mean over `seeds`}."""

    rate: float
    validation: Mapping[float, float]
    seeds: tuple[int, ...]


def choose_rates(trials: Sequence[PlannedRun], outcomes: Mapping[str, Outcome]) -> dict[str, RateChoice]:
    """{row: its choice}, without rows whose `trials` are not all finished. Of equal rates, the one tried first.

    `outcomes`: by digest. Raises RunError where a run was never evaluated on validation.
    """
    by_rate: dict[str, dict[float, list[float]]] = {}
    for run in trials:
        scores = by_rate.setdefault(run.row, {}).setdefault(run.rate, [])
        if run.digest in outcomes:
            scores.append(_validation_top1(run, outcomes[run.digest]))
    seeds = tuple(sorted({run.seed for run in trials}))
    choices = {}
    for row, of_rate in by_rate.items():
        if all(len(scores) == len(seeds) for scores in of_rate.values()):
            means = {rate: sum(scores) / len(scores) for rate, scores in of_rate.items()}
            choices[row] = RateChoice(max(means, key=lambda rate: means[rate]), means, seeds)
    return choices


def _validation_top1(run: PlannedRun, outcome: Outcome) -> float:
    if "top1" not in outcome.validation:
        raise RunError(
            f"{run.row}, seed {run.seed}, was never evaluated on the validation split, so no learning rate can "
            "be chosen by it. "
            "Set TRAIN.EVAL_PERIOD so that its last epoch is evaluated, or leave LEARNING_RATES out."
        )
    return float(outcome.validation["top1"])
