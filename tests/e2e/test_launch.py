"""tools/run_net.py on several processes, however they are started: they train as one, test as one, and end as one."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from miniatures import CFG, ROOT, TINY, command, keys, make_ssv2, metrics
from shards import ALIKE, arguments, assert_well, ends, start, start_shards

from slowfast_gta.distributed.launch_context import free_port

ENDLESS = ["SOLVER.MAX_EPOCH", 100000, "TRAIN.EVAL_PERIOD", 100000, "TRAIN.CHECKPOINT_PERIOD", 100000]


def wait_for_step(processes: list[subprocess.Popen], output: Path, step: int) -> None:
    path, limit = output / "metrics.jsonl", time.monotonic() + 100
    while time.monotonic() < limit and all(process.poll() is None for process in processes):
        if path.exists() and len(path.read_text().splitlines()) >= step:
            return
        time.sleep(0.01)
    pytest.fail(f"step {step} never came: {ends(processes)}")


@pytest.fixture(scope="module")
def one(ssv2, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("one")
    ended = ends([start(command(*arguments(ssv2, output)))])
    assert_well(ended)
    assert "1 process on a CPU: batches of 6 clips" in ended[0][1]
    return output


@pytest.fixture(
    scope="module",
    params=[2, *(pytest.param(num, marks=pytest.mark.slow) for num in (3, 4))],
    ids="{} processes".format,
)
def several(request, ssv2, tmp_path_factory) -> tuple[int, Path, list[tuple[int, str]]]:
    """(how many, OUTPUT_DIR, (exit code, stderr) of each); batches of 6 clips, which 4 share unequally."""
    output = tmp_path_factory.mktemp("several")
    return request.param, output, ends(start_shards(request.param, ssv2, output))


def test_processes_log_their_share_of_the_work(several):
    number, _, ended = several
    assert_well(ended)
    share = {2: "3", 3: "2", 4: "1 or 2"}[number]
    wanted = (
        f"{number} processes on {number} machines (shards), a CPU each, gloo: batches of 6 clips in all, {share} for"
    )
    assert wanted in ended[0][1]


def test_only_the_first_writes_and_speaks(several):
    _, output, ((_, first), *others) = several
    assert [row["step"] for row in metrics(output) if row["kind"] == "train"] == [1, 2, 3, 4]
    assert len([row for row in metrics(output) if row["kind"] == "test"]) == 1
    assert (output / "log.txt").read_text().count("Test: top-1") == first.count("Test: top-1") == 1
    assert not list(output.glob("log_rank*")), "a process writes a log of its own when something goes wrong"
    assert all(printed == "" for _, printed in others)


def test_however_many_they_learn_the_same(several, one):
    _, output, _ = several
    losses = [[row["loss"] for row in metrics(folder) if row["kind"] == "train"] for folder in (output, one)]
    np.testing.assert_allclose(*losses, atol=1e-5, rtol=0)
    name = "checkpoints/checkpoint_epoch_00002.pyth"
    found, wanted = (torch.load(folder / name, weights_only=True)["model_state"] for folder in (output, one))
    assert not any(key.startswith("module.") for key in found)
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=1e-4, msg=key)


def test_any_number_of_processes_gives_the_same_bits(several, run_tiny, tmp_path):
    """The weights that several trained, tested by them and by one process: the same bits."""
    _, output, _ = several
    weights = output / "checkpoints/checkpoint_epoch_00002.pyth"
    code, _, err = run_tiny(*ALIKE, "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", weights)
    assert code == 0, err
    with np.load(output / "scores.npz") as found, np.load(tmp_path / "run" / "scores.npz") as wanted:
        assert found["video_id"].tolist() == wanted["video_id"].tolist()
        np.testing.assert_array_equal(found["scores"], wanted["scores"])
    results = [json.loads((folder / "results.json").read_text()) for folder in (output, tmp_path / "run")]
    different = {"seconds", "checkpoint", "environment"}
    assert {key: results[0][key] for key in results[0].keys() - different} == {
        key: results[1][key] for key in results[1].keys() - different
    }


# --------------------------------------------------------------------------------------------- other launchers


def test_torchrun(ssv2, tmp_path, one):
    """Two configs, one after the other: each meets at a port of its own."""
    files = [tmp_path / f"{name}.yaml" for name in ("run", "again")]
    for file in files:
        file.write_text(f"_BASE_: {CFG}\nOUTPUT_DIR: {file.with_suffix('')}\n")
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    line += command("--cfg", *map(str, files), *keys(*TINY, *ALIKE, "DATA.PATH_TO_DATA_DIR", ssv2))[1:]
    ended = ends([start(line)])
    assert ended[0][0] == 0, ended
    output = ended[0][1]
    assert output.count("2 processes on 1 machine (torchrun)") == 2 and output.count("Test: top-1") == 2
    losses = [[row["loss"] for row in metrics(folder)[:2]] for folder in (tmp_path / "run", one)]
    np.testing.assert_allclose(*losses, atol=1e-5, rtol=0)


def srun_environment(rank: int, **more: str) -> dict[str, str]:
    """What srun gives to one of two tasks on two nodes; the names of the nodes are this machine's."""
    return {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "node[1-2]",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(rank),
        "SLURM_LOCALID": "0",
        "MASTER_ADDR": "127.1.2.3",
    } | more


