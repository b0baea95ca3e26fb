"""A training that is stopped or killed, and started again, ends with the very weights of one that was left alone."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from miniatures import CFG, TINY, command, keys, run

from slowfast_gta.commands import run_command
from slowfast_gta.engine.training import train

# Three epochs of three steps, with everything on that has a state of its own.
TRAINING = [*TINY, "SOLVER.MAX_EPOCH", 3, "TRAIN.CHECKPOINT_PERIOD", 1, "TEST.ENABLE", False, "EMA.ENABLE", True]
VARIANTS = {
    "sgd": ["EMA.DECAY", 0.9],
    "adamw, 2 workers": ["SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.BASE_LR", 1e-3, "DATA_LOADER.NUM_WORKERS", 2],
}


def arguments(data: Path, output: Path, variant: str) -> list[str]:
    where = ("DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", output)
    return ["--cfg", str(CFG), *keys(*TRAINING, *VARIANTS[variant], *where)]


@pytest.fixture(scope="module", params=VARIANTS)
def undisturbed(request, ssv2, tmp_path_factory) -> tuple[str, dict]:
    """(the variant, the last checkpoint of a training that nothing disturbed)."""
    output = tmp_path_factory.mktemp("undisturbed")
    result = run(command(*arguments(ssv2, output, request.param)))
    assert result.returncode == 0, result.stderr
    return request.param, last_checkpoint(output)


def last_checkpoint(output: Path) -> dict:
    path = output / "checkpoints" / "checkpoint_epoch_00003.pyth"
    return torch.load(path, weights_only=True)


def start(data: Path, output: Path, variant: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*arguments(data, output, variant)),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_step(process: subprocess.Popen, output: Path, step: int) -> None:
    """Wait until metrics.jsonl says that `step` training steps are done."""
    path, limit = output / "metrics.jsonl", time.monotonic() + 100
    while process.poll() is None and time.monotonic() < limit:
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        if any(row["kind"] == "train" and row["step"] >= step for row in rows):
            return
        time.sleep(0.002)  # between two looks at a file, not to guess a duration
    pytest.fail(f"step {step} never came: exit code {process.poll()}, {process.communicate()[1]}")


def assert_equal(found: object, wanted: object, where: str = "") -> None:
    """Bit by bit, however deep."""
    if isinstance(wanted, torch.Tensor):
        assert torch.equal(found, wanted), where
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key, value in wanted.items():
            assert_equal(found[key], value, f"{where}/{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for index, value in enumerate(wanted):
            assert_equal(found[index], value, f"{where}/{index}")
    else:
        assert found == wanted, where


def assert_same_training(found: dict, wanted: dict) -> None:
    for part in ("model_state", "ema_state", "ema_steps", "optimizer_state", "scaler_state", "epoch", "step"):
        assert_equal(found[part], wanted[part], part)


def test_ctrl_c_inside_an_epoch(undisturbed, ssv2, tmp_path):
    variant, wanted = undisturbed
    process = start(ssv2, tmp_path, variant)
    wait_for_step(process, tmp_path, 4)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group, workers too
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert re.search(r"\bStopped\b.*\bsaved as\b.*\bresumes\b", output)
    assert not (tmp_path / "checkpoints" / "checkpoint_epoch_00003.pyth").exists()
    result = run(command(*arguments(ssv2, tmp_path, variant)))
    assert result.returncode == 0, result.stderr
    assert "Resuming from epoch" in result.stderr
    assert_same_training(last_checkpoint(tmp_path), wanted)


def test_kill_9_at_several_moments(undisturbed, ssv2, tmp_path):
    variant, wanted = undisturbed
    for step in (1, 5, 8) if variant == "sgd" else (5,):
        process = start(ssv2, tmp_path, variant)
        wait_for_step(process, tmp_path, step)
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    result = run(command(*arguments(ssv2, tmp_path, variant)))
    assert result.returncode == 0, result.stderr
    assert_same_training(last_checkpoint(tmp_path), wanted)


@pytest.mark.parametrize("stop_after", range(1, 10))
def test_stopping_after_every_step(ssv2, tmp_path, monkeypatch, stop_after, steps_of_sgd):
    """Each of the nine steps in turn, in this process: the request comes while the step is computed."""
    steps = [0]
    step_of = train.Learner.begin

    def counted(learner, *args):
        steps[0] += 1
        if steps[0] == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return step_of(learner, *args)

    monkeypatch.setattr(train.Learner, "begin", counted)
    assert run_command("run_net", arguments(ssv2, tmp_path, "sgd")) == 130
    assert steps[0] == stop_after
    assert run_command("run_net", arguments(ssv2, tmp_path, "sgd")) == 0
    assert steps[0] == 9
    assert_same_training(last_checkpoint(tmp_path), steps_of_sgd)
    assert len(list((tmp_path / "checkpoints").iterdir())) <= 4, "of those inside an epoch, the newest two of all"


@pytest.fixture(scope="module")
def steps_of_sgd(ssv2, tmp_path_factory) -> dict:
    output = tmp_path_factory.mktemp("sgd")
    assert run_command("run_net", arguments(ssv2, output, "sgd")) == 0
    return last_checkpoint(output)


@pytest.mark.parametrize("validation", [1, 2, 3])
def test_ctrl_c_in_a_validation(ssv2, tmp_path, monkeypatch, capsys, steps_of_sgd, validation):
    """The weights are saved even where no checkpoint was due, and what would follow does not begin."""
    calls = [0]

    validate = train.validate

    def interrupted(*args):
        calls[0] += 1
        if calls[0] == validation:
            os.kill(os.getpid(), signal.SIGINT)
        validate(*args)

    monkeypatch.setattr(train, "validate", interrupted)
    line = [*arguments(ssv2, tmp_path, "sgd"), "TRAIN.CHECKPOINT_PERIOD", "5", "TEST.ENABLE", "True"]
    assert run_command("run_net", line) == 130
    assert f"Stopped after epoch {validation}, saved as" in capsys.readouterr().err
    assert not (tmp_path / "results.json").exists()
    assert run_command("run_net", line) == 0
    assert calls[0] == 3 and (tmp_path / "results.json").exists()
    assert_same_training(last_checkpoint(tmp_path), steps_of_sgd)


def test_a_second_ctrl_c_ends_at_once(ssv2, tmp_path, monkeypatch, capsys):
    def interrupted_twice(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the step went on after the second Ctrl-C")

    monkeypatch.setattr(train.Learner, "begin", interrupted_twice)
    assert run_command("run_net", arguments(ssv2, tmp_path, "sgd")) == 130
    assert "Interrupted." in capsys.readouterr().err
    assert not (tmp_path / "checkpoints").exists()
