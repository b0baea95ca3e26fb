"""What is said of rows and of their differences."""

import csv
import io
from itertools import pairwise

import pytest

from slowfast_gta.errors import ConfigError, RunError
from slowfast_gta.experiments.comparison import Question, compare_rows
from slowfast_gta.experiments.outcomes import Outcome
from slowfast_gta.experiments.pages import (
    PAGE_BEGIN,
    PAGE_END,
    as_csv,
    as_html,
    as_markdown,
    write_into_page,
    write_pages,
)
from slowfast_gta.experiments.rates import RateChoice
from slowfast_gta.experiments.statistics import holm, paired_difference, proportion_interval

VIDEOS = "the same videos"


def outcomes(values: list[float], first_seed: int = 1, marks: list[str] | None = None) -> dict[int, Outcome]:
    """`marks`: of each seed's videos, for the bootstrap."""
    return {
        seed: Outcome(
            seed,
            {"top1": value, "num_videos": 90, "pairs": {"choice": value, "num_videos": 80}},
            {},
            {"gmacs": 1.5},
            10.0,
            marks={"videos": VIDEOS, "top1": marks[seed - first_seed]} if marks else {},
        )
        for seed, value in enumerate(values, first_seed)
    }


BLIND, SEEING, NEAR = [50.0, 51.0, 49.5], [90.0, 91.5, 90.2], [50.5, 50.0, 50.4]
PAPERS = {"R2D": 17.0, "GTA": 50.6}


def result(rows, seeds=(1, 2, 3), claims=(("GTA", "R2D"),), metrics=("top1", "pairs.choice"), choices=None, **more):
    return compare_rows(Question("Title <b>", "table 1.", metrics, seeds, "R2D", PAPERS, claims, **more), rows, choices)


def test_differences_are_paired_and_corrected_for_there_being_several():
    rows = {"R2D": outcomes(BLIND), "GTA": outcomes(SEEING), "Near": outcomes(NEAR)}
    found = [one for one in result(rows).comparisons if one.metric == "top1"]
    assert [(one.first, one.second, one.verdict, one.agreement) for one in found] == [
        ("GTA", "R2D", "above", "agrees"),
        ("Near", "R2D", "not significant", ""),
    ]
    pairs = [paired_difference(SEEING, BLIND), paired_difference(NEAR, BLIND)]
    assert [one.difference for one in found] == pairs
    assert [one.adjusted for one in found] == holm([pair.p for pair in pairs])
    assert found[0].paper == 33.6 and found[1].paper is None


def test_a_claim_may_be_wrong_and_is_compared_once():
    rows = {"R2D": outcomes(BLIND), "GTA": outcomes(SEEING)}
    (found,) = result(rows, claims=[("R2D", "GTA")], metrics=["top1"]).comparisons
    assert (found.verdict, found.agreement) == ("below", "disagrees")


def test_only_seeds_that_both_have_are_compared():
    rows = {"R2D": outcomes(BLIND), "GTA": outcomes(SEEING[:2], first_seed=2)}
    found = result(rows, metrics=["top1"])
    assert found.comparisons[0].difference.estimate.n == 2 and found.rows[1].missing == (1,)
    assert "NOT COMPLETE" in as_markdown([found])
    nothing = result({"R2D": outcomes(BLIND), "GTA": {}}, metrics=["top1"])
    assert nothing.comparisons[0].verdict == "no seed in common" and nothing.rows[1].missing == (1, 2, 3)
    assert as_markdown([nothing]) and as_csv([nothing]) and as_html([nothing])


def test_one_seed_gives_no_interval_and_a_note():
    found = result({"R2D": outcomes([50.0]), "GTA": outcomes([90.0])}, seeds=[1], metrics=["top1"])
    assert found.rows[0].figures["top1"].low is None and found.comparisons[0].verdict == "one seed"
    assert "one seed" in as_markdown([found]) and "±" not in as_markdown([found]).split("|", 1)[1]


def test_a_metric_that_results_lack_is_refused_with_those_they_have():
    with pytest.raises(RunError, match=r"no number order\.both_ways.*pairs\.choice"):
        result({"R2D": outcomes(BLIND)}, metrics=["order.both_ways"], claims=[])


