"""Learning rates are chosen by validation, and nothing else."""

import pytest

from slowfast_gta.errors import ConfigError, RunError
from slowfast_gta.experiments.outcomes import Outcome
from slowfast_gta.experiments.plan import build_plan, unique_runs
from slowfast_gta.experiments.rates import choose_rates
from slowfast_gta.experiments.table import load_table

TABLE = """CFG: configs/Synthetic/R2D.yaml
SEEDS: [1, 2, 3]
LEARNING_RATES: [0.002, 0.001, 0.004]
CHOOSING_SEEDS: [1, 2]
ROWS:
  - {NAME: R2D}
  - {NAME: TSM, SET: {TSM.ENABLE: True}}
"""


@pytest.fixture
def table(tmp_path):
    (tmp_path / "table.yaml").write_text(TABLE)
    return load_table(tmp_path / "table.yaml")


@pytest.fixture
def trials(table, tmp_path):
    return build_plan(table, table.choosing, tmp_path, {row.name: table.learning_rates for row in table.rows})


def outcomes_of(trials, validation) -> dict[str, Outcome]:
    """`validation` (row, rate, seed) -> top-1; the test says the opposite."""
    return {
        run.digest: Outcome(run.seed, {"top1": 100 - top1}, {}, {}, None, validation={"top1": top1})
        for run in trials
        if (top1 := validation(run.row, run.rate, run.seed)) is not None
    }


def test_the_best_on_validation_over_the_choosing_seeds(trials):
    """Of the mean, so that one lucky seed does not choose; the test figures, here the other way round, have no part."""
    scores = {("R2D", 0.004, 1): 90, ("R2D", 0.004, 2): 20, ("R2D", 0.001, 1): 60, ("R2D", 0.001, 2): 61}
    choices = choose_rates(trials, outcomes_of(trials, lambda *of: scores.get(of, 50)))
    assert choices["R2D"].rate == 0.001 and choices["R2D"].seeds == (1, 2)
    assert choices["R2D"].validation == {0.002: 50, 0.001: 60.5, 0.004: 55}
    assert choices["TSM"].rate == 0.002  # all alike: the first of the list


def test_a_row_without_all_its_trials_has_no_choice_yet(trials):
    found = outcomes_of(trials, lambda *of: None if of == ("TSM", 0.004, 2) else 50)
    assert list(choose_rates(trials, found)) == ["R2D"]


def test_without_validation_nothing_is_chosen(trials):
    found = outcomes_of(trials, lambda *of: 50)
    found[trials[0].digest].validation.clear()
    with pytest.raises(RunError, match=r"EVAL_PERIOD"):
        choose_rates(trials, found)


def test_each_rate_is_an_ordinary_run_and_that_of_the_recipe_is_made_once(table, trials, tmp_path):
    recipe = build_plan(table, table.seeds, tmp_path)
    assert len(recipe) == 6 and len(trials) == 12
    assert len(unique_runs([recipe, trials])) == 6 + 8  # 2 rows x 2 seeds x 2 other rates
    chosen = build_plan(table, table.seeds, tmp_path, {"R2D": [0.004]})
    assert [(run.row, run.seed, run.rate) for run in chosen] == [
        ("R2D", 1, 0.004),
        ("R2D", 2, 0.004),
        ("R2D", 3, 0.004),
    ]
    assert {run.cfg.SOLVER.BASE_LR for run in chosen} == {0.004}
    assert len({run.digest for run in chosen} & {run.digest for run in trials}) == 2


@pytest.mark.parametrize("rates", ["[0.1]", "[0.1, 0.1]", "[0.1, -1]", "[0.1, True]", "[0.1, [2]]", "[0.1, 0]", "0.1"])
def test_rates_that_are_none_are_refused(tmp_path, rates):
    (tmp_path / "table.yaml").write_text(TABLE.replace("[0.002, 0.001, 0.004]", rates))
    with pytest.raises(ConfigError, match=r"table\.yaml:3"):
        load_table(tmp_path / "table.yaml")
