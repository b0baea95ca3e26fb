"""Training and testing through the core: every data set, exact resume, five splits, the authors' checkpoints."""

import json
import os
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from a2summ.config import extension, model_options
from a2summ.evaluation import evaluate_video
from a2summ.loading import SampleLoader, hold_out, with_shuffled_text
from a2summ.model import A2Summ
from a2summ.task import A2SummTask
from a2summ_made import make_model, make_sample
from a2summ_packs import make_articles, make_summe_tvsum
from a2summ_stand_ins import released_state

from slowfast_gta import load_config
from slowfast_gta.commands import run_command
from slowfast_gta.errors import ConfigError, Interrupted
from slowfast_gta.run import train_and_test

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = ["A2SUMM.DIM", 16, "A2SUMM.NUM_LAYERS", 1, "SOLVER.MAX_EPOCH", 2, "NUM_GPUS", 0, "LOG_PERIOD", 1]


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    root = tmp_path_factory.mktemp("packs")
    for dataset in ("SumMe", "TVSum"):
        make_summe_tvsum(root, dataset, num_videos=5, num_splits=2)
    for dataset in ("CNN", "Daily_Mail", "BLiSS"):
        make_articles(root, dataset, num_samples=3)
    return root


def run(dataset: str, root: Path, output: Path, *pairs) -> int:
    tokens = [*SMALL, "DATA.PATH_TO_DATA_DIR", root, "OUTPUT_DIR", output, "TRAIN.BATCH_SIZE", 2, *pairs]
    return run_command("run", ["--cfg", str(CONFIGS / f"{dataset}.yaml"), *map(str, tokens)], "a2summ")


def results_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("dataset", ["SumMe", "TVSum"])
def test_all_splits_are_runs_of_their_own(packs, tmp_path, dataset):
    assert run(dataset, packs, tmp_path) == 0
    splits = [results_of(tmp_path / f"split_{number}") for number in range(2)]
    found = json.loads((tmp_path / "splits.json").read_text())
    score = "f1_max" if dataset == "SumMe" else "f1_mean"
    values = [split[score] for split in splits]
    assert found[score] == {
        "mean": pytest.approx(np.mean(values)),
        "std": pytest.approx(np.std(values, ddof=1)),
        "splits": values,
    }
    assert splits[0]["per_video"].keys() != splits[1]["per_video"].keys()
    for split in splits:
        assert split[score] == pytest.approx(np.mean([row[score] for row in split["per_video"].values()]))
        assert split[f"chance_{score}"] >= 0
        assert not split["selected_on_test"]
        names = ["tvsum_ratings"] if dataset == "TVSum" else ["summe_mean_scores", "summe_csta"]
        assert all(f"{name}/kendall" in split for name in names)


@pytest.mark.parametrize("dataset", ["CNN", "Daily_Mail", "BLiSS"])
def test_articles_and_streams_are_trained_and_tested(packs, tmp_path, dataset):
    assert run(dataset, packs, tmp_path) == 0
    results = results_of(tmp_path)
    assert results["num_videos"] == 3
    for name in ("rouge1", "rouge2", "rougeL", *(["cosine"] if dataset != "CNN" else [])):
        assert 0 <= results[name] <= 100
        assert f"chance_{name}" in results


def weights_of(folder: Path) -> dict:
    return torch.load(sorted((folder / "checkpoints").glob("*.pyth"))[-1], weights_only=True)["model_state"]


def test_a_resumed_training_ends_with_the_same_weights(packs, tmp_path):
    one_split = ("A2SUMM.SPLIT", 0, "TRAIN.CHECKPOINT_PERIOD", 1)
    assert run("TVSum", packs, tmp_path / "whole", *one_split, "SOLVER.MAX_EPOCH", 4) == 0
    assert run("TVSum", packs, tmp_path / "parts", *one_split, "SOLVER.MAX_EPOCH", 2) == 0
    assert run("TVSum", packs, tmp_path / "parts", *one_split, "SOLVER.MAX_EPOCH", 4) == 0
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert any("intra_scale" in name for name in whole)


class Stops(A2SummTask):
    """Raises in the loss of its third batch."""

    num_calls = 0

    def loss(self, model, batch):
        type(self).num_calls += 1
        if type(self).num_calls == 3:
            raise Interrupted("in the middle")
        return super().loss(model, batch)


def config_of(root: Path, output: Path, *pairs):
    tokens = [*SMALL, "DATA.PATH_TO_DATA_DIR", root, "OUTPUT_DIR", output, "A2SUMM.SPLIT", 0, "TEST.ENABLE", False]
    return load_config(CONFIGS / "TVSum.yaml", [str(token) for token in (*tokens, *pairs)], extra=extension())