def test_srun_finds_out_by_itself(ssv2, tmp_path, one):
    line = command(*arguments(ssv2, tmp_path))
    ended = ends([start(line, **srun_environment(rank)) for rank in (0, 1)])
    assert_well(ended)
    assert re.search(r"\b2 processes\b.*\b2 machines \(srun\).*\bCPU\b.*\bgloo\b", ended[0][1]) and ended[1][1] == ""
    losses = [[row["loss"] for row in metrics(folder)[:2]] for folder in (tmp_path, one)]
    np.testing.assert_allclose(*losses, atol=1e-5, rtol=0)


def test_srun_never_meets_at_localhost(ssv2, tmp_path):
    line = command(*arguments(ssv2, tmp_path))
    ended = ends([start(line, **srun_environment(rank, MASTER_ADDR="localhost")) for rank in (0, 1)])
    assert [code for code, _ in ended] == [2, 2]
    assert all("MASTER_ADDR is localhost, " in output for _, output in ended)


def test_the_flag_is_stronger_than_the_yaml(run_tiny):
    code, _, err = run_tiny("NUM_SHARDS", 3, "SHARD_ID", 2)
    assert code == 2 and "NUM_SHARDS is 3" in err and "--init_method" in err
    code, _, err = run_tiny("NUM_SHARDS", 3, "SHARD_ID", 2, "--num_shards", 1, "--shard_id", 0, "TEST.ENABLE", False)
    assert code == 0, err


# ------------------------------------------------------------------------------------------------- all end as one


def test_a_broken_video_of_one_process_ends_both_with_its_message(tmp_path):
    data = make_ssv2(tmp_path / "data", 8, 2)
    (data / "20bn-something-something-v2" / "1004.webm").write_text("no video")
    skipping = ("DATA.ON_ERROR", "skip", "LOG_PERIOD", 10, "TEST.ENABLE", False, "TRAIN.BATCH_SIZE", 8)
    assert_well(ends(start_shards(2, data, tmp_path / "run", *skipping)))
    assert [row["broken_videos"] for row in metrics(tmp_path / "run") if row["kind"] == "train"] == [1, 1]
    ended = ends(start_shards(2, data, tmp_path / "run2", "TRAIN.BATCH_SIZE", 8))
    assert [code for code, _ in ended] == [1, 1]
    last = [output.splitlines()[-1] for _, output in ended]
    assert all("1004.webm: this is not a video" in line for line in last), last
    assert sum("ended this run: " in line for line in last) == 1, last
    assert not any("Traceback" in output for _, output in ended)
    assert "1004.webm: this is not a video" in (tmp_path / "run2" / "log.txt").read_text()
    assert "1004.webm: this is not a video" in (tmp_path / "run2" / "log_rank1.txt").read_text()


def test_num_gpus_sets_the_processes_and_one_fault_ends_both_with_a_message(ssv2, tmp_path):
    """NUM_SHARDS as a key, no flag; a batch with no clip for one of them."""
    ended = ends(start_shards(2, ssv2, tmp_path, "NUM_SHARDS", 2, "TRAIN.BATCH_SIZE", 1, flags=False))
    for code, output in ended:
        assert code == 2 and "TRAIN.BATCH_SIZE is 1, " in output, output
        assert "Traceback" not in output


def test_unequal_configs_end_all_before_anything_is_trained(ssv2, tmp_path):
    url = f"tcp://127.0.0.1:{free_port()}"
    processes = []
    for shard in (0, 1):
        line = command(*arguments(ssv2, tmp_path, "SOLVER.BASE_LR", [0.1, 0.2][shard]), "--init_method", url)
        processes.append(start([*line, "--num_shards", "2", "--shard_id", str(shard)]))
    for code, output in ends(processes):
        assert code == 1 and re.search(r"\bSOLVER\.BASE_LR\b.*\b0\.2\b.*\b0\.1\b", output), output
    assert not (tmp_path / "metrics.jsonl").exists()


