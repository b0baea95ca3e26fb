"""A project on top of the core (tests/support/toy_sequences): what the engine promises to any Task, it gives to it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from miniatures import ROOT
from toy_sequences.task import SECTION, Recurrent

from slowfast_gta import load_config
from slowfast_gta.commands import run_command
from slowfast_gta.distributed.launch_context import free_port
from slowfast_gta.errors import ConfigError

TOY = ROOT / "tests" / "support" / "toy_sequences" / "run.py"
YAML = """\
TOY: {CHANNELS: 6, BAD: [3]}
DATA: {ON_ERROR: skip}
TRAIN: {BATCH_SIZE: 4, EVAL_PERIOD: 1, CHECKPOINT_PERIOD: 1, CHECKPOINT_PERIOD_STEPS: 1, KEEP_BEST: True}
SOLVER: {MAX_EPOCH: 3, OPTIMIZING_METHOD: Adam, BASE_LR: 0.01, WARMUP_EPOCHS: 0.0, ACCUMULATE_STEPS: 2}
EMA: {ENABLE: True, DECAY: 0.9}
TENSORBOARD: {ENABLE: False}
LOG_PERIOD: 1
STAGES:
  first: {}
  second: {SOLVER: {MAX_EPOCH: 2}}
"""


def run_toy(folder: Path, *pairs: object, num_processes: int = 1, killed_at: str = "") -> list[tuple[int, str]]:
    """(exit code, stderr) of each process."""
    (folder / "toy.yaml").write_text(YAML)
    line = [sys.executable, str(TOY), "--cfg", str(folder / "toy.yaml"), "OUTPUT_DIR", str(folder / "run")]
    line += [str(item) for item in pairs]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOY_KILLED_AT": killed_at}
    shards = ["--init_method", f"tcp://127.0.0.1:{free_port()}", "--num_shards", str(num_processes), "--shard_id"]
    processes = [
        subprocess.Popen(
            [*line, *([*shards, str(rank)] if num_processes > 1 else [])],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(num_processes)
    ]
    outputs = [process.communicate(timeout=170)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, outputs, strict=True)]


def last_checkpoint(stage: Path) -> dict:
    return torch.load(sorted((stage / "checkpoints").glob("checkpoint_epoch_*.pyth"))[-1], weights_only=True)


def assert_same_tensors(found: object, wanted: object) -> None:
    if isinstance(wanted, torch.Tensor):
        assert torch.equal(found, wanted)
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert_same_tensors(found[key], value)
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same_tensors(one, other)
    else:
        assert found == wanted


@pytest.fixture(scope="module", params=[1, 2])
def undisturbed(request, tmp_path_factory) -> tuple[int, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    for code, output in run_toy(folder, num_processes=request.param):
        assert code == 0, output
    return request.param, folder / "run"


def test_a_project_trains_tests_and_leaves_what_a_run_leaves(undisturbed):
    _, run = undisturbed
    results = json.loads((run / "second" / "results.json").read_text())
    assert results["split"] == "test" and results["num_sequences"] == 10 and 0 <= results["accuracy"] <= 100
    rows = [json.loads(line) for line in (run / "first" / "metrics.jsonl").read_text().splitlines()]
    train = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in train] == list(range(1, 16)), "5 steps of 4 in 22 sequences, 3 epochs"
    assert all({"loss", "accuracy", "grad_norm", "lr", "num_requested", "num_skipped"} <= row.keys() for row in train)
    assert sum(row["num_skipped"] for row in train if row["step"] % 5 == 0) >= 1, "sequence 3 cannot be read"
    assert "3\t3: it is bad." in (run / "first" / "bad_files.txt").read_text()
    assert (run / "first" / "checkpoints" / "checkpoint_best.pyth").exists()


def test_checkpoints_hold_what_is_trained_and_the_digest_of_the_rest(undisturbed):
    _, run = undisturbed
    content = last_checkpoint(run / "second")
    assert content["task"] == "toy sequences"
    for part in ("model_state", "ema_state"):
        assert not [name for name in content[part] if name.startswith("base.")]
        assert "classifier.weight" in content[part]
    manifest = json.loads((run / "first" / "artefacts" / "artefacts.json").read_text())
    assert list(manifest["files"]) == ["shift.json"] and content["builds_on"]["shift"] and content["builds_on"]["base"]


def test_killed_and_resumed_it_ends_with_the_same_bits(undisturbed, tmp_path):
    num_processes, wanted = undisturbed
    killed_at = {1: "1 0 4", 2: "0 1 2"}[num_processes]  # in the second stage; in the second epoch of the first
    ended = run_toy(tmp_path, num_processes=num_processes, killed_at=f"{killed_at} {num_processes - 1}")
    assert all(code != 0 for code, _ in ended)
    for code, output in run_toy(tmp_path, num_processes=num_processes):
        assert code == 0, output
    for stage in ("first", "second"):
        found, whole = last_checkpoint(tmp_path / "run" / stage), last_checkpoint(wanted / stage)
        for part in ("model_state", "optimizer_state", "ema_state", "random_state"):
            assert_same_tensors(found[part], whole[part])
    results = [json.loads((run / "second" / "results.json").read_text()) for run in (tmp_path / "run", wanted)]
    assert results[0]["accuracy"] == results[1]["accuracy"]


@pytest.fixture
def run_here(tmp_path, capsys):
    """run_here(KEY, VALUE, ...) -> (exit code, stderr), in this process; of each stage one epoch, unless given."""

    def call(*pairs: object) -> tuple[int, str]:
        (tmp_path / "toy.yaml").write_text(YAML)
        one_epoch = ("STAGES.first.SOLVER.MAX_EPOCH", 1, "STAGES.second.SOLVER.MAX_EPOCH", 1)
        line = ["--cfg", tmp_path / "toy.yaml", "OUTPUT_DIR", tmp_path / "run", *one_epoch, *pairs]
        code = run_command("command", [str(item) for item in line], package="toy_sequences")
        output = capsys.readouterr().err
        assert "Traceback" not in output, output
        return code, output

    return call


def test_what_a_run_builds_on_may_not_change(run_here):
    assert run_here()[0] == 0
    code, output = run_here("TOY.BASE_SEED", 1)
    assert code == 1 and "base was" in output
    code, output = run_here("STAGES.first.SOLVER.MAX_EPOCH", 2, "STAGES.second.SOLVER.MAX_EPOCH", 2)
    assert code == 1 and "shift was" in output, "the first stage went on: the second began from other artefacts"


def test_an_artefact_that_was_changed_is_refused(run_here, tmp_path):
    assert run_here()[0] == 0
    (tmp_path / "run" / "first" / "artefacts" / "shift.json").write_text("0.25")
    code, output = run_here()
    assert code == 1 and "shift.json" in output


def test_batches_without_a_sample_on_one_process_count_nothing(tmp_path):
    """Of 4 sequences, two on each process: those of one process are often all bad."""
    bad = list(range(0, 22, 2))
    for code, output in run_toy(tmp_path, "TOY.BAD", bad, "SOLVER.MAX_EPOCH", 1, num_processes=2):
        assert code == 0, output
    rows = [json.loads(line) for line in (tmp_path / "run" / "first" / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if row["kind"] == "train"][-1]
    assert last["num_requested"] == 20 and last["num_skipped"] >= 9 and last["loss"] > 0


def test_a_misspelled_key_of_a_project_is_reported_with_its_line(tmp_path):
    (tmp_path / "toy.yaml").write_text("TOY:\n  CHANELS: 3\nSOLVER:\n  BASE_LRR: 1.0\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "toy.yaml", extra=SECTION)
    output = str(caught.value)
    assert "toy.yaml:2" in output and "TOY.CHANNELS" in output and "toy.yaml:4" in output and "SOLVER.BASE_LR" in output


def test_the_base_of_the_toy_is_frozen():
    model = Recurrent(6, 5, 0)
    assert {name for name, one in model.named_parameters() if not one.requires_grad} == {"base.weight", "base.bias"}
