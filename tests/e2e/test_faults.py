"""What a new user does wrong, one by one: a sentence that says where and what to do, an exit code, no traceback."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from miniatures import CFG, ROOT, TINY, command, keys, make_ssv2, metrics, run

from slowfast_gta.commands import run_command
from slowfast_gta.engine.checkpoint import checkpoint


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (("DATA.PATH_TO_DATA_DIR", "/no/such/folder"), ["DATA.PATH_TO_DATA_DIR is /no/such/folder", "does not exist"]),
        (("DATA.PATH_TO_DATA_DIR", ""), ["DATA.PATH_TO_DATA_DIR is not set"]),
        (("TRAIN.BATCHSIZE", 4), ["TRAIN.BATCHSIZE is not a key", "TRAIN.BATCH_SIZE"]),
        (("TRAIN.BATCH_SIZE", "many"), ["TRAIN.BATCH_SIZE must be a whole number"]),
        (("ATTENTION.NAME", "GTAA"), ["ATTENTION.NAME", "'GTAA'", "Did you mean GTA"]),
        (("TRAIN.DATASET", "SSv3"), ["TRAIN.DATASET", "'SSv3'", "Known:", "SSv2"]),
        (("MODEL.NUM_CLASSES", 4), ["MODEL.NUM_CLASSES is 4", "SSv2 has 3 classes"]),
        (
            ("ATTENTION.NAME", "GTA", "ATTENTION.LOCATION", "[[[]],[[0]],[[]],[[]]]", "ATTENTION.OPTIONS.GROUPS", 7),
            ["GROUPS", "7", "64"],
        ),
        (
            ("ATTENTION.NAME", "GTA", "ATTENTION.LOCATION", "[[[]],[[3]],[[]],[[]]]"),
            ["ATTENTION.LOCATION names block 3 of res3", "only 0 is allowed"],
        ),
        (("NUM_SHARDS", 2), ["NUM_SHARDS is 2", "--init_method tcp://HOST:PORT", "--shard_id"]),
        (("TRAIN.CHECKPOINT_FILE_PATH", "/no/r50.pth"), ["TRAIN.CHECKPOINT_FILE_PATH", "/no/r50.pth"]),
        (("SOLVER.BASE_LR", 1e30), ["SOLVER.BASE_LR", "1e+30"]),
    ],
)
def test_a_wrong_key_ends_with_exit_code_2(run_tiny, pairs, words):
    code, out, err = run_tiny(*pairs)
    assert code == 2 and out == ""
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (("TRAIN.BATCH_SIZE", 13), ["12 videos, fewer than TRAIN.BATCH_SIZE 13", "Set TRAIN.BATCH_SIZE"]),
        (("TRAIN.ENABLE", False), ["nothing to test", "TEST.CHECKPOINT_FILE_PATH"]),
        (
            ("SOLVER.BASE_LR", 1e9, "SOLVER.WEIGHT_DECAY", 1e9),
            ["The loss is nan", "step 3", "videos 10", "SOLVER.BASE_LR"],
        ),
        pytest.param(
            ("NUM_GPUS", 1),
            ["NUM_GPUS is 1", "PyTorch sees 0 CUDA GPUs", "Set NUM_GPUS to 0"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
    ],
)
def test_work_that_cannot_be_done_ends_with_exit_code_1(run_tiny, pairs, words):
    code, out, err = run_tiny(*pairs)
    assert code == 1 and out == "", err
    for word in words:
        assert word in err


def test_a_config_that_is_not_there(run_tiny):
    code, _, err = run_tiny(cfg=Path("configs/SSv2/R2D50_GAT.yaml"))
    assert code == 2 and "There is no config configs/SSv2/R2D50_GAT.yaml" in err and "R2D50_GTA.yaml" in err


def test_an_empty_data_folder(run_tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run_tiny(data=tmp_path / "empty")
    assert code == 1 and "something-something-v2-labels.json: " in err
    assert "DATA.PATH_TO_DATA_DIR" in err


def test_a_label_that_is_not_in_the_list(run_tiny, tmp_path):
    data = make_ssv2(tmp_path / "data", 4, 2)
    path = data / "something-something-v2-train.json"
    path.write_text(path.read_text().replace("Covering [something]", "Covring [something]"))
    code, _, err = run_tiny(data=data)
    assert code == 1 and "something-something-v2-train.json, entry 0 (id 1000)" in err
    assert re.search(r"'Covring something' .*\(3\).*'Covering something'", err)


def break_video(path: Path, how: str) -> None:
    if how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "text":
        path.write_text("This is no video.\n")
    else:
        path.unlink()


BROKEN = ["truncated", "text", "gone"]


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_video_stops_training(run_tiny, tmp_path, how):
    data = make_ssv2(tmp_path / "data", 4, 2)
    broken = data / "20bn-something-something-v2" / "1002.webm"
    break_video(broken, how)
    code, _, err = run_tiny(data=data)
    assert code == 1 and str(broken) in err and "DATA.ON_ERROR" in err


@pytest.mark.parametrize("on_error", ["skip", "replace"])
def test_broken_videos_that_are_left_out_are_counted(run_tiny, tmp_path, on_error):
    data = make_ssv2(tmp_path / "data", 8, 2)
    for number, how in zip((1001, 1002, 1003), BROKEN, strict=True):
        break_video(data / "20bn-something-something-v2" / f"{number}.webm", how)
    code, _, err = run_tiny("DATA.ON_ERROR", on_error, "TRAIN.BATCH_SIZE", 8, data=data)
    assert code == 0, err
    for number in (1001, 1002, 1003):
        assert f"{number}.webm" in err
    rows = [row for row in metrics(tmp_path / "run") if row["kind"] == "train"]
    assert [row["broken_videos"] for row in rows] == [3, 3]
    num_skipped, num_replaced = (3, 0) if on_error == "skip" else (0, 3)
    counts = rf"\b8 videos\b.*\b5 decoded, {num_skipped} skipped, {num_replaced} replaced\b.*\b0 timed out\b"
    assert len(re.findall(counts, (tmp_path / "run" / "log.txt").read_text())) == 2


def test_nothing_but_broken_videos_stops_training_even_with_skip(run_tiny, tmp_path):
    data = make_ssv2(tmp_path / "data", 4, 2)
    for number in range(1000, 1004):
        break_video(data / "20bn-something-something-v2" / f"{number}.webm", "text")
    code, _, err = run_tiny("DATA.ON_ERROR", "skip", data=data)
    assert code == 1 and "1000.webm" in err


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_video_in_a_test_is_missing_and_the_result_not_final(run_tiny, tmp_path, trained, how):
    data = make_ssv2(tmp_path / "data")
    break_video(data / "20bn-something-something-v2" / "1013.webm", how)
    weights = checkpoint.list_checkpoints(trained)[-1][1]
    code, _, err = run_tiny("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", weights, data=data)
    assert code == 0, err
    assert "NOT FINAL, 1 video missing" in err and "missing: 1013:" in err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["num_missing"], results["num_videos"], results["final"]) == (1, 5, False)
    assert "1013.webm" in results["missing"]["1013"]


def test_all_videos_of_a_test_broken(run_tiny, tmp_path, trained):
    data = make_ssv2(tmp_path / "data")
    for number in range(1012, 1018):
        break_video(data / "20bn-something-something-v2" / f"{number}.webm", "text")
    weights = checkpoint.list_checkpoints(trained)[-1][1]
    code, _, err = run_tiny("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", weights, data=data)
    assert code == 1 and re.search(r"\bNo video of the split test\b.*\(of 6\)", err)  # found before testing begins
    assert not (tmp_path / "run" / "results.json").exists()


def test_an_output_dir_that_is_a_file(run_tiny, tmp_path):
    (tmp_path / "run").write_text("")
    code, _, err = run_tiny()
    assert code == 2 and f"OUTPUT_DIR is {tmp_path / 'run'}" in err


def test_an_empty_checkpoint_is_no_weights_to_test(run_tiny, tmp_path):
    (tmp_path / "weights.pyth").touch()
    code, _, err = run_tiny("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", tmp_path / "weights.pyth")
    assert code == 1 and f"{tmp_path / 'weights.pyth'} cannot be read" in err


def test_a_checkpoint_of_another_network_in_output_dir(run_tiny, tmp_path, trained):
    shutil.copytree(trained / "checkpoints", tmp_path / "run" / "checkpoints")
    code, _, err = run_tiny("RESNET.WIDTH_PER_GROUP", 16)
    assert code == 1 and re.search(r"\bcheckpoint in OUTPUT_DIR\b.*\banother network\b.*\banother OUTPUT_DIR\b", err)


_OTHER = r"\bcheckpoint in OUTPUT_DIR\b.*\boptimiser\b.*\banother OUTPUT_DIR\b"


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (None, r"\bcheckpoint_epoch_\d+\.pyth\b.*\boptimizer_state\b"),
        ({"lr": 0.1}, _OTHER),
        ({"state": {}, "param_groups": [1]}, _OTHER),
    ],
)
def test_a_checkpoint_of_another_program_in_output_dir(run_tiny, tmp_path, trained, optimizer, message):
    newest = checkpoint.list_checkpoints(trained)[-1][1]
    content = torch.load(newest, weights_only=True) | {"optimizer_state": optimizer}
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "run" / "checkpoints" / newest.name)
    code, _, err = run_tiny()
    assert code == 1 and re.search(message, err), err


def test_a_head_of_another_size_is_not_tested(run_tiny, tmp_path, trained):
    data = make_ssv2(tmp_path / "data", 4, 2, num_classes=5)
    weights = checkpoint.list_checkpoints(trained)[-1][1]
    pairs = ("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", weights, "MODEL.NUM_CLASSES", 5)
    code, _, err = run_tiny(*pairs, data=data)
    assert code == 1 and "head.projection.weight (3x256 in the file, 5x256 in the network)" in err


# ------------------------------------------------------------------------------------------ disks and permissions


def mounted(folder: Path, *options: str) -> bool:
    """Mount what `options` say on `folder`; False where this user or machine may not."""
    folder.mkdir(exist_ok=True)
    return os.geteuid() == 0 and subprocess.run(["mount", *options, folder], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MiB, on which a checkpoint of TINY has no room twice."""
    folder = tmp_path / "disk"
    if not mounted(folder, "-t", "tmpfs", "-o", "size=1m", "none"):
        pytest.skip("a small disk can be mounted by root only, and not in every container")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def read_only(tmp_path):
    """A folder on a disk that is mounted read-only."""
    folder = tmp_path / "read_only"
    if not mounted(folder, "-t", "tmpfs", "-o", "ro,size=1m", "none"):
        pytest.skip("a read-only disk can be mounted by root only, and not in every container")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_while_training_leaves_the_earlier_checkpoints(ssv2, small_disk):
    """A checkpoint is 330 kB: two have room, and after them what is written in numbers and words has."""
    (small_disk / "filler").write_bytes(bytes(150_000))
    where = ("DATA.PATH_TO_DATA_DIR", ssv2, "OUTPUT_DIR", small_disk / "run", "SOLVER.MAX_EPOCH", 4)
    where += ("TRAIN.CHECKPOINT_PERIOD", 1, "RESNET.WIDTH_PER_GROUP", 4, "TENSORBOARD.ENABLE", True)
    result = run(command("--cfg", CFG, *keys(*TINY, *where)))
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    assert "could not be written" in result.stderr and "Earlier checkpoints are intact" in result.stderr
    whole = checkpoint.list_checkpoints(small_disk / "run")
    assert whole and all(torch.load(path, weights_only=True)["model_state"] for _, path in whole)
    assert not list((small_disk / "run" / "checkpoints").glob("*.tmp"))


