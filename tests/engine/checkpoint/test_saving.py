"""What becomes of a training whose checkpoints cannot be written, are removed, or do not fit any more."""

import errno
import logging
import os
import random
import re
import shutil

import numpy as np
import pytest
import torch
from miniatures import metrics

from slowfast_gta.engine.checkpoint import checkpoint
from slowfast_gta.engine.checkpoint.random_state import random_states, restore_random_state, seed_process
from slowfast_gta.engine.training import train

EACH_EPOCH = ("TRAIN.CHECKPOINT_PERIOD", 1, "SOLVER.MAX_EPOCH", 3, "TEST.ENABLE", False)


@pytest.fixture(autouse=True)
def spoken(monkeypatch):
    monkeypatch.setattr(logging.getLogger("slowfast_gta"), "propagate", True)


def fill_the_disk(monkeypatch, *writes: int) -> None:
    """Have these writes of a checkpoint, counted from 1, find no space."""
    count, save = [0], torch.save

    def full(content, file):
        count[0] += 1
        if count[0] in writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, file)

    monkeypatch.setattr(torch, "save", full)


def names(run) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_training_continues_after_a_failed_write_and_tries_again(run_tiny, tmp_path, monkeypatch):
    fill_the_disk(monkeypatch, 1, 2)
    code, _, err = run_tiny(*EACH_EPOCH, "TRAIN.CHECKPOINT_PERIOD_STEPS", 2)
    assert code == 0, err
    assert re.search(rf"\.pyth could not be written\b.*{os.strerror(errno.ENOSPC)}", err)
    assert [f"will try again (failed so far: {number})" in err for number in (1, 2, 3)] == [True, True, False]
    epochs = [name for name in names(tmp_path / "run") if "step" not in name]
    assert epochs == ["checkpoint_epoch_00002.pyth", "checkpoint_epoch_00003.pyth"]
    assert not list((tmp_path / "run" / "checkpoints").glob("*.tmp"))


def test_after_a_failed_write_the_next_epoch_s_end_is_one_to_save(run_tiny, tmp_path, monkeypatch):
    fill_the_disk(monkeypatch, 1)
    code, _, err = run_tiny(*EACH_EPOCH, "TRAIN.CHECKPOINT_PERIOD", 1, "SOLVER.MAX_EPOCH", 5)
    assert code == 0, err
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "run")
    fill_the_disk(monkeypatch, 1)
    code, _, err = run_tiny(*EACH_EPOCH, "TRAIN.CHECKPOINT_PERIOD", 3, "SOLVER.MAX_EPOCH", 5)
    assert code == 0, err
    assert names(tmp_path / "run") == ["checkpoint_epoch_00004.pyth", "checkpoint_epoch_00005.pyth"]


def test_a_last_write_that_fails_is_an_error(run_tiny, tmp_path, monkeypatch):
    fill_the_disk(monkeypatch, 3)
    code, _, err = run_tiny(*EACH_EPOCH)
    assert code == 1 and "checkpoint_epoch_00003.pyth" in err and os.strerror(errno.ENOSPC) in err
    assert re.search(r"\bFree space\b.*\bsame command\b", err)
    assert names(tmp_path / "run") == ["checkpoint_epoch_00001.pyth", "checkpoint_epoch_00002.pyth"]
    monkeypatch.undo()
    code, _, err = run_tiny(*EACH_EPOCH)
    assert code == 0 and "Resuming from epoch 2" in err


def test_an_output_dir_that_is_removed_during_the_run_is_made_again(run_tiny, tmp_path, monkeypatch):
    validate = train.validate

    def after_a_removal(cfg, run, epochs):
        if epochs == 1:
            shutil.rmtree(tmp_path / "run")
        validate(cfg, run, epochs)

    monkeypatch.setattr(train, "validate", after_a_removal)
    code, _, err = run_tiny(*EACH_EPOCH)
    assert code == 0, err
    assert names(tmp_path / "run") == ["checkpoint_epoch_00002.pyth", "checkpoint_epoch_00003.pyth"]
    assert "epoch 3/3" in (tmp_path / "run" / "log.txt").read_text()
    assert [row["step"] for row in metrics(tmp_path / "run") if row["kind"] == "val"] == [3, 6, 9]


def test_the_best_epoch_and_the_newest_stay(run_tiny, tmp_path):
    keep = ("TRAIN.KEEP_BEST", True, "TRAIN.KEEP_CHECKPOINTS", 1, "SOLVER.BASE_LR", 0.05, "SOLVER.MAX_EPOCH", 4)
    code, _, err = run_tiny(*keep, "TRAIN.CHECKPOINT_PERIOD", 10, "TEST.ENABLE", False)
    assert code == 0, err
    scores = [row["top1"] for row in metrics(tmp_path / "run") if row["kind"] == "val"]
    assert names(tmp_path / "run") == [checkpoint.BEST, "checkpoint_epoch_00004.pyth"]
    best = torch.load(tmp_path / "run" / "checkpoints" / checkpoint.BEST, weights_only=True)
    assert best["epoch"] == scores.index(max(scores)) and checkpoint.BEST in err


