"""What a step needs, found out before the first: samples for BatchNorm, memory for the backward pass."""

import logging
import re
from pathlib import Path

import pytest
import torch
from float_clips import batch_of, learner_of
from miniatures import CFG, TINY, make_ssv2, metrics
from torch import nn

from slowfast_gta import build_model, load_config
from slowfast_gta.engine.training.trial import Trial, try_sample
from slowfast_gta.errors import ConfigError
from slowfast_gta.models.norms import split_norms


def break_video(data: Path) -> None:
    (data / "20bn-something-something-v2" / "1001.webm").write_text("no video")


SMALLEST = ["DATA.NUM_FRAMES", 1, "DATA.TRAIN_CROP_SIZE", 32]


def network(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(3, 4, 1), *layers)


def sample(*size: int) -> torch.Tensor:
    return torch.empty(1, 3, *size)


def naive_fewest(norms: nn.Module, *size: int) -> int:
    """The fewest samples that PyTorch itself takes."""
    for count in range(1, 20):
        try:
            norms.train()(torch.randn(count, 3, *size))
            return count
        except ValueError:
            continue
    raise AssertionError("none at all")


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 1, 1), (1, 1, 2)])
@pytest.mark.parametrize("num_splits", [1, 2, 3])
def test_the_fewest_samples_are_those_that_pytorch_takes(size, num_splits):
    norms = split_norms(network(nn.BatchNorm3d(4)), num_splits) if num_splits > 1 else network(nn.BatchNorm3d(4))
    assert try_sample(norms, sample(*size)).fewest_samples == naive_fewest(norms, *size)


def test_a_norm_that_is_frozen_takes_one_value_and_only_the_one_that_does_not_is_named():
    pooled = network(nn.BatchNorm3d(4), nn.AdaptiveAvgPool3d(1), nn.BatchNorm3d(4))
    found = try_sample(pooled, sample(2, 4, 4))
    assert (found.fewest_samples, found.norm) == (2, "3")
    pooled[3].eval()
    assert try_sample(pooled, sample(2, 4, 4)).fewest_samples == 1
    assert pooled[1].training and not pooled[3].training and pooled[0].weight.device.type == "cpu"


def test_what_is_kept_for_the_backward_pass_is_counted_once():
    """The convolution keeps its input (3 channels), the BatchNorm and the ReLU what they read and gave (4 each)."""
    layers = network(nn.BatchNorm3d(4), nn.ReLU())
    positions = 2 * 16 * 16
    small = 4 * 4 * 4  # the statistics of a BatchNorm
    found = try_sample(layers, sample(2, 16, 16)).saved_bytes
    assert 4 * positions * (3 + 4 + 4) <= found <= 4 * positions * (3 + 4 + 4) + small


def test_a_network_that_looks_at_numbers_is_not_known():
    class Looks(nn.Module):
        def forward(self, x):
            return x * (1 if x.mean().item() > 0 else 2)

    assert try_sample(network(Looks()), sample(1, 1, 1)) == Trial()
    assert try_sample(network(), None) == Trial()


@pytest.mark.parametrize(
    "keys",
    [
        ["TRAIN.BATCH_SIZE", 1],
        ["TRAIN.BATCH_SIZE", 2, "SOLVER.ACCUMULATE_STEPS", 2],
        ["TRAIN.BATCH_SIZE", 3, "BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", 2],
    ],
)
def test_a_training_of_one_value_in_each_step_is_refused(keys):
    with pytest.raises(ConfigError) as caught:
        learner_of(CFG, [*TINY, *SMALLEST, *keys])
    assert caught.value.keys == ("TRAIN.BATCH_SIZE",)
    learner_of(CFG, [*TINY, *SMALLEST, *keys, "BN.FREEZE", "all"])
    learner_of(CFG, [*TINY, *SMALLEST, *keys, "DATA.NUM_FRAMES", 2])


def test_a_step_of_one_clip_changes_nothing_and_parts_are_no_smaller_than_two():
    learner = learner_of(CFG, [*TINY, *SMALLEST, "SOLVER.ACCUMULATE_STEPS", 2, "TRAIN.BATCH_SIZE", 4])
    learner.train_mode()
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    one = batch_of(torch.randn(1, 3, 1, 32, 32), torch.tensor([1]))
    result = learner.step(one, 0.1)
    assert result.too_few and not result.num_samples
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())
    three = learner.step(batch_of(torch.randn(3, 3, 1, 32, 32), torch.tensor([1, 0, 2])), 0.1)  # in one part, not two
    assert not three.too_few and three.num_samples == 3


def test_what_skip_leaves_too_few_of_is_counted(run_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger("slowfast_gta"), "propagate", True)
    data = make_ssv2(tmp_path / "data", 6, 2)
    break_video(data)
    keys = (*SMALLEST, "DATA.ON_ERROR", "skip", "TRAIN.BATCH_SIZE", 2, "SOLVER.MAX_EPOCH", 1)
    code, _, err = run_tiny(*keys, data=data)
    assert code == 0, err
    rows = [row for row in metrics(tmp_path / "run") if row["kind"] == "train"]
    assert rows[-1]["steps_of_too_few"] == 1 and "1 step left out (too few clips for BatchNorm)" in err


def test_an_epoch_without_one_such_step_ends_with_a_message(run_tiny, tmp_path):
    data = make_ssv2(tmp_path / "data", 2, 2)
    break_video(data)
    code, _, err = run_tiny(*SMALLEST, "DATA.ON_ERROR", "skip", "TRAIN.BATCH_SIZE", 2, data=data)
    assert code == 1 and re.search(r"\bNo step of epoch 1\b.*\bTRAIN\.BATCH_SIZE\b", err) and "Traceback" not in err, (
        err
    )


AFR = ("ATTENTION.NAME", "W3", "ATTENTION.LOCATION", [[[]], [[0]], [[0]], [[]]], "ATTENTION.REFINE", "AFR")


@pytest.mark.parametrize(
    ("overrides", "inexact"),
    [
        ((), ()),
        (("MODEL.ARCH", "i3d"), ("max_pool3d_with_indices",)),
        (AFR, ()),
        ((*AFR, "DATA.TRAIN_CROP_SIZE", 36), ("avg_pool3d", "_adaptive_avg_pool3d")),  # windows of several sizes
        (("ATTENTION.NAME", "GTA", "ATTENTION.LOCATION", [[[]], [[0]], [[]], [[]]]), ()),
    ],
)
def test_operations_without_an_exact_gradient_on_gpus_are_found(overrides, inexact):
    cfg = load_config(CFG, [*TINY, *overrides])
    size = cfg.DATA.TRAIN_CROP_SIZE
    assert try_sample(build_model(cfg), sample(cfg.DATA.NUM_FRAMES, size, size)).inexact == inexact


def test_of_what_cannot_be_tried_nothing_is_known():
    assert try_sample(nn.Identity(), None).inexact is None
