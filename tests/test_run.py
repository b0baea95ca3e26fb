"""What run_net says at its end: where everything is."""

from pathlib import Path

from slowfast_gta.engine.checkpoint.checkpoint import BEST
from slowfast_gta.run import files_of


def test_everything_that_a_run_has_left_is_listed(trained):
    lines = [line.split() for line in files_of(trained)]
    assert [line[0] for line in lines] == ["checkpoint", "results", "log", "numbers", "config"]
    named = {Path(name) for line in lines for name in line[1:]}
    assert all(path.exists() for path in named)
    assert {path.name for path in named} == {
        *("checkpoint_epoch_00002.pyth", "results.json", "scores.npz", "confusion.png", "log.txt", "metrics.jsonl"),
        *("config.yaml", "curves.png"),
    }


def test_and_nothing_that_is_not_there(tmp_path, trained):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / BEST).touch()
    (tmp_path / "tensorboard").mkdir()
    assert [line.split() for line in files_of(tmp_path)] == [
        ["checkpoint", str(tmp_path / "checkpoints" / BEST)],
        ["numbers", str(tmp_path / "tensorboard")],
    ]


def test_run_net_reports_it(run_tiny, tmp_path):
    code, _, err = run_tiny("TEST.ENABLE", False, "SOLVER.MAX_EPOCH", 1)
    assert code == 0 and f"Run outputs: {tmp_path / 'run'}" in err
    assert f"  checkpoint  {tmp_path / 'run' / 'checkpoints' / 'checkpoint_epoch_00001.pyth'}" in err