def test_the_pages_hold_the_numbers(tmp_path):
    shared = result({"R2D": outcomes(BLIND), "GTA": outcomes(SEEING)})
    choice = RateChoice(0.004, {0.002: 70.0, 0.004: 72.5}, (1,))
    chosen = result({"R2D": outcomes(BLIND), "GTA": outcomes(NEAR)}, choices={"GTA": choice})
    files = write_pages([shared, chosen], tmp_path)
    markdown, table, html = (file.read_text() for file in files)
    assert "90.57" in markdown and "33.6" in markdown and "agrees" in markdown
    assert "0.002: 70.0, 0.004: 72.5" in markdown
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [(row["row"], row["recipe"], row["learning_rate"]) for row in rows[::2]] == [
        ("R2D", "one", ""),
        ("GTA", "one", ""),
        ("R2D", "chosen_rate", ""),
        ("GTA", "chosen_rate", "0.004"),
    ]
    assert float(rows[2]["mean"]) == pytest.approx(90.5667, abs=1e-4) and rows[2]["interval"] == "t"
    assert float(rows[2]["interval_high"]) - float(rows[2]["mean"]) == pytest.approx(
        float(rows[2]["mean"]) - float(rows[2]["interval_low"])
    )
    assert "Title &lt;b&gt;" in html and "<b>" not in html


def test_a_bootstrap_draws_videos_that_all_runs_have():
    """One seed is enough for it; runs on other videos, and metrics that are not known of each video, are refused."""
    right, half = outcomes([100.0], marks=["4" * 40]), outcomes([50.0], marks=["40" * 20])
    found = result({"R2D": half, "GTA": right}, seeds=[1], metrics=["top1"], intervals="bootstrap")
    assert (found.comparisons[0].verdict, found.comparisons[0].difference.estimate.mean) == ("above", 50.0)
    figure = found.rows[0].figures["top1"]
    assert figure.low < 50 < figure.high and figure.deviation is None
    assert "bootstrap" in as_markdown([found])
    with pytest.raises(RunError, match=r"pairs\.choice"):
        result({"R2D": half}, metrics=["pairs.choice"], claims=[], intervals="bootstrap")
    other = outcomes([50.0], marks=["40" * 20])
    other[1].marks["videos"] = "others"
    with pytest.raises(RunError):
        result({"R2D": half, "GTA": other}, metrics=["top1"], intervals="bootstrap")


def with_order(both_ways: float, difference: float) -> dict[int, Outcome]:
    found = outcomes([45.0])
    found[1].results["order"] = {
        "both_ways": both_ways,
        "num_videos": 80,
        "largest_difference": difference,
        "blind": difference <= 1e-5,
    }
    return found


def test_what_is_blind_is_exactly_half_and_what_is_not_as_it_must_be_is_named():
    rows = {"R2D": with_order(50.0, 3e-7), "GTA": with_order(93.75, 0.4)}
    found = result(rows, seeds=[1], blind=["R2D"])
    order = found.rows[0].order[0]
    assert order.exact and (order.low, order.high) == proportion_interval(45.0, 80)
    assert found.not_blind == () and found.rows[1].order[0].exact is False
    assert "3.0e-07" in as_markdown([found]) and "3.0e-07" in as_html([found])
    assert result(rows, seeds=[1], blind=["R2D", "GTA"]).not_blind == ("GTA",)
    assert result({"R2D": with_order(50.0, 2e-5)}, seeds=[1], claims=[], blind=["R2D"]).not_blind == ("R2D",)
    assert result({"R2D": with_order(50.5, 1e-6)}, seeds=[1], claims=[], blind=["R2D"]).not_blind == ("R2D",)


def test_results_are_written_between_the_lines_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    found = [result({"R2D": outcomes(BLIND), "GTA": outcomes(SEEING)})]
    named = f"# Before\n\nBetween {PAGE_BEGIN}\nand {PAGE_END}.\n"
    page.write_text(f"{named}\n{PAGE_BEGIN}\nold\n{PAGE_END}\n\nAfter\n")
    write_into_page([found, found], page)
    once = page.read_text()
    assert once.startswith(named) and once.endswith("After\n") and "\nold\n" not in once
    assert once.count("\n### Title <b>") == 2 and "90.57" in once
    levels = [len(line.split()[0]) for line in once.splitlines() if line.startswith("#")]
    assert all(after <= before + 1 for before, after in pairwise(levels[1:])), "the docs' site takes no skipped level"
    write_into_page([found, found], page)
    assert page.read_text() == once
    page.write_text("no such lines")
    with pytest.raises(ConfigError):
        write_into_page([found], page)