def test_a_resume_inside_an_epoch_is_exact(packs, tmp_path):
    """Dropout, the order of the samples and Adam's state go on where they were."""
    pairs = ("TRAIN.BATCH_SIZE", 1, "TRAIN.CHECKPOINT_PERIOD_STEPS", 1, "SOLVER.MAX_EPOCH", 1)
    train_and_test(config_of(packs, tmp_path / "whole", *pairs), build_task=A2SummTask.from_cfg)
    parted = config_of(packs, tmp_path / "parts", *pairs)
    with pytest.raises(Interrupted):
        train_and_test(parted, build_task=Stops.from_cfg)
    newest = sorted((tmp_path / "parts" / "checkpoints").glob("*.pyth"))[-1]
    assert torch.load(newest, weights_only=True)["step"] == 2
    train_and_test(parted, build_task=A2SummTask.from_cfg)
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


_DIES = """
import os, signal, sys
from a2summ.config import extension
from a2summ.task import A2SummTask
from slowfast_gta import load_config
from slowfast_gta.run import train_and_test

class Dies(A2SummTask):
    num_calls = 0
    def loss(self, model, batch):
        Dies.num_calls += 1
        if Dies.num_calls == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(model, batch)

train_and_test(load_config(sys.argv[1], sys.argv[2:], extra=extension()), build_task=Dies.from_cfg)
"""


@pytest.mark.slow
def test_a_killed_process_is_resumed_exactly(packs, tmp_path):
    pairs = ("TRAIN.BATCH_SIZE", 1, "TRAIN.CHECKPOINT_PERIOD_STEPS", 1, "TEST.ENABLE", False, "A2SUMM.SPLIT", 0)
    assert run("TVSum", packs, tmp_path / "whole", *pairs) == 0
    tokens = [*SMALL, "DATA.PATH_TO_DATA_DIR", packs, "OUTPUT_DIR", tmp_path / "parts", *pairs]
    command = [sys.executable, "-c", _DIES, CONFIGS / "TVSum.yaml", *tokens]
    paths = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
    killed = subprocess.run([str(item) for item in command], env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert run("TVSum", packs, tmp_path / "parts", *pairs) == 0
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path):
    """By the command line; of samples of one length, since a process's means are over its share; without the losses
    that compare within it, without dropout, which each process draws for itself, and by SGD, whose steps are as alike
    as the gradients are."""
    from slowfast_gta.distributed.launch_context import free_port

    root = make_summe_tvsum(tmp_path / "pack", "TVSum", 5, 1, lengths=(600, 601), num_sentences=(5, 6))
    pairs = [
        *SMALL,
        *("DATA.PATH_TO_DATA_DIR", root, "A2SUMM.SPLIT", 0, "TRAIN.BATCH_SIZE", 2, "DIST_TIMEOUT_SEC", 300),
        *("A2SUMM.DROPOUT_INPUT", 0.0, "A2SUMM.DROPOUT_ATTN", 0.0, "A2SUMM.DROPOUT_HEAD", 0.0),
        *("A2SUMM.INTER_WEIGHT", 0.0, "A2SUMM.INTRA_WEIGHT", 0.0, "A2SUMM.HEAD", "logit"),
        *("SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.BASE_LR", 0.05),
    ]
    program = Path(__file__).parents[1] / "run.py"

    def launch(output: Path, **environment):
        line = [sys.executable, program, "--cfg", CONFIGS / "TVSum.yaml", *pairs, "OUTPUT_DIR", output]
        own = {**os.environ, **{name: str(value) for name, value in environment.items()}}
        return subprocess.Popen([str(item) for item in line], env=own, stderr=subprocess.PIPE, text=True)

    environment = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    runs = [launch(tmp_path / "one")]
    runs += [launch(tmp_path / "two", **environment, RANK=number, LOCAL_RANK=number) for number in range(2)]
    for process in runs:
        error = process.communicate(timeout=600)[1]
        assert process.returncode == 0, error
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert all(torch.allclose(value, two[name], rtol=0, atol=2e-5) for name, value in one.items())
    results = [results_of(tmp_path / name) for name in ("one", "two")]
    assert results[0]["per_video"].keys() == results[1]["per_video"].keys()


def test_training_learns_what_is_important(tmp_path):
    root = make_summe_tvsum(tmp_path / "pack", "TVSum", num_videos=15, num_splits=1)
    no_dropout = [item for name in ("INPUT", "ATTN", "HEAD") for item in (f"A2SUMM.DROPOUT_{name}", 0.0)]
    longer = ("A2SUMM.SPLIT", 0, "SOLVER.MAX_EPOCH", 20, "SOLVER.BASE_LR", 0.01, "TRAIN.EVAL_PERIOD", 20)
    assert run("TVSum", root, tmp_path / "out", *longer, *no_dropout, "A2SUMM.DIM", 32) == 0
    results = results_of(tmp_path / "out")
    assert results["f1_mean"] > results["chance_f1_mean"] + 20


