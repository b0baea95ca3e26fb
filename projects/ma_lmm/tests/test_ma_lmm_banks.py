"""The memory banks against loops written from the paper's equations, and the properties that they must have.

B batch, K entries, P token positions, C channels, T frames.
"""

import math
from itertools import pairwise

import pytest
import torch
from ma_lmm.memory.banks import MemoryBank, compress
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.memory.summaries import Average, Concat, Last, merge_tokens

from slowfast_gta.errors import ConfigError


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def compress_by_loops(entries, sizes, level, mean):
    """Equations 5-7, entry by entry, on lists (B, K, P, C) and (B, K, P)."""
    num_entries, num_tokens = len(entries[0]), len(entries[0][0])
    new_entries, new_sizes = [], []
    for one, size in zip(entries, sizes, strict=True):
        tracks, counts = [], []
        likeness = [[cosine(one[k][p], one[k + 1][p]) for k in range(num_entries - 1)] for p in range(num_tokens)]
        together = [sum(likeness[p][k] for p in range(num_tokens)) for k in range(num_entries - 1)]
        for p in range(num_tokens):
            values = likeness[p] if level == "token" else together
            pair = values.index(max(values))
            left, right = one[pair][p], one[pair + 1][p]
            n, m = (size[pair][p], size[pair + 1][p]) if mean == "weighted" else (1, 1)
            merged = [(n * x + m * y) / (n + m) for x, y in zip(left, right, strict=True)]
            track, count = [entry[p] for entry in one], [row[p] for row in size]
            tracks.append([*track[:pair], merged, *track[pair + 2 :]])
            counts.append([*count[:pair], count[pair] + count[pair + 1], *count[pair + 2 :]])
        new_entries.append([[tracks[p][k] for p in range(num_tokens)] for k in range(num_entries - 1)])
        new_sizes.append([[counts[p][k] for p in range(num_tokens)] for k in range(num_entries - 1)])
    return torch.tensor(new_entries, dtype=torch.float64), torch.tensor(new_sizes, dtype=torch.float64)


@pytest.mark.parametrize("level", ["token", "frame"])
@pytest.mark.parametrize("mean", ["weighted", "plain"])
def test_compress_is_the_loop_of_the_equations(level, mean):
    torch.manual_seed(0)
    entries = torch.randn(3, 6, 5, 4, dtype=torch.float64)
    sizes = torch.randint(1, 9, (3, 6, 5)).double()
    got, got_sizes = compress(entries, sizes, level, mean)
    expected, expected_sizes = compress_by_loops(entries.tolist(), sizes.tolist(), level, mean)
    assert torch.allclose(got, expected, rtol=0, atol=1e-12)
    assert torch.equal(got_sizes, expected_sizes)


def filled(rule: MemoryRule, frames: torch.Tensor) -> MemoryBank:
    bank = MemoryBank(rule)
    for number in range(frames.shape[1]):
        bank.append(frames[:, number])
    return bank


def test_a_bank_loses_no_frame_and_keeps_the_sum():
    frames = torch.randn(2, 50, 5, 8, dtype=torch.float64)
    bank = filled(MemoryRule(length=7), frames)
    assert bank.entries.shape == (2, 7, 5, 8)
    assert torch.equal(bank.sizes.sum(dim=1), torch.full((2, 5), 50.0, dtype=torch.float64))
    assert torch.allclose((bank.entries * bank.sizes[..., None]).sum(1), frames.sum(1), rtol=0, atol=1e-12)


def test_every_entry_is_the_mean_of_its_span():
    frames = torch.randn(2, 30, 3, 8, dtype=torch.float64)
    bank = filled(MemoryRule(length=6), frames)
    for token in range(3):
        spans = bank.spans(token, member=1)
        assert spans[0][0] == 0 and spans[-1][1] == 29
        assert all(end + 1 == start for (_, end), (start, _) in pairwise(spans))
        means = torch.stack([frames[1, first : last + 1, token].mean(0) for first, last in spans])
        assert torch.allclose(bank.entries[1, :, token], means, rtol=0, atol=1e-12)


