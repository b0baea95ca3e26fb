"""Several runs at a time: each once, with its share of the cores; what fails is told, and the others go on."""

import csv
import io
import subprocess
import sys

import pytest
from miniatures import command, run

from slowfast_gta.experiments import sweep
from slowfast_gta.experiments.outcomes import load_finished, load_outcome
from slowfast_gta.experiments.plan import build_plan, unique_runs
from slowfast_gta.experiments.sweep import Job, run_jobs, threads_of_each, write_jobs
from slowfast_gta.experiments.table import load_table

TABLE = """CFG: configs/Synthetic/R2D.yaml
SEEDS: 2
LEARNING_RATES: [0.002, 0.001]
BLIND: [R2D]
METRICS: [top1, pairs.choice, order.both_ways]
SET:
  RESNET: {DEPTH: 14, WIDTH_PER_GROUP: 8}
  SYNTHETIC: {NUM_TRAIN: 64, NUM_VAL: 36, HEIGHT: 36, WIDTH: 48}
  DATA: {RESIZE: [30, 40], TRAIN_CROP_SIZE: 28, TEST_CROP_SIZE: 28, PATH_TO_DATA_DIR: VIDEOS}
  SOLVER: {MAX_EPOCH: 2}
  TRAIN.EVAL_PERIOD: 2
  DATA_LOADER.NUM_WORKERS: 0
  TEST: {REPORT: False, BACKWARDS: True}
  TENSORBOARD.ENABLE: False
ROWS:
  - {NAME: R2D, PAPER: 17.0}
  - NAME: GTA
    PAPER: 50.6
    SET: {ATTENTION: {NAME: GTA, LOCATION: [[[]], [[0]], [[]], [[]]], OPTIONS: {GROUPS: 4}}}
CLAIMS: [[GTA, R2D]]
"""

# Stands for run_net: notes its threads, fails for one seed.
STAND_IN = """
import json, os, sys
from pathlib import Path
import yaml
cfg = yaml.safe_load(Path(sys.argv[1]).read_text())
folder = Path(cfg["OUTPUT_DIR"])
folder.mkdir(parents=True)
if cfg["RNG_SEED"] == 2:
    sys.exit("error: the stand-in does not like seed 2")
results = {"top1": 50.0 + cfg["RNG_SEED"], "threads": os.environ["OMP_NUM_THREADS"]}
results |= {"checkpoint": "/somewhere/checkpoint_epoch_00002.pyth"}
(folder / "results.json").write_text(json.dumps(results))
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "table.yaml").write_text(TABLE.replace("VIDEOS", str(tmp_path / "videos")))
    return unique_runs([build_plan(load_table(tmp_path / "table.yaml"), [1, 2, 3], tmp_path / "runs")])


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(Job, "command", property(lambda job: [sys.executable, str(script), str(job.config)]))
    monkeypatch.setattr(sweep, "num_cores", lambda: 8)


def test_all_are_run_and_failures_are_reported(plan, stand_in, tmp_path, caplog):
    ended = []
    failed = run_jobs(write_jobs(plan, tmp_path / "runs"), 3, ended.append)
    assert sorted(job.run.seed for job in ended) == [1, 1, 3, 3]
    assert sorted(job.run.row for job in failed) == ["GTA", "R2D"] and {job.run.seed for job in failed} == {2}
    assert "does not like seed 2" in caplog.text and "exit code 1" in caplog.text
    results = load_outcome(ended[0].run, None)
    assert results.results["threads"] == "2"  # 8 cores for 3 jobs
    assert (
        results.results["checkpoint"] == "checkpoint_epoch_00002.pyth"
        and results.seconds > 0
        and results.cpu_seconds > 0
    )
    assert results.cost["params_m"] > 0
    assert [load_outcome(job.run, None) for job in failed] == [None, None]


def test_threads_of_all_are_no_more_than_the_cores(monkeypatch):
    monkeypatch.setattr(sweep, "num_cores", lambda: 4)
    assert [threads_of_each(jobs) for jobs in (1, 2, 3, 4, 9)] == [4, 2, 1, 1, 1]


@pytest.mark.slow
def test_killed_and_run_again_it_gives_the_same_table(tmp_path):
    """On real runs: compare is killed as soon as a run has a checkpoint; its runs end with it, and go on after it."""
    (tmp_path / "table.yaml").write_text(TABLE.replace("VIDEOS", str(tmp_path / "videos")))

    def line(name: str) -> list[str]:
        return command(tmp_path / "table.yaml", "--jobs", 2, "--output", tmp_path / name, tool="compare")

    whole = run(line("whole"), cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(line("cut"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("cut/runs/*/checkpoints/*.pyth")):
        pass
    process.kill()
    process.wait()
    again = run(line("cut"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr

    def numbers(name: str) -> list[dict[str, str]]:
        text = (tmp_path / name / "table" / "results.csv").read_text()
        rows = csv.DictReader(io.StringIO(text))
        return [{key: cell for key, cell in row.items() if "seconds" not in key} for row in rows]

    assert numbers("cut") == numbers("whole") and len(numbers("whole")) == 2 * 2 * 3
    blind = [row for row in numbers("whole") if (row["row"], row["metric"]) == ("R2D", "order.both_ways")]
    assert [(row["recipe"], row["mean"], row["standard_deviation"]) for row in blind] == [
        ("one", "50.0", "0.0"),
        ("chosen_rate", "50.0", "0.0"),
    ]  # order-blind: exactly half, in every seed and with every rate
    assert {row["learning_rate"] for row in numbers("whole")} <= {"", "0.002", "0.001"}

    folders = sorted(path.parent for path in tmp_path.glob("whole/runs/*/results.json"))
    at_random = run(command("--runs", *folders, "--intervals", "bootstrap", "--output", tmp_path / "b", tool="compare"))
    assert at_random.returncode == 0 and "bootstrap" in at_random.stdout, at_random.stderr
    compared = run(command("--runs", *folders, "--output", tmp_path / "runs", tool="compare"), cwd=tmp_path)
    assert compared.returncode == 0 and "± " in compared.stdout, compared.stderr
    assert load_finished(folders[0]).results["order"]["num_videos"] == 32