def test_the_authors_checkpoint_is_tested(packs, tmp_path):
    state = released_state(1024, 768, 16, 1, rows=5000)
    state["pos_embed_segment"] = torch.randn(1, 5000, 16)
    torch.save({"epoch": 1, "model_state_dict": state}, tmp_path / "model_best_split0.pt")
    tokens = ("A2SUMM.SPLIT", 0, "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", tmp_path / "model_best_split0.pt")
    assert run("TVSum", packs, tmp_path / "out", *tokens, "A2SUMM.AS_RELEASED", True) == 0
    assert results_of(tmp_path / "out")["checkpoint"].endswith("model_best_split0.pt")
    assert run("TVSum", packs, tmp_path / "other", *tokens) == 1, "unshared layers take other weights"


def test_what_validation_is_made_of(packs, tmp_path, capsys):
    assert run("TVSum", packs, tmp_path / "a", "A2SUMM.SPLIT", 0, "A2SUMM.VAL_SHARE", 0.25) == 0
    assert run("TVSum", packs, tmp_path / "b", "A2SUMM.SPLIT", 0, "A2SUMM.SELECT_ON_TEST", True) == 0
    assert results_of(tmp_path / "b")["selected_on_test"]
    samples = [make_sample(str(i), 4, [(0, 2)], seed=i) for i in range(10)]
    train, val = hold_out(samples, 0.25, 0)
    assert (len(train), len(val)) == (8, 2)
    assert {s.id for s in train} | {s.id for s in val} == {s.id for s in samples}


@pytest.mark.parametrize(
    ("tokens", "code"),
    [
        (("A2SUMM.SPLIT", 7), 1),
        (("A2SUMM.SPLIT", "some"), 2),
        (("A2SUMM.DIM", 12), 2),
        (("A2SUMM.DATASET", "Summe"), 2),
        (("A2SUMM.DROPUOT_ATTN", 0.1), 2),
        (("A2SUMM.BUDGET", 0.0), 2),
        (("A2SUMM.SELECT_ON_TEST", True, "A2SUMM.VAL_SHARE", 0.5), 2),
        (("A2SUMM.NETWORK_CFG", "x.yaml"), 2),
        (("DATA.PATH_TO_DATA_DIR", "nowhere", "A2SUMM.SPLIT", 0), 2),
        (("DATA.PATH_TO_DATA_DIR", "nowhere"), 1),
    ],
)
def test_wrong_configs_are_refused(packs, tmp_path, capsys, tokens, code):
    assert run("TVSum", packs, tmp_path, *tokens) == code
    err = capsys.readouterr().err
    assert "error: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_loads_and_builds(path):
    cfg = load_config(path, extra=extension())
    A2Summ(**model_options(cfg, 32, 32))
    assert cfg.BN.WEIGHT_DECAY == cfg.SOLVER.WEIGHT_DECAY or path.stem == "Base", "torch's Adam decays all"


def test_a_key_of_ours_is_known_only_where_it_is_asked_for():
    with pytest.raises(ConfigError, match="A2SUMM"):
        load_config(CONFIGS / "TVSum.yaml")


def test_batches_are_a_function_of_seed_epoch_and_step():
    samples = [make_sample(str(i), 4 + i, [(0, 2)], seed=i) for i in range(7)]
    loader = SampleLoader(samples, 3, seed=1)
    ids = [batch.ids for batch in loader.epoch(5)]
    assert sorted(chain(*ids)) == sorted(sample.id for sample in samples)
    assert [batch.ids for batch in loader.epoch(5, 1)] == ids[1:]
    assert [batch.ids for batch in loader.epoch(6)] != ids
    shares = [SampleLoader(samples, 3, 1, rank, 2) for rank in range(2)]
    for step, parts in enumerate(zip(*(share.epoch(5) for share in shares), strict=True)):
        assert list(chain(*(part.ids for part in parts))) == ids[step]
    assert parts[1].num_samples == 0
    assert torch.isfinite(make_model(1)(parts[1]).video.logits).all(), "a process without samples runs on something"
    assert sorted(sample.id for share in shares for sample, _ in share) == sorted(sample.id for sample in samples)
    assert loader.digest == SampleLoader(samples, 4, seed=2).digest != SampleLoader(samples[:6], 3, 1).digest


def test_shuffled_text_is_always_anothers():
    samples = [make_sample(str(i), 6, [(0, 2), (2, 6)][: 1 + i % 2], seed=i) for i in range(5)]
    shuffled = with_shuffled_text(samples, seed=0)
    own = {sample.id: sample.sentences for sample in samples}
    for sample in shuffled:
        assert any(sample.sentences is text for name, text in own.items() if name != sample.id)
    assert len({id(sample.sentences) for sample in shuffled}) == 5


def test_a_videos_metrics_do_not_depend_on_others(packs):
    from a2summ.data.summe_tvsum import load_summe_tvsum

    sample = load_summe_tvsum(packs, "TVSum", 0)["test"][0]
    scores = np.random.default_rng(0).uniform(size=len(sample.frames))
    assert evaluate_video(sample.reference, scores, 0.15, 1) == evaluate_video(sample.reference, scores, 0.15, 1)
    perfect = evaluate_video(sample.reference, sample.frame_labels.numpy(), 0.15, 1)
    assert perfect["f1_mean"] > perfect["chance_f1_mean"]