def test_a_validation_that_a_kill_prevented_comes_first(run_tiny, tmp_path, trained, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(cfg, run, epochs):
        raise Killed

    monkeypatch.setattr(train, "validate", killed)
    with pytest.raises(Killed):
        run_tiny("TRAIN.CHECKPOINT_PERIOD", 1)
    monkeypatch.undo()
    for _ in range(2):  # once more, there is nothing to do
        code, _, err = run_tiny("TRAIN.CHECKPOINT_PERIOD", 1)
        assert code == 0, err
    found, wanted = ([row for row in metrics(run) if row["kind"] == "val"] for run in (tmp_path / "run", trained))
    assert found == wanted and len(found) == 2


def interrupted(run_tiny, monkeypatch, *pairs) -> None:
    """Leave a checkpoint inside the first epoch."""
    step = train.Learner.begin

    def step_and_stop(learner, *args):
        signals[0].received = True
        return step(learner, *args)

    signals = []
    monkeypatch.setattr(train.StopRequest, "__enter__", lambda self: signals.append(self) or self)
    monkeypatch.setattr(train.StopRequest, "__exit__", lambda *_: None)
    monkeypatch.setattr(train.Learner, "begin", step_and_stop)
    code, _, err = run_tiny(*pairs)
    assert code == 130, err
    monkeypatch.undo()


@pytest.mark.parametrize("change", [("TRAIN.BATCH_SIZE", 2), ("RNG_SEED", 5)])
def test_the_rest_of_an_epoch_is_never_other_videos(run_tiny, tmp_path, monkeypatch, change):
    interrupted(run_tiny, monkeypatch)
    code, _, err = run_tiny(*change)
    assert code == 1 and "is from inside epoch 1" in err and f"{change[0]}: " in err and f"-> {change[1]}" in err
    assert "move checkpoint_epoch_00001_step_000001.pyth away" in err


def test_a_change_between_epochs_is_logged(run_tiny, tmp_path, trained):
    shutil.copytree(trained, tmp_path / "run")
    code, _, err = run_tiny("TRAIN.BATCH_SIZE", 6, "SOLVER.MAX_EPOCH", 3, "TEST.ENABLE", False)
    assert code == 0 and re.search(r"\bTRAIN\.BATCH_SIZE: 4 -> 6\b.*\bsteps\b.*: 3 ->", err)
    assert len([row for row in metrics(tmp_path / "run") if row["kind"] == "train"]) == 6 + 2, "the old ones stay"


def test_starting_anew_beside_older_checkpoints_is_refused(run_tiny, tmp_path, trained):
    shutil.copytree(trained, tmp_path / "run")
    code, _, err = run_tiny("TRAIN.AUTO_RESUME", False)
    assert code == 2 and re.search(rf"\bTRAIN\.AUTO_RESUME is False\b.*{tmp_path / 'run'}\b.*\b2 checkpoints\b", err)


def test_a_checkpoint_records_its_origin(trained):
    content = torch.load(trained / "checkpoints" / "checkpoint_epoch_00002.pyth", weights_only=True)
    named = {"RNG_SEED", "TRAIN.BATCH_SIZE", "steps of an epoch", "training list (digest)", "input", "code"}
    assert content["origin"].keys() == named
    assert content["origin"]["steps of an epoch"] == 3 and content["origin"]["code"].startswith("0.")
    assert len(content["random_state"]) == 1


def draws() -> tuple:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_random_generators_resume_where_they_stood(tmp_path):
    seed_process(7)
    first = draws()
    torch.save(random_states(), tmp_path / "states")
    wanted = draws()
    assert wanted != first
    restore_random_state(torch.load(tmp_path / "states", weights_only=True))
    assert draws() == wanted
    seed_process(7)
    assert draws() == first


def test_deterministic_runs_are_the_same_bits(run_tiny, tmp_path):
    outcomes = []
    try:
        for name in ("first", "second"):
            code, _, err = run_tiny("DETERMINISTIC", True, "EMA.ENABLE", True, "OUTPUT_DIR", tmp_path / name)
            assert code == 0, err
            assert torch.are_deterministic_algorithms_enabled()
            path = checkpoint.list_checkpoints(tmp_path / name)[-1][1]
            content = torch.load(path, weights_only=True)
            with np.load(tmp_path / name / "scores.npz") as scores:
                outcomes.append(content["model_state"] | {"scores": torch.from_numpy(scores["scores"])})
    finally:
        torch.use_deterministic_algorithms(False)
    for name, value in outcomes[0].items():
        assert torch.equal(outcomes[1][name], value), name
