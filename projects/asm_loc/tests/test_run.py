"""Whole runs on a small world: stages, files, exact resume after kill -9, no segment read in training, faults."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from asm_loc.average_precision import THUMOS_TIOU, mean_average_precision
from asm_loc.config import EXTENSION, settings_from_cfg
from asm_loc.detections import read_detections
from asm_loc.loading import TestLoader, TrainLoader
from asm_loc.network import ASMLoc
from asm_loc.released import save_released
from asm_loc.segments import Segments
from asm_loc.settings import activitynet13, thumos14
from asm_loc.world import WorldSizes, make_world, write_pack

from slowfast_gta.commands import run_command
from slowfast_gta.config.load import load_config
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.models.weights.read import load_torch_file

PROJECT = Path(__file__).resolve().parents[1]
CFG = PROJECT / "configs" / "World.yaml"
SIZES = WorldSizes(dim=16, num_classes=3, num_train=12, num_test=4)
TINY = {
    "ASM_LOC.NUM_ROWS": 40,
    "ASM_LOC.NUM_PICTURES": 2,
    "SOLVER.MAX_EPOCH": 2,
    "TRAIN.BATCH_SIZE": 4,
    "TRAIN.CHECKPOINT_PERIOD_STEPS": 1,
    "TRAIN.EVAL_PERIOD": 1,
    "TENSORBOARD.ENABLE": False,
}


def arguments(pack, output, **more):
    keys = {**TINY, "ASM_LOC.FEATURES": pack, "OUTPUT_DIR": output, **more}
    return ["--cfg", str(CFG), *(str(item) for pair in keys.items() for item in pair)]


def run(pack, output, **more):
    return run_command("run", arguments(pack, output, **more), package="asm_loc.commands")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    write_pack(3, folder, SIZES)
    return folder


@pytest.fixture(scope="module")
def trained(pack, tmp_path_factory):
    """OUTPUT_DIR of a whole run; tests only read it."""
    output = tmp_path_factory.mktemp("trained")
    assert run(pack, output) == 0
    return output


def weights(output, step):
    return load_torch_file(list_checkpoints(output / f"step{step}")[-1][1])["model_state"]


def same_runs(a, b):
    for step in range(3):
        one, other = weights(a, step), weights(b, step)
        assert all(torch.equal(one[name], other[name]) for name in one)
        texts = [(folder / f"step{step}" / "artefacts" / "proposals.json").read_bytes() for folder in (a, b)]
        assert texts[0] == texts[1]


# ------------------------------------------------------------ what a run leaves


def test_results_and_files(trained, pack):
    folder = trained / "step2"
    results = json.loads((folder / "results.json").read_text())
    assert (results["step"], results["num_videos"], results["num_missing"]) == (2, 4, 0)
    assert results["mAP_averaged_over"] == list(THUMOS_TIOU[:7])
    _, test, _ = make_world(3, SIZES)
    detections = read_detections(folder / "detections.json", test.classes)
    again = mean_average_precision(test.truth(), detections, THUMOS_TIOU)
    assert results["mAP"] == pytest.approx(100 * again.mean(0, 0.75), abs=1e-9)
    table = list(csv.DictReader((folder / "average_precision.csv").open()))
    assert float(table[-1]["AP@0.5"]) == pytest.approx(results["mAP_per_tiou"]["0.5"], abs=0.006)
    rows = list(csv.DictReader((folder / "detections.csv").open()))
    assert len(rows) == sum(map(len, detections.values()))
    assert sorted(path.name for path in (folder / "videos").iterdir()) == [
        *("test_0000.html", "test_0000.svg", "test_0001.html", "test_0001.svg")
    ]
    picture = (folder / "videos" / "test_0000.svg").read_text()
    assert picture.count("<polyline") >= 2
    assert test.videos[0].instances[0].label in picture


def test_last_step_has_more_to_learn(trained):
    base, full = weights(trained, 0), weights(trained, 2)
    assert not any(name.startswith("intra") for name in base)
    assert any(name.startswith("intra") for name in full)
    rows = [json.loads(line) for line in (trained / "step1" / "metrics.jsonl").read_text().splitlines()]
    assert any("loss_instance" in row for row in rows)


def test_a_complete_run_is_not_trained_again(trained, pack, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    before = json.loads((copy / "step2" / "results.json").read_text())
    assert run(pack, copy, **{"TRAIN.ENABLE": False}) == 0
    after = json.loads((copy / "step2" / "results.json").read_text())
    assert {**before, "seconds": 0, "checkpoint": ""} == {**after, "seconds": 0, "checkpoint": ""}


def test_training_reads_no_segment(trained, pack, tmp_path):
    other = tmp_path / "pack"
    shutil.copytree(pack, other)
    document = json.loads((other / "gt.json").read_text())
    for video in document["database"].values():
        if video["subset"] == "validation":
            for annotation in video["annotations"]:
                del annotation["segment"]
    (other / "gt.json").write_text(json.dumps(document))
    assert run(other, tmp_path / "run") == 0
    same_runs(trained, tmp_path / "run")


@pytest.mark.parametrize("step", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_is_bit_identical(trained, pack, tmp_path, step):
    output, seen = tmp_path / "run", tmp_path / "run" / f"step{step}" / "checkpoints"
    command = [sys.executable, str(PROJECT / "run.py"), *arguments(pack, output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    while process.poll() is None and not any(seen.glob("*.pyth")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any(seen.glob("*.pyth"))
    assert run(pack, output) == 0
    same_runs(trained, output)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_what_one_does(pack, tmp_path):
    """Up to rounding: without dropout, whose masks each process draws, with BatchNorm over both, and by plain SGD (Adam
    takes the sign of gradients that are nothing but rounding errors)."""
    keys = {"ASM_LOC.DROPOUT": 0.0, "BN.NORM_TYPE": "sync_batchnorm", "SOLVER.OPTIMIZING_METHOD": "sgd"}
    assert run(pack, tmp_path / "one", **keys) == 0
    line = [sys.executable, str(PROJECT / "run.py"), *arguments(pack, tmp_path / "two", **keys)]
    line += ["--num_shards", "2", "--init_method", f"tcp://127.0.0.1:{free_port()}"]
    both = [subprocess.Popen([*line, "--shard_id", str(rank)], stdout=subprocess.DEVNULL) for rank in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    for step in range(3):
        one, two = weights(tmp_path / "one", step), weights(tmp_path / "two", step)
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    results = [json.loads((tmp_path / name / "step2" / "results.json").read_text()) for name in ("one", "two")]
    assert results[0]["mAP"] == pytest.approx(results[1]["mAP"], abs=0.5)
    assert results[0]["num_videos"] == results[1]["num_videos"] == SIZES.num_test


def test_resuming_on_other_proposals_is_refused(trained, pack, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    path = copy / "step0" / "artefacts" / "proposals.json"
    path.write_text(path.read_text().replace("0.1", "0.2", 1))
    assert run(pack, copy) == 1
    assert "Traceback" not in capsys.readouterr().err


# ------------------------------------------------------------------ the loader


def batches(loader, epoch=0, first=0):
    return list(loader.epoch(epoch, first))


@pytest.fixture(scope="module")
def world():
    return make_world(5, SIZES)


def random_proposals(videos, seed=0):
    rng = np.random.default_rng(seed)
    found = {}
    for annotation in videos.videos:
        start = rng.uniform(0, 20, 5)
        label = [videos.classes.index(annotation.labels[0])] * 5
        found[annotation.video] = Segments(label, start, start + rng.uniform(0.5, 6, 5), rng.random(5))
    return found


def test_batches_are_a_function_of_seed_epoch_and_step(world):
    train = world[0]
    make = lambda **more: TrainLoader(train, random_proposals(train), thumos14(num_rows=40), 5, 7, **more)  # noqa: E731
    whole = batches(make(num_threads=3))
    assert [b.num_samples for b in whole] == [5, 5, 2]
    assert sorted(name for b in whole for name in b.ids) == [a.video for a in train.videos]
    tail = batches(make(), first=1)
    shares = [batches(make(rank=r, world_size=2)) for r in range(2)]
    for step, batch in enumerate(whole):
        parts = [shares[r][step] for r in range(2)]
        assert batch.ids == [name for part in parts for name in part.ids]
        assert torch.equal(batch.features, torch.cat([p.features for p in parts]))
        assert torch.equal(batch.target, torch.cat([p.target for p in parts]))
        if step:
            assert torch.equal(batch.features, tail[step - 1].features)
    assert [b.ids for b in batches(make(), epoch=1)] != [b.ids for b in whole]


def test_a_batch_in_parts(world):
    train = world[0]
    batch = batches(TrainLoader(train, random_proposals(train), thumos14(num_rows=40), 5, 7))[0]
    parts = batch.split(2)
    assert [p.num_samples for p in parts] == [3, 2]
    for name in ("features", "labels", "target"):
        assert torch.equal(getattr(batch, name), torch.cat([getattr(p, name) for p in parts]))
    assert torch.equal(batch.proposals.first, torch.cat([p.proposals.first for p in parts]))
    assert parts[0].counts == batch.counts
    assert parts[1].counts == {}
    assert [p.num_samples for p in batch.split(99)] == [1] * 5


def test_every_test_video_once(world):
    test = world[1]
    assert sorted(i for rank in range(3) for i in TestLoader(test, rank, 3)) == list(range(len(test)))
    assert sum(len(TestLoader(test, rank, 3)) for rank in range(3)) == len(test)


# ---------------------------------------------------------------------- faults


def broken(pack, tmp_path):
    copy = tmp_path / "broken"
    shutil.copytree(pack, copy)
    rows = np.load(copy / "train" / "train_0003.npy")
    rows[2] = np.nan
    np.save(copy / "train" / "train_0003.npy", rows)
    return copy


def test_a_video_with_nan_rows_stops_the_run_or_is_counted(pack, tmp_path, capsys):
    copy = broken(pack, tmp_path)
    assert run(copy, tmp_path / "stopped") == 1
    message = capsys.readouterr().err
    assert "train_0003" in message
    assert "Traceback" not in message
    assert run(copy, tmp_path / "skipped", **{"DATA.ON_ERROR": "skip"}) == 0
    rows = [json.loads(line) for line in (tmp_path / "skipped" / "step1" / "metrics.jsonl").read_text().splitlines()]
    assert [row["broken_videos"] for row in rows if row["kind"] == "train"][-1] == 1


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"ASM_LOC.FEATURES": "nowhere"}, 1),
        ({"ASM_LOC.FEATURES": ""}, 2),
        ({"ASM_LOC.SEC_PER_SNIPPET": 0.0}, 2),
        ({"ASM_LOC.NUM_HEADS": 5}, 2),
        ({"ASM_LOC.TIOU": "coco"}, 2),
        ({"ASM_LOC.NUM_ROW": 3}, 2),
        ({"ASM_LOC.FORMAT": "extracted"}, 2),
        ({"ASM_LOC.FORMAT": "wtalc"}, 2),
        ({"ASM_LOC.FORMAT": "wtalc", "ASM_LOC.ANNOTATIONS": "nowhere"}, 1),
        ({"ASM_LOC.TRAINING_THRESHOLDS": "[0.4, 0.9]"}, 2),
        ({"ASM_LOC.VAL_SHARE": 0.5, "ASM_LOC.SELECT_ON_TEST": True}, 2),
    ],
)
def test_wrong_keys_and_paths_are_refused(pack, tmp_path, capsys, keys, code):
    assert run(pack, tmp_path / "run", **keys) == code
    message = capsys.readouterr().err
    assert message.count("Traceback") == 0
    assert "\nerror:" in f"\n{message}"


def test_held_out_videos_choose_a_checkpoint(pack, tmp_path):
    keys = {"ASM_LOC.VAL_SHARE": 0.25, "TRAIN.KEEP_BEST": True, "SOLVER.MAX_EPOCH": 1}
    assert run(pack, tmp_path / "run", **keys) == 0
    proposals = json.loads((tmp_path / "run" / "step0" / "artefacts" / "proposals.json").read_text())
    assert len(proposals["videos"]) == SIZES.num_train + SIZES.num_test
    assert (tmp_path / "run" / "step2" / "checkpoints" / "checkpoint_best.pyth").exists()


# ------------------------------------------------- configs, authors' checkpoints


@pytest.mark.parametrize(("name", "expected"), [("THUMOS14", thumos14()), ("ActivityNet13", activitynet13())])
def test_published_configs_hold_the_published_numbers(name, expected):
    cfg = load_config(PROJECT / "configs" / f"{name}.yaml", [], EXTENSION)
    found = settings_from_cfg(cfg)
    assert found == expected


def test_as_released_config_switches_every_option():
    cfg = load_config(PROJECT / "configs" / "THUMOS14_as_released.yaml", [], EXTENSION)
    assert set(vars(settings_from_cfg(cfg).options).values()) == {"as_released"}


def test_released_checkpoints_are_tested_as_a_chain(pack, tmp_path):
    folder = tmp_path / "released"
    folder.mkdir()
    torch.manual_seed(0)
    _, test, _ = make_world(3, SIZES)
    cfg = load_config(CFG, ["ASM_LOC.NUM_ROWS", 40, "ASM_LOC.FEATURES", pack], EXTENSION)
    settings = settings_from_cfg(cfg)
    for step, kind in enumerate(("last", "last", "best")):
        network = ASMLoc(SIZES.dim, len(test.classes), step > 0, settings.network)
        save_released(network, folder / f"model_step{step}_{kind}_epoch.pth", epoch=1)
    command = [*arguments(pack, tmp_path / "out"), "--released", str(folder)]
    assert run_command("run", command, package="asm_loc.commands") == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["step"], results["num_videos"]) == (2, 4)
    assert (tmp_path / "out" / "detections.json").exists()
