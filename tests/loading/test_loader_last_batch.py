"""TRAIN.DROP_LAST False: every video once an epoch, in equal shares, from any step on."""

import json

import numpy as np
import pytest
import torch
from miniatures import TINY, keys, make_ssv2

from slowfast_gta.commands import run_command
from slowfast_gta.loading.clips import collate
from slowfast_gta.loading.loader import TrainBatchSampler


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize(("num_videos", "batch_size"), [(103, 8), (7, 8), (9, 8), (16, 8)])
def test_every_video_comes_once_and_shares_differ_by_one_at_most(num_videos, batch_size, world_size):
    orders = [
        TrainBatchSampler(num_videos, batch_size, 7, rank, world_size, drop_last=False) for rank in range(world_size)
    ]
    alone = TrainBatchSampler(num_videos, batch_size, 7, 0, 1, drop_last=False)
    assert {len(order) for order in orders} == {len(alone)} == {-(-num_videos // batch_size)}
    steps = [list(order) for order in orders]
    for step, whole in enumerate(alone):
        shares = [of_rank[step] for of_rank in steps]
        assert [item for share in shares for item in share] == whole
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
    assert sorted(index for batch in alone for _, index in batch) == list(range(num_videos))


def test_whole_batches_are_the_same_as_where_the_last_is_dropped():
    kept, dropped = (list(TrainBatchSampler(103, 8, 7, 1, 3, drop_last)) for drop_last in (False, True))
    assert kept[:12] == dropped and len(kept) == 13


def test_an_epoch_resumes_from_its_last_batch():
    whole = list(order := TrainBatchSampler(11, 4, 7, 0, 1, drop_last=False))
    order.start_step = 2
    assert list(order) == whole[2:] and len(whole[2]) == 3


def test_a_share_without_a_clip_is_an_empty_batch():
    batch = collate([])
    assert (batch.num_samples, batch.frames, batch.errors, batch.counts["num_requested"]) == (0, None, [], 0)


def test_a_training_takes_the_last_batch_and_resumes_to_the_same_weights(tmp_path):
    """13 videos in batches of 4: the last has one. Stopped after the first epoch and resumed, or not."""
    data = make_ssv2(tmp_path / "ssv2", 13, 3)
    words = keys(*TINY, "DATA.PATH_TO_DATA_DIR", data, "NUM_GPUS", 0, "TRAIN.DROP_LAST", False, "TEST.ENABLE", False)

    def train(output, *more):
        given = ["--cfg", "configs/SSv2/R2D50.yaml", *words, "OUTPUT_DIR", str(output), *map(str, more)]
        assert run_command("run_net", given) == 0
        newest = sorted((output / "checkpoints").glob("checkpoint_epoch_*.pyth"))[-1]
        return torch.load(newest, weights_only=True)["model_state"]

    whole = train(tmp_path / "whole")
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert max(row.get("step", 0) for row in rows) in (7, 8)  # counted from 0 or 1
    parts = tmp_path / "parts"
    train(parts)
    sorted((parts / "checkpoints").glob("checkpoint_epoch_*.pyth"))[-1].unlink()
    again = train(parts)
    assert all(np.array_equal(again[name], value) for name, value in whole.items())