# No room for config.yaml, for log.txt, for TensorBoard.
@pytest.mark.parametrize("left", [0, *(pytest.param(left, marks=pytest.mark.slow) for left in (4096, 8192))])
def test_a_disk_that_is_full_from_the_start(ssv2, small_disk, left):
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize - left))
    where = ("DATA.PATH_TO_DATA_DIR", ssv2, "OUTPUT_DIR", small_disk, "TENSORBOARD.ENABLE", True)
    result = run(command("--cfg", CFG, *keys(*TINY, *where)))
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    assert "No space left on device" in result.stderr


def test_an_output_dir_on_a_read_only_disk(run_tiny, read_only):
    code, _, err = run_tiny("OUTPUT_DIR", read_only / "run")
    assert code == 2 and "OUTPUT_DIR" in err and str(read_only) in err


@pytest.fixture
def copied_installer(tmp_path):
    """tools/install.sh alone in a folder of its own."""
    tree = tmp_path / "clone"
    (tree / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "install.sh", tree / "tools")
    return tree / "tools" / "install.sh"


def test_no_permission_for_the_venv(copied_installer, read_only):
    subprocess.run(["mount", "-o", "remount,rw", read_only], check=True)
    (read_only / "tools").mkdir()
    shutil.copy(copied_installer, read_only / "tools")
    subprocess.run(["mount", "-o", "remount,ro", read_only], check=True)
    result = run(["sh", str(read_only / "tools" / "install.sh"), sys.executable])
    assert result.returncode == 1
    assert f"error: nothing can be written in {read_only}/.venv" in result.stderr


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('case "$1" in --version) echo Python 3.9.1;; *) exit 1;; esac', "is Python 3.9.1; Python 3.11 or newer"),
        ('case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac', "has no venv module"),
    ],
)
def test_a_python_that_will_not_do(copied_installer, tmp_path, script, words):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    result = run(["sh", str(copied_installer), str(python)])
    assert result.returncode == 1 and words in result.stderr


def test_no_python_at_all(copied_installer):
    result = run(["sh", str(copied_installer), "python9"])
    assert result.returncode == 1 and "there is no python9 here" in result.stderr


@pytest.mark.parametrize("name", ["run_net", "predict"])
def test_a_flag_that_is_not_there(name, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(name, ["--cfg", str(CFG), "--weights", "w", "--no_such_flag", "v.mp4"])
    assert ended.value.code == 2 and "Traceback" not in capsys.readouterr().err
