"""OUTPUT_DIR is as it was until a run is accepted; log.txt begins with the command and ends with the end."""

import json
import logging
import re
from pathlib import Path

import pytest

from slowfast_gta.commands import run_command
from slowfast_gta.engine.lock import lock_output
from slowfast_gta.engine.output import made_folder, run_output
from slowfast_gta.errors import RunError


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """{name: bytes and time} of all files in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_messages_before_the_run_is_accepted_come_first_in_its_log(tmp_path):
    logger, saved = logging.getLogger("slowfast_gta"), []
    with run_output(tmp_path, lambda: saved.append(1)) as accept:
        logger.info("Before.")
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"] and not saved
        accept()
        accept()
        logger.info("After.")
    logger.info("Of several runs.")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert saved == [1]
    assert "PyTorch" in lines[1] and [line.split("INFO ")[1] for line in lines[2:4]] == ["Before.", "After."]
    assert lines[-1].endswith("complete.")


def test_a_fault_is_the_logs_last_line(tmp_path):
    with pytest.raises(RunError), run_output(tmp_path, lambda: None) as accept:
        accept()
        raise RunError("No such thing.")
    assert (tmp_path / "log.txt").read_text().splitlines()[-1].endswith("No such thing.")


def test_a_refused_run_leaves_a_folder_as_it_was(tmp_path):
    with lock_output(tmp_path):
        pass
    (tmp_path / "log.txt").write_text("mine\n")
    before = contents(tmp_path)
    with pytest.raises(RunError), run_output(tmp_path, lambda: None):
        logging.getLogger("slowfast_gta").warning("Not for the file.")
        raise RunError("Refused.")
    assert contents(tmp_path) == before


def test_and_makes_none(tmp_path):
    folder = tmp_path / "a" / "b"
    with pytest.raises(RunError), made_folder(folder), run_output(folder, lambda: None):
        raise RunError("Refused.")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "fault",
    [
        ("MODEL.NUM_CLASSES", 4),
        ("TRAIN.CHECKPOINT_FILE_PATH", "no_such_file.pyth"),
        ("TEST.CHECKPOINT_FILE_PATH", "no_such_file.pyth"),
        ("TRAIN.BATCH_SIZE", 100),
        ("RESNET.WIDTH_PER_GROUP", 16),
        ("TRAIN.AUTO_RESUME", False),
        ("TRAIN.DATASET", "Kinetics", "TEST.DATASET", "Kinetics"),
        ("TRAIN.ENABLE", False, "RESNET.WIDTH_PER_GROUP", 16),
    ],
    ids=str,
)
def test_a_refused_command_changes_nothing_of_a_finished_run(run_tiny, trained, fault):
    before = contents(trained)
    code, _, err = run_tiny("OUTPUT_DIR", trained, "SOLVER.MAX_EPOCH", 3, *fault)
    assert code in (1, 2) and err.splitlines()[-1]
    assert contents(trained) == before


def test_a_refused_command_leaves_no_folder(run_tiny, tmp_path):
    assert run_tiny("TEST.CHECKPOINT_FILE_PATH", "no_such_file.pyth")[0] == 2
    assert run_tiny("TRAIN.BATCH_SIZE", 100)[0] == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("output", [["OUTPUT_DIR", "x"], []])
def test_several_configs_are_not_for_one_folder(tmp_path, capsys, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    files = ["configs/SSv1/R2D50.yaml", "configs/SSv2/R2D50.yaml"]  # both are called R2D50
    assert run_command("run_net", ["--cfg", *files, *output]) == 2
    assert "OUTPUT_DIR" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_test_weights_of_another_network_are_found_before_training(run_tiny, trained, tmp_path):
    weights = trained / "checkpoints" / "checkpoint_epoch_00002.pyth"
    code, _, err = run_tiny("RESNET.WIDTH_PER_GROUP", 16, "TEST.CHECKPOINT_FILE_PATH", weights)
    assert code == 1 and str(weights) in err
    assert not (tmp_path / "run").exists()


def test_changed_keys_are_listed_with_both_values(run_tiny, tmp_path):
    few = ("SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False)
    assert run_tiny(*few)[0] == 0
    code, _, err = run_tiny(*few, "SOLVER.MAX_EPOCH", 2, "SOLVER.BASE_LR", 0.25, "TRAIN.BATCH_SIZE", 3)
    assert code == 0
    changed = [line.strip() for line in err.splitlines() if re.fullmatch(r" *[A-Z.]+[A-Z_.]*: \S+ -> \S+", line)]
    assert sorted(changed) == ["SOLVER.BASE_LR: 0.01 -> 0.25", "SOLVER.MAX_EPOCH: 1 -> 2", "TRAIN.BATCH_SIZE: 4 -> 3"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6, 7], "3 of 4 clips, then 4 of 3"
    assert [row["step"] for row in rows if row["kind"] == "val"] == [3, 7]
