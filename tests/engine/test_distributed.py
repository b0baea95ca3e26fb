"""Two processes of a CPU each: they train as one, test as one, and only the first one writes."""

import json
import multiprocessing
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from miniatures import CFG, TINY, command, keys, make_ssv2, metrics

from slowfast_gta import distributed
from slowfast_gta.errors import ConfigError

# BatchNorm frozen and no dropout: what is random or per process would make one process and two differ.
ALIKE = ["MODEL.DROPOUT_RATE", 0.0, "MODEL.FROZEN_BN", True, "SOLVER.BASE_LR", 0.02, "TEST.NUM_ENSEMBLE_VIEWS", 2]


def train_on_two(data: Path, output: Path, *pairs: object, flags: bool = True) -> list[tuple[int, str]]:
    """(exit code, stderr) of both processes."""
    url = f"tcp://127.0.0.1:{distributed._free_port()}"
    processes = []
    for shard in (0, 1):
        where = ("DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", output)
        line = command("--cfg", CFG, *keys(*TINY, *ALIKE, *where, *pairs), "--init_method", url)
        line += ["--num_shards", "2", "--shard_id", str(shard)] if flags else ["SHARD_ID", str(shard)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        processes.append(
            subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        )
    said = [process.communicate(timeout=170)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def two(ssv2, tmp_path_factory) -> tuple[Path, list[tuple[int, str]]]:
    output = tmp_path_factory.mktemp("two")
    return output, train_on_two(ssv2, output, "TENSORBOARD.ENABLE", True)


def test_two_processes_train_and_test(two):
    output, ended = two
    for code, said in ended:
        assert code == 0, said
        assert "Traceback" not in said
    assert json.loads((output / "results.json").read_text())["num_videos"] == 6


def test_only_the_first_writes_and_speaks(two):
    output, ((_, first), (_, second)) = two
    assert [row["step"] for row in metrics(output) if row["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert len([row for row in metrics(output) if row["kind"] == "test"]) == 1
    assert (output / "log.txt").read_text().count("Test: top-1") == first.count("Test: top-1") == 1
    assert len(list((output / "tensorboard").iterdir())) == 2  # one of training, one of testing
    assert "top-1" not in second and "Never mirrored" not in second


def test_two_processes_learn_and_answer_as_one(two, run_tiny, tmp_path):
    output, _ = two
    code, _, err = run_tiny(*ALIKE)
    assert code == 0, err
    name = "checkpoints/checkpoint_epoch_00002.pyth"
    of_two, of_one = (torch.load(folder / name, weights_only=True) for folder in (output, tmp_path / "run"))
    for key, value in of_one["model_state"].items():
        torch.testing.assert_close(of_two["model_state"][key], value, atol=1e-5, rtol=1e-4, msg=key)
    assert not any(key.startswith("module.") for key in of_two["model_state"])
    # The same weights, tested by one process: the very same results.
    code, _, err = run_tiny(*ALIKE, "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", output / name)
    assert code == 0, err
    with np.load(output / "scores.npz") as two_scores, np.load(tmp_path / "run" / "scores.npz") as one_scores:
        assert two_scores["video_id"].tolist() == one_scores["video_id"].tolist()
        np.testing.assert_allclose(two_scores["scores"], one_scores["scores"], atol=1e-6)


def test_a_broken_video_of_one_process_ends_both_with_sentences(tmp_path):
    data = make_ssv2(tmp_path / "data", 8, 2)
    (data / "20bn-something-something-v2" / "1004.webm").write_text("no video")
    ended = train_on_two(data, tmp_path / "run", "DATA.ON_ERROR", "skip", "LOG_PERIOD", 10, "TEST.ENABLE", False)
    assert [code for code, _ in ended] == [0, 0], ended
    assert [row["broken_videos"] for row in metrics(tmp_path / "run") if row["kind"] == "train"] == [1, 1]
    ended = train_on_two(data, tmp_path / "run2")
    assert [code for code, _ in ended] == [1, 1]
    said = [text.splitlines()[-1] for _, text in ended]
    assert sum("1004.webm: this is not a video" in line for line in said) == 1, said
    assert sum("another process ended; it says why" in line for line in said) == 1, said
    assert not any("Traceback" in text for _, text in ended)


def share_statistics() -> None:
    """What each of two processes does in the test below."""
    norm = torch.nn.BatchNorm3d(2)
    norm.running_mean.fill_(10.0 + distributed.get_rank())
    distributed.share_buffers(norm)
    assert norm.running_mean.tolist() == [10.0, 10.0]
    assert distributed.gather(distributed.get_rank()) == [0, 1]
    assert distributed.any_process(distributed.get_rank() == 1) and not distributed.any_process(False)
    assert distributed.mean(torch.tensor([float(distributed.get_rank())])).item() == 0.5


def test_what_two_processes_tell_each_other():
    url = f"tcp://127.0.0.1:{distributed._free_port()}"
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=distributed.launch, args=(share_statistics, (), 0, 2, shard, "gloo", url))
        for shard in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def test_every_launch_meets_at_a_port_of_its_own(monkeypatch):
    monkeypatch.setattr(distributed, "_launches", iter([0, 1]))
    assert distributed._next_url("tcp://10.0.0.1:9999") == "tcp://10.0.0.1:9999"
    assert distributed._next_url("tcp://10.0.0.1:9999") == "tcp://10.0.0.1:10000"
    assert distributed._next_url("tcp://127.0.0.1:0") != "tcp://127.0.0.1:0"
    with pytest.raises(ConfigError, match="--init_method is tcp://somewhere"):
        distributed._next_url("tcp://somewhere")


def test_the_yaml_says_how_many_and_a_fault_of_the_work_ends_both_with_sentences(ssv2, tmp_path):
    """NUM_SHARDS as a key, no flag; a batch that two cannot share."""
    ended = train_on_two(ssv2, tmp_path, "NUM_SHARDS", 2, "TRAIN.BATCH_SIZE", 5, flags=False)
    for code, said in ended:
        assert code == 2 and "TRAIN.BATCH_SIZE is 5, which 2 processes cannot share evenly" in said
        assert "Traceback" not in said


def test_the_flag_is_stronger_than_the_yaml(run_tiny):
    code, _, err = run_tiny("NUM_SHARDS", 3, "SHARD_ID", 2)
    assert code == 2 and "NUM_SHARDS is 3" in err and "--init_method" in err
    code, _, err = run_tiny("NUM_SHARDS", 3, "SHARD_ID", 2, "--num_shards", 1, "--shard_id", 0, "TEST.ENABLE", False)
    assert code == 0, err


def test_on_one_process_everything_does_nothing():
    assert (distributed.get_rank(), distributed.get_world_size(), distributed.is_main()) == (0, 1, True)
    distributed.barrier()
    assert distributed.gather({"a": 1}) == [{"a": 1}]
    assert distributed.any_process(True) is True and distributed.any_process(False) is False
    value = torch.tensor([1.0])
    assert distributed.mean(value) is value
    model = torch.nn.Linear(1, 1)
    assert distributed.data_parallel(model, False) is model
    assert distributed.launch(lambda a, b: a + b, (1, 2), 0, 1, 0, "auto", None) == 3
