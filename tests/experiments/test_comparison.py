"""What is said of rows and of their differences."""

import pytest

from slowfast_gta.errors import RunError
from slowfast_gta.experiments.comparison import compare_rows
from slowfast_gta.experiments.outcomes import Outcome
from slowfast_gta.experiments.pages import as_csv, as_html, as_markdown, write_pages
from slowfast_gta.experiments.statistics import holm, paired_difference


def outcomes(values: list[float], first_seed: int = 1) -> dict[int, Outcome]:
    return {
        seed: Outcome(seed, {"top1": value, "num_videos": 90, "pairs": {"choice": value}}, {}, {"gmacs": 1.5}, 10.0)
        for seed, value in enumerate(values, first_seed)
    }


BLIND, SEEING, NEAR = [50.0, 51.0, 49.5], [90.0, 91.5, 90.2], [50.5, 50.0, 50.4]
PAPERS = {"R2D": 17.0, "GTA": 50.6}


def result(rows, seeds=(1, 2, 3), claims=(("GTA", "R2D"),), metrics=("top1", "pairs.choice")):
    return compare_rows("Title <b>", "table 1.", metrics, seeds, rows, PAPERS, "R2D", claims)


def test_differences_are_paired_and_corrected_for_there_being_several():
    rows = {"R2D": outcomes(BLIND), "GTA": outcomes(SEEING), "Near": outcomes(NEAR)}
    found = [one for one in result(rows).comparisons if one.metric == "top1"]
    assert [(one.first, one.second, one.verdict, one.agreement) for one in found] == [
        ("GTA", "R2D", "above", "agrees"),
        ("Near", "R2D", "cannot be told", ""),
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
    assert "NOT COMPLETE" in as_markdown(found)
    nothing = result({"R2D": outcomes(BLIND), "GTA": {}}, metrics=["top1"])
    assert nothing.comparisons[0].verdict == "no seed in common" and nothing.rows[1].missing == (1, 2, 3)
    assert as_markdown(nothing) and as_csv(nothing) and as_html(nothing)


def test_one_seed_has_no_interval_and_says_so():
    found = result({"R2D": outcomes([50.0]), "GTA": outcomes([90.0])}, seeds=[1], metrics=["top1"])
    assert found.rows[0].figures["top1"].half is None and found.comparisons[0].verdict == "one seed"
    assert "one seed" in as_markdown(found) and "±" not in as_markdown(found).split("|", 1)[1]


def test_a_metric_that_results_lack_is_refused_with_those_they_have():
    with pytest.raises(RunError, match=r"no number order\.both_ways.*pairs\.choice"):
        result({"R2D": outcomes(BLIND)}, metrics=["order.both_ways"], claims=[])


def test_the_pages_hold_the_numbers(tmp_path):
    files = write_pages(result({"R2D": outcomes(BLIND), "GTA": outcomes(SEEING)}), tmp_path)
    markdown, csv, html = (file.read_text() for file in files)
    assert "90.57" in markdown and "33.6" in markdown and "agrees" in markdown
    assert "GTA,top1,90.56666666666666," in csv and csv.count("\n") == 5
    assert "Title &lt;b&gt;" in html and "<b>" not in html
