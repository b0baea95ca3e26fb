"""The metrics, against sets, counted pairs, ranks and tables."""

import itertools
from collections import Counter

import numpy as np
import pytest
from a2summ.metrics.chance import chance_f1
from a2summ.metrics.cosine import key_frame_cosine, rescaled_key_frame_cosine
from a2summ.metrics.fscore import f1_of_users
from a2summ.metrics.ranks import by_protocol, rank_correlations
from a2summ.metrics.rouge import rouge, top_k
from a2summ.shots.choose import Timeline

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("length", [30, 25, 36])
def test_f1_is_that_of_sets(length):
    summary = RNG.uniform(size=length) < 0.3
    users = (RNG.uniform(size=(4, 30)) < 0.3).astype(np.uint8)
    users[3] = 0
    mine = {int(t) for t in summary.nonzero()[0] if t < 30}
    f1s = []
    for user in users:
        theirs = set(user.nonzero()[0].tolist())
        f1s.append(100 * 2 * len(mine & theirs) / (len(mine) + len(theirs)) if mine & theirs else 0.0)
    found = f1_of_users(summary, users)
    assert found["f1_max"] == pytest.approx(max(f1s))
    assert found["f1_mean"] == pytest.approx(np.mean(f1s))
    assert f1_of_users(np.zeros(30, bool), np.zeros((2, 30))) == {"f1_max": 0.0, "f1_mean": 0.0}


def tau_b(x, y):
    concordant = discordant = ties_x = ties_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        concordant += a * b > 0
        discordant += a * b < 0
        ties_x += a == 0
        ties_y += b == 0
    pairs = len(x) * (len(x) - 1) / 2
    return (concordant - discordant) / np.sqrt((pairs - ties_x) * (pairs - ties_y))


def ranks(x):
    return np.array([(np.sum(x < v) + np.sum(x <= v) + 1) / 2 for v in x])


def test_rank_correlations_count_pairs():
    predicted, references = RNG.uniform(size=20), RNG.integers(1, 6, (3, 20))
    found = rank_correlations(predicted, references)
    assert found["kendall"] == pytest.approx(np.mean([tau_b(predicted, r) for r in references]))
    rhos = [np.corrcoef(ranks(predicted), ranks(r))[0, 1] for r in references]
    assert found["spearman"] == pytest.approx(np.mean(rhos))
    assert found["num_constant"] == 0


def test_constant_ratings_have_no_rank_and_are_counted():
    references = np.stack([np.ones(20), np.arange(20)])
    found = rank_correlations(np.arange(20), references)
    assert found == pytest.approx({"kendall": 1.0, "spearman": 1.0, "num_constant": 1})
    assert np.isnan(rank_correlations(np.ones(20), references)["kendall"])


def test_the_protocols_take_what_they_name():
    scores, ratings = RNG.uniform(size=4), RNG.integers(1, 6, (3, 60))
    users, summary = (RNG.uniform(size=(5, 60)) < 0.3).astype(float), RNG.uniform(size=60) < 0.3
    of = lambda name: by_protocol(name, scores, summary, users, ratings)["kendall"]  # noqa: E731
    assert of("tvsum_ratings") == rank_correlations(scores, ratings[:, ::15])["kendall"]
    assert of("summe_mean_scores") == rank_correlations(scores, users.mean(0)[None, ::15])["kendall"]
    assert of("summe_csta") == rank_correlations(summary.astype(float), users.mean(0)[None])["kendall"]


def f_of(matches, mine, theirs):
    return 100 * 2 * matches / (mine + theirs) if mine + theirs else 0.0


def lcs_union(sentence, others):
    """How many words of `sentence` are in the union of its longest common subsequences with `others` (by a table)."""
    hit = set()
    for other in others:
        table = np.zeros((len(sentence) + 1, len(other) + 1), int)
        for i, a in enumerate(sentence):
            for j, b in enumerate(other):
                table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
        i, j = len(sentence), len(other)
        while i and j:
            if sentence[i - 1] == other[j - 1]:
                hit.add(i - 1)
                i, j = i - 1, j - 1
            elif table[i - 1, j] >= table[i, j - 1]:
                i -= 1
            else:
                j -= 1
    return [sentence[i] for i in hit]


def test_rouge_counts_words_and_pairs():
    # words without stems to cut and without repeats, so that counters say it all
    chosen = ["red fox ran home", "blue sky"]
    reference = ["red sky ran", "home fox"]
    mine, theirs = " ".join(chosen).split(), " ".join(reference).split()
    found = rouge(chosen, reference)
    shared = sum((Counter(mine) & Counter(theirs)).values())
    assert found["rouge1"] == pytest.approx(f_of(shared, len(mine), len(theirs)))
    pairs = [Counter(itertools.pairwise(words)) for words in (mine, theirs)]
    assert found["rouge2"] == pytest.approx(f_of(sum((pairs[0] & pairs[1]).values()), len(mine) - 1, len(theirs) - 1))
    union = sum(len(lcs_union(r.split(), [c.split() for c in chosen])) for r in reference)
    assert found["rougeL"] == pytest.approx(f_of(union, len(mine), len(theirs)))


def test_rouge_l_knows_which_text_is_the_reference():
    generator = np.random.default_rng(0)
    words = list("abcdefg")
    differ = 0
    for _ in range(40):
        texts = [[" ".join(generator.choice(words, 5)) for _ in range(3)] for _ in range(2)]
        differ += abs(rouge(texts[0], texts[1])["rougeL"] - rouge(texts[1], texts[0])["rougeL"]) > 1e-9
    assert differ > 0, "otherwise the test above could not tell the two apart"


def test_top_k_takes_the_earlier_of_equals():
    assert top_k(np.array([1.0, 3, 3, 2, 3]), 2).tolist() == [1, 2]
    assert top_k(np.array([1.0]), 5).tolist() == [0]
    assert top_k(np.zeros(0), 2).tolist() == []


def test_cosine_matches_greedily_one_to_one():
    references = np.array([[1.0, 0], [0.8, 0.6]])
    chosen = np.array([[2.0, 0], [0, 3.0]])
    # similarities: [[1, 0], [.8, .6]] -> 1 first, then .6
    assert key_frame_cosine(chosen, references) == pytest.approx(0.8)
    assert key_frame_cosine(chosen[:1], references) == pytest.approx(0.5)
    frames = np.array([[2.0, 0], [0, 3.0], [-1, 0]])
    scaled = (np.array([[1, 0, -1], [0.8, 0.6, -0.8]]) + 1) / 2
    assert rescaled_key_frame_cosine(frames, np.array([0, 1]), references) == pytest.approx((1 + scaled[1, 1]) / 2)


def test_chance_is_reported_on_the_same_shots():
    timeline = Timeline(300, np.arange(0, 300, 15), np.stack([np.arange(0, 300, 30), np.arange(30, 330, 30)], 1))
    users = np.zeros((2, 300))
    users[:, :45] = 1
    found = chance_f1(timeline, users, num_draws=50)
    assert 0 < found["f1_mean"] <= found["f1_max"] < 60
    assert found == chance_f1(timeline, users, num_draws=50)
