"""Against SciPy, and what one seed or equal seeds give."""

import numpy as np
import pytest

from slowfast_gta.experiments.statistics import (
    NUM_DRAWS,
    bootstrap_difference,
    bootstrap_estimate,
    bootstrap_means,
    estimate,
    holm,
    paired_difference,
    proportion_interval,
    t_probability,
    t_quantile,
)


@pytest.fixture(scope="module")
def stats():
    return pytest.importorskip("scipy.stats", reason="SciPy, of the extra `test`, is not installed")


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 29, 100])
def test_student_s_t(stats, freedom):
    for t in (0.0, 0.1, 1.0, 2.5, 12.0):
        assert t_probability(t, freedom) == pytest.approx(2 * stats.t.cdf(t, freedom) - 1, abs=1e-12)
    for probability in (0.1, 0.5, 0.95, 0.999):
        assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(0.5 + probability / 2, freedom), rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_intervals_and_paired_tests(stats, n):
    generator = np.random.default_rng(n)
    ours, theirs = generator.normal(90, 2, n), generator.normal(88, 2, n)
    found = estimate(ours)
    low, high = stats.t.interval(0.95, n - 1, ours.mean(), stats.sem(ours))
    assert (found.mean, found.deviation) == pytest.approx((ours.mean(), ours.std(ddof=1)))
    assert (found.low, found.high) == pytest.approx((low, high))
    difference = paired_difference(ours, theirs)
    assert difference.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, abs=1e-10)
    assert difference.estimate.mean == pytest.approx((ours - theirs).mean())


def test_one_seed_gives_no_interval_and_no_test():
    found = paired_difference([3.0], [1.0])
    assert (found.estimate.mean, found.estimate.n) == (2.0, 1)
    assert found.estimate.deviation is found.estimate.low is found.estimate.high is found.p is None


def test_seeds_that_are_all_alike_give_no_test():
    found = paired_difference([50.0, 50.0], [48.0, 48.0])
    assert (found.estimate.mean, found.estimate.low, found.estimate.high, found.p) == (2.0, 2.0, 2.0, None)


def test_holm_is_the_definition():
    """The smallest of m times m, the next times m - 1, and never below the one before."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_the_interval_of_a_proportion(stats):
    for right, n in ((0, 10), (5, 10), (480, 512), (512, 512)):
        low, high = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert proportion_interval(100 * right / n, n) == pytest.approx((100 * low, 100 * high))


def test_a_bootstrap_of_hits_is_binomial(stats):
    """The mean of n drawn from hits and misses is a binomial number over n: its quantiles are known."""
    right, n = 61, 100
    hits = np.repeat([100.0, 0.0], [right, n - right])
    found = bootstrap_estimate(hits[None])
    low, high = stats.binom.ppf([0.025, 0.975], n, right / n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1) and found.mean == pytest.approx(61)
    assert bootstrap_means(hits).std() == pytest.approx(100 * np.sqrt(0.61 * 0.39 / n), rel=0.03)


def test_a_bootstrap_is_scipy_s(stats):
    """Of any numbers, against SciPy's own percentile intervals, which draw otherwise."""
    generator = np.random.default_rng(3)
    ours, theirs = (generator.integers(0, 5, (3, 200)) * 25.0 for _ in range(2))
    found = bootstrap_difference(ours, theirs).estimate
    means = (ours - theirs).mean(0)
    expected = stats.bootstrap((means,), np.mean, method="percentile", n_resamples=NUM_DRAWS).confidence_interval
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.04 * width)
    assert found.mean == pytest.approx(means.mean()) and found.n == 3


def test_the_p_of_a_bootstrap_is_its_share_of_draws_beyond_nothing():
    generator = np.random.default_rng(0)
    theirs = generator.integers(0, 5, (2, 80)) * 25.0
    assert bootstrap_difference(theirs, theirs).p == 1.0  # no difference at all
    assert bootstrap_difference(theirs + 1, theirs).p == 2 / (NUM_DRAWS + 1)  # in each draw above
    ours = generator.integers(0, 5, (2, 80)) * 25.0 + 5
    draws = bootstrap_means((ours - theirs).mean(0))
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum())) + 1
    assert bootstrap_difference(ours, theirs).p == 2 * tail / (NUM_DRAWS + 1) < 1
    assert bootstrap_difference(ours, theirs) == bootstrap_difference(ours, theirs)  # the same draws each time
