"""A non-finite loss or gradient: nothing changes, all processes stop together, or the step is left out."""

import copy
import logging
import math
import os
import re
import socket
import subprocess

import pytest
import torch
from float_clips import batch_of, learner_of
from miniatures import CFG, TINY, command, keys, metrics

from slowfast_gta.engine import device
from slowfast_gta.engine.checkpoint import checkpoint
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.engine.training.bad_steps import bad_step_message

CPU = torch.device("cpu")
SHORT = ("TEST.ENABLE", False, "TRAIN.CHECKPOINT_PERIOD", 1)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, 3, 4, 32, 32, generator=generator), torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize("extra", [(), ("TRAIN.MIXED_PRECISION", True, "TRAIN.AMP_DTYPE", "float16")])
def test_a_step_without_a_gradient_changes_nothing(extra):
    learner = learner_of(CFG, [*TINY, "EMA.ENABLE", True, *extra])
    learner.train_mode()
    clips, labels = batch()
    first = learner.step(batch_of(clips, labels), 0.1)
    assert not first.skipped and 0 < first.grad_norm < math.inf
    before = copy.deepcopy(learner.state())
    second = learner.step(batch_of(clips * math.inf, labels), 0.1)
    assert second.skipped and math.isnan(second.loss)
    after = learner.state()
    for part in ("model_state", "ema_state"):
        for name, value in before[part].items():
            assert torch.equal(after[part][name], value), name
    assert after["scaler_state"] == before["scaler_state"] and after["ema_steps"] == 1
    for number, state in before["optimizer_state"]["state"].items():
        assert torch.equal(after["optimizer_state"]["state"][number]["momentum_buffer"], state["momentum_buffer"])


def test_the_gradient_norm_is_that_of_all_its_parts():
    learner = learner_of(CFG, [*TINY, "SOLVER.CLIP_GRAD_L2NORM", 1e-3])
    learner.train_mode()
    result = learner.step(batch_of(*batch()), 0.0)
    clipped = [parameter.grad for parameter in learner.network.parameters()]
    assert math.sqrt(sum(float((part**2).sum()) for part in clipped)) == pytest.approx(1e-3, rel=1e-3)
    assert result.grad_norm > 0.1, "the length before clipping"


def poison(monkeypatch, *steps: int) -> None:
    """Have the clips of these steps, counted from 1 over the whole run, not be numbers."""
    count, normalize = [0], device.Normalize.__call__

    def poisoned(self, frames):
        clips = normalize(self, frames)
        count[0] += torch.is_grad_enabled()  # a validation counts nothing
        return clips * math.nan if torch.is_grad_enabled() and count[0] in steps else clips

    monkeypatch.setattr(device.Normalize, "__call__", poisoned)


@pytest.fixture(autouse=True)
def spoken(monkeypatch):
    monkeypatch.setattr(logging.getLogger("slowfast_gta"), "propagate", True)


def test_the_run_stops_and_has_saved_the_state_before_the_step(run_tiny, tmp_path, trained, monkeypatch):
    poison(monkeypatch, 5)
    code, _, err = run_tiny(*SHORT)
    assert code == 1 and re.search(r"\bloss is nan\b.*\bepoch 2, step 2 \(videos 10", err), err
    assert re.search(r"\bsaved as\b.*\bTRAIN\.ON_NAN skip\b", err)
    path = list_checkpoints(tmp_path / "run")[-1][1]
    assert path.name == "checkpoint_epoch_00002_step_000001.pyth"
    monkeypatch.undo()
    code, _, err = run_tiny(*SHORT)
    assert code == 0, err
    wanted, found = (torch.load(list_checkpoints(run)[-1][1], weights_only=True) for run in (trained, tmp_path / "run"))
    for name, value in wanted["model_state"].items():
        assert torch.equal(found["model_state"][name], value), name
    rows = [[row for row in metrics(run) if row["kind"] == "train"] for run in (trained, tmp_path / "run")]
    counts = ("loss", "num_requested", "skipped_steps")
    assert [[row[name] for name in counts] for row in rows[1]] == [[row[name] for name in counts] for row in rows[0]]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([(1.0, ["a"]), (math.inf, ["b", "c"])], "The loss is inf in epoch 2, step 1 (videos b, c)."),
        ([(1.0, ["a"]), (2.0, ["b"])], "The gradient is non-finite (NaN or Inf) in epoch 2, step 1 (videos a, b)."),
        ([(math.nan, list("abcdefghij"))], "The loss is nan in epoch 2, step 1 (videos a, b, c, d, e, f, g, h ...)."),
    ],
)
def test_only_the_videos_to_blame_are_named(found, message):
    assert bad_step_message(checkpoint.Position(1, 0), found) == message


def test_in_the_first_step_there_is_nothing_to_save(run_tiny, tmp_path, monkeypatch):
    poison(monkeypatch, 1)
    code, _, err = run_tiny(*SHORT)
    assert code == 1 and re.search(r"\bloss is nan\b.*\bepoch 1, step 1\b", err) and "is saved as" not in err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_single_steps_are_left_out_and_counted(run_tiny, tmp_path, monkeypatch):
    poison(monkeypatch, 2, 3, 5)
    code, _, err = run_tiny(*SHORT, "TRAIN.ON_NAN", "skip", "TRAIN.MAX_NAN_STEPS", 3)
    assert code == 0, err
    assert err.count("The step is left out: the weights are unchanged.") == 3 and "epoch 2, step 2 (videos 10" in err
    rows = [row for row in metrics(tmp_path / "run") if row["kind"] == "train"]
    assert [row["skipped_steps"] for row in rows] == [0, 1, 2, 0, 1, 1]
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert "2 steps left out" in (tmp_path / "run" / "log.txt").read_text()


def test_too_many_in_a_row_stop_the_run(run_tiny, monkeypatch):
    poison(monkeypatch, 2, 4, 5)
    code, _, err = run_tiny(*SHORT, "TRAIN.ON_NAN", "skip", "TRAIN.MAX_NAN_STEPS", 2)
    assert code == 1 and "epoch 2, step 2" in err and "(TRAIN.MAX_NAN_STEPS)" in err


PLUGIN = """
import math
from slowfast_gta import distributed
from slowfast_gta.engine import device

count, normalize = [0], device.Normalize.__call__

def poisoned(self, frames):
    count[0] += 1
    return normalize(self, frames) * (math.nan if distributed.get_rank() == 1 and count[0] == 2 else 1)

device.Normalize.__call__ = poisoned
"""


def test_what_one_process_meets_stops_both_with_the_same_sentence(ssv2, tmp_path):
    (tmp_path / "poison.py").write_text(PLUGIN)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    where = ("DATA.PATH_TO_DATA_DIR", ssv2, "OUTPUT_DIR", tmp_path / "run", "PLUGINS", [str(tmp_path / "poison.py")])
    line = command("--cfg", CFG, "--num_shards", 2, "--init_method", url)
    processes = [
        subprocess.Popen(
            [*line, "--shard_id", str(shard), *keys(*TINY, *where, *SHORT)],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for shard in (0, 1)
    ]
    messages = [process.communicate(timeout=150)[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 1], messages
    messages = [text[text.index("The loss is nan in epoch 1, step 2") :].split(")")[0] for text in messages]
    assert messages[0] == messages[1] and messages[0].count(",") == 2, "the two videos of the process that met it"
    assert [path.name for _, path in list_checkpoints(tmp_path / "run")] == ["checkpoint_epoch_00001_step_000001.pyth"]