def test_what_one_rank_cannot_do_is_reported_once_per_rank(ssv2, tmp_path, monkeypatch):
    """Machines that met, and that gloo cannot connect: here, over an interface that there is not."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nope")
    for code, output in ends(start_shards(2, ssv2, tmp_path)):
        assert code == 1 and output.count("but gloo could not connect the processes") == 1, output
        assert "GLOO_SOCKET_IFNAME (now nope)" in output and len(output.splitlines()) == 1, output


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_the_death_of_one_is_the_end_of_the_other(ssv2, tmp_path, victim):
    processes = start_shards(2, ssv2, tmp_path, *ENDLESS)
    wait_for_step(processes, tmp_path, 3)
    processes[victim].kill()
    (code, output) = ends(processes)[1 - victim]
    assert code == 1 and "Traceback" not in output, output
    message = rf"process {victim} of 2 \(.*, pid {processes[victim].pid}\) ended this run: it exited without reporting"
    assert re.search(message, output.splitlines()[-1]), output


@pytest.mark.slow  # tests/distributed/test_rendezvous.py has it in threads, quickly
@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_stopped_for_too_long_is_the_end_of_both(ssv2, tmp_path, victim):
    processes = start_shards(2, ssv2, tmp_path, *ENDLESS, "DIST_TIMEOUT_SEC", 12)
    wait_for_step(processes, tmp_path, 3)
    processes[victim].send_signal(signal.SIGSTOP)
    other = 1 - victim
    output = processes[other].communicate(timeout=100)[1]
    assert processes[other].returncode == 1, output
    message = f"process {victim} of 2 .* ended this run: it has not answered for 12 s .DIST_TIMEOUT_SEC.: it is stopped"
    assert re.search(message, output.splitlines()[-1]), output
    processes[victim].send_signal(signal.SIGCONT)
    output = processes[victim].communicate(timeout=100)[1]
    assert processes[victim].returncode == 1 and "Traceback" not in output, output
    assert f"process {victim} of 2" in output and "DIST_TIMEOUT_SEC" in output, (
        "it hears, once awake, why the run ended"
    )


def test_a_signal_to_one_stops_both_after_the_step_and_saves(ssv2, tmp_path):
    processes = start_shards(2, ssv2, tmp_path, *ENDLESS)
    wait_for_step(processes, tmp_path, 3)
    processes[1].terminate()
    ended = ends(processes)
    assert [code for code, _ in ended] == [130, 130], ended
    assert "saved as" in ended[0][1] and "process 0" in ended[1][1]
    assert not any("Traceback" in output or "None" in output for _, output in ended)
    assert list((tmp_path / "checkpoints").iterdir())


@pytest.mark.slow
def test_under_torchrun_the_first_error_is_the_one_that_is_shown(tmp_path):
    data = make_ssv2(tmp_path / "data", 8, 2)
    (data / "20bn-something-something-v2" / "1004.webm").write_text("no video")
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    line += command(*arguments(data, tmp_path / "run", "TRAIN.BATCH_SIZE", 8))[1:]
    ((code, output),) = ends([start(line, PYTHONPATH=str(ROOT))])
    assert code == 1 and "1004.webm: this is not a video" in output


_FULL_DISK = """
import errno
from slowfast_gta import distributed
from slowfast_gta.engine.training import train
original = train.Learner.begin

def step(*arguments):
    if distributed.get_rank() == 1:
        raise OSError(errno.ENOSPC, "No space left on device", "/full/disk")
    return original(*arguments)

train.Learner.begin = step
"""


@pytest.mark.slow
def test_a_rank_that_torchrun_ends_still_reports_why(ssv2, tmp_path):
    (tmp_path / "full.py").write_text(_FULL_DISK)
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    line += command(*arguments(ssv2, tmp_path / "run", "PLUGINS", f"[{tmp_path / 'full.py'}]"))[1:]
    ((code, output),) = ends([start(line, PYTHONPATH=str(ROOT))])
    assert code == 1 and f"{os.strerror(errno.ENOSPC)}: /full/disk" in output and "Interrupted." not in output, output
    text = (tmp_path / "run" / "log.txt").read_text()
    assert re.search(rf"\bended this run\b.*{os.strerror(errno.ENOSPC)}: /full/disk\b", text)