def test_a_bank_of_one_entry_is_the_running_mean_unless_plain():
    frames = torch.randn(2, 20, 3, 8, dtype=torch.float64)
    weighted = filled(MemoryRule(length=1), frames).entries[:, 0]
    plain = filled(MemoryRule(length=1, mean="plain"), frames).entries[:, 0]
    assert torch.allclose(weighted, frames.mean(1), rtol=0, atol=1e-12)
    assert not torch.allclose(plain, frames.mean(1), rtol=0, atol=1e-2)


def test_equal_entries_merge_at_the_first_pair():
    frames = torch.ones(1, 4, 2, 3)
    bank = filled(MemoryRule(length=3), frames)
    assert bank.sizes[0, :, 0].tolist() == [2, 1, 1]


def test_frame_level_has_one_pair_for_all_positions():
    frames = torch.randn(1, 9, 6, 4)
    by_frame = filled(MemoryRule(length=3, level="frame"), frames).sizes[0]
    by_token = filled(MemoryRule(length=3), frames).sizes[0]
    assert (by_frame == by_frame[:, :1]).all()
    assert not (by_token == by_token[:, :1]).all()


def test_fifo_keeps_the_last_entries_and_their_indices():
    frames = torch.randn(2, 10, 3, 4)
    bank = filled(MemoryRule(length=4, update="fifo"), frames)
    assert torch.equal(bank.entries, frames[:, 6:])
    assert bank.spans() == [(6, 6), (7, 7), (8, 8), (9, 9)]


def test_members_of_a_batch_are_independent():
    frames = torch.randn(3, 12, 5, 8)
    together = filled(MemoryRule(length=4), frames)
    alone = filled(MemoryRule(length=4), frames[1:2])
    assert torch.equal(together.sizes[1:2], alone.sizes)
    assert torch.allclose(together.entries[1:2], alone.entries, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_banks_are_fp32_for_a_half_precision_model(dtype):
    torch.manual_seed(0)
    frames = (torch.rand(1, 600, 1, 16) + 1).to(dtype)
    bank = filled(MemoryRule(length=1), frames)
    assert bank.entries.dtype == bank.sizes.dtype == torch.float32
    assert (bank.entries[:, 0] - frames.float().mean(1)).abs().max() < 1e-5
    assert bank.before(frames[:, 0]).dtype == dtype


def test_a_bank_holds_no_graph():
    frames = torch.randn(1, 1, 3, 4, requires_grad=True)
    assert not filled(MemoryRule(), frames * 2).entries.requires_grad


@pytest.mark.parametrize(
    "wrong", [{"length": 0}, {"length": 2.5}, {"length": True}, {"update": "lifo"}, {"mean": "median"}, {"visual": 1}]
)
def test_wrong_rules_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        MemoryRule(**wrong)


def test_summaries_hold_what_their_names_say():
    frames = [torch.randn(2, 4, 6, dtype=torch.float64) for _ in range(5)]
    for summary, expected in (
        (Last(), frames[-1]),
        (Average(), torch.stack(frames).mean(0)),
        (Concat(), torch.cat(frames, 1)),
    ):
        for queries in frames:
            summary.add(queries)
        assert torch.allclose(summary.tokens(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("num_tokens", "num_left"), [(32, 2), (7, 3), (4, 1), (5, 5)])
def test_tome_keeps_the_mean_of_all_tokens_where_it_merges_to_one(num_tokens, num_left):
    tokens = torch.randn(3, num_tokens, 8, dtype=torch.float64)
    merged = merge_tokens(tokens, num_left)
    assert merged.shape == (3, num_left, 8)
    if num_left == 1:
        assert torch.allclose(merged[:, 0], tokens.mean(1), rtol=0, atol=1e-12)


def test_tome_merges_what_is_equal_and_nothing_else():
    a, b = torch.randn(2, 8, dtype=torch.float64)
    tokens = torch.stack([a, a, b, b])[None]
    merged = merge_tokens(tokens, 2)[0]
    assert {tuple(row.tolist()) for row in merged} == {tuple(a.tolist()), tuple(b.tolist())}


def test_num_visual_tokens_equals_the_table():
    count = {name: MemoryRule(summary=name).num_visual_tokens(32, 100) for name in ("last", "average", "tome")}
    assert count == {"last": 32, "average": 32, "tome": 200}
    assert MemoryRule(summary="concat").num_visual_tokens(32, 60) == 1920
