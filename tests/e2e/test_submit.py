"""tools/submit.py without a cluster: what it would run, and what it refuses. With one: tests/slurm."""

import argparse
import shlex
import subprocess

import pytest
from miniatures import CFG, ROOT, command

from slowfast_gta.commands import run_command
from slowfast_gta.commands.submit import minutes_of, task_command
from slowfast_gta.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "minutes"), [("90", 90), ("1:30:00", 90), ("0:00:01", 1), ("2-12:00:00", 3600), ("1-00:00:30", 1441)]
)
def test_time_limits_are_slurms(text, minutes):
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "1h", "1:30", "-5", "1-", "1-12", "a"])
def test_other_time_limits_are_refused(text):
    with pytest.raises(ConfigError, match="--time is"):
        minutes_of(text)


@pytest.mark.parametrize(
    ("cfg", "opts", "gpus", "end"),
    [
        (["a.yaml"], [], 0, ["--cfg", "a.yaml"]),
        (["a.yaml", "RNG_SEED", "1"], [], 8, ["--cfg", "a.yaml", "RNG_SEED", "1", "NUM_GPUS", "8"]),
        (["a.yaml"], ["RNG_SEED", "1"], 8, ["--cfg", "a.yaml", "--opts", "RNG_SEED", "1", "NUM_GPUS", "8"]),
        (["a.yaml", "NUM_GPUS", "2"], [], 8, ["--cfg", "a.yaml", "NUM_GPUS", "2"]),
        (["a.yaml"], ["NUM_GPUS", "2"], 8, ["--cfg", "a.yaml", "--opts", "NUM_GPUS", "2"]),
    ],
)
def test_each_task_runs_what_was_given_on_all_gpus(cfg, opts, gpus, end):
    args = argparse.Namespace(cfg=cfg, opts=opts, gpus_per_node=gpus, trust_plugins=False)
    given = task_command(args)
    assert given[given.index("--cfg") :] == end and given[1:4] == ["-m", "slowfast_gta", "run_net"]


def test_faults_are_reported_before_anything_is_queued(tmp_path):
    for arguments, code, words in [
        (["--time", "1h"], 2, "--time is 1h"),
        (["--time", "60", "--nodes", "0"], 2, "--nodes"),
        (["--time", "60", "DATA.SAMPLNG", "dense"], 2, "DATA.SAMPLING"),
        (["--time", "60"], 1, "submitit"),
    ]:
        # An empty PATH: no sbatch. Without submitit that is said first; either way it is a sentence.
        given = command("--cfg", CFG, "OUTPUT_DIR", tmp_path / "run", *arguments, tool="submit")
        done = subprocess.run(given, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, timeout=60)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        assert words in done.stderr or (code == 1 and "There is no sbatch" in done.stderr), done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("--cfg a.yaml", "--cfg a.yaml NUM_GPUS 8"), ("--cfg a.yaml NUM_GPUS 2", "--cfg a.yaml NUM_GPUS 2")],
)
def test_the_batch_script_gives_each_task_the_nodes_gpus(arguments, expected, tmp_path):
    """With an srun that only says what it was asked to run."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nshift 2\necho "$@"\n')
    srun.chmod(0o755)
    script = ROOT / "tools" / "slurm" / "train.sbatch"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(ROOT), "PYTHON": "/bin/sh"}
    environment |= {"SLURM_JOB_ID": "1", "SLURM_GPUS_ON_NODE": "8"}
    done = subprocess.run(["bash", script, *arguments.split()], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == f"tools/run_net.py {expected}", done.stdout + done.stderr


def test_a_dry_run_prints_what_would_be_submitted_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no sbatch is needed
    given = ["--cfg", str(CFG), "--time", "1:00:00", "--nodes", "2", "--gpus-per-node", "8", "--qos", "high"]
    given += ["--constraint", "a100|h100", "--dry-run", "OUTPUT_DIR", str(tmp_path / "run")]
    assert run_command("submit", given) == 0
    lines = capsys.readouterr().out.splitlines()
    options = {"time=60", "nodes=2", "gpus-per-node=8", "qos=high", "constraint=a100|h100"}
    assert {f"#SBATCH --{option}" for option in options} <= set(lines)
    assert any(line.endswith(f"OUTPUT_DIR {tmp_path / 'run'} NUM_GPUS 8") for line in lines)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_another_command_shows_that_command(tmp_path, capsys, monkeypatch):
    """With its own arguments, and as many tasks a node as there are GPUs."""
    monkeypatch.setenv("PATH", "")
    own = ["--output", str(tmp_path / "features"), "--layer", "s4", "my_videos"]
    given = ["extract_features", "--cfg", str(CFG), "--time", "60", "--gpus-per-node", "4", "--dry-run", *own]
    assert run_command("submit", given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "#SBATCH --ntasks-per-node=4" in lines
    (line,) = [line for line in lines if "slowfast_gta" in line and not line.startswith("#")]
    assert shlex.split(line)[2:] == ["slowfast_gta", "extract_features", "--cfg", str(CFG), "NUM_GPUS", "1", *own]
    assert not list(tmp_path.iterdir())


def test_the_command_line_of_another_command():
    """Its own arguments go through as they were given; each of its tasks has one GPU, and they share the videos."""
    args = argparse.Namespace(cfg=["c.yaml", "DATA.NUM_FRAMES", "8"], opts=[], gpus_per_node=4, trust_plugins=False)
    given = task_command(args, "extract_features", ["--output", "out", "videos"])
    at = given.index("extract_features")
    assert given[at + 1 :] == ["--cfg", "c.yaml", "DATA.NUM_FRAMES", "8", "NUM_GPUS", "1", "--output", "out", "videos"]


def test_a_strangers_run_is_not_imported_by_whoever_submits_it(tmp_path, capsys, monkeypatch):
    """The folder of a run stands for its config, as in the command itself; its PLUGINS are code."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    run = tmp_path / "run"
    run.mkdir()
    (run / "plugin_of_a_stranger.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\n")
    (run / "config.yaml").write_text(f"_BASE_: {CFG}\nPLUGINS: [./plugin_of_a_stranger.py]\n")
    given = ["extract_features", "--cfg", str(run), "--time", "60", "--dry-run", "--output", str(tmp_path / "out"), "v"]
    assert run_command("submit", given) == 2
    assert "--trust-plugins" in capsys.readouterr().err and not (tmp_path / "imported").exists()
    assert run_command("submit", [*given, "--trust-plugins"]) == 0
    assert "--trust-plugins" in capsys.readouterr().out and (tmp_path / "imported").exists()
