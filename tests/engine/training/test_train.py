"""The one step that learns, and what surrounds it."""

import copy
import json
import logging
import math
import re
from types import SimpleNamespace

import float_clips
import pytest
import torch
import torch.nn.functional as F
import yaml
from miniatures import CFG, TINY, metrics
from torch import nn

from slowfast_gta import build_model, load_config, load_weights
from slowfast_gta.engine.classification import Classification
from slowfast_gta.engine.device import build_normalize
from slowfast_gta.engine.training import train
from slowfast_gta.engine.training.learner import Learner, build_learner
from slowfast_gta.engine.training.meter import Meter
from slowfast_gta.engine.training.step import StepResult
from slowfast_gta.errors import RunError
from slowfast_gta.loading.batch import Batch
from slowfast_gta.loading.loader import build_test_loader

CPU = torch.device("cpu")
PLAIN = ["MODEL.DROPOUT_RATE", 0.0, "SOLVER.WEIGHT_DECAY", 0.0, "SOLVER.MOMENTUM", 0.0, "SOLVER.NESTEROV", False]


def learner_of(*overrides) -> Learner:
    learner = float_clips.learner_of(CFG, [*TINY, *PLAIN, *overrides])
    learner.train_mode()
    return learner


def clips_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, 3, 4, 32, 32, generator=generator), torch.tensor([0, 1, 2, 1])


def batch() -> Batch:
    return float_clips.batch_of(*clips_and_labels())


def plain_step(network: nn.Module, lr: float, smoothing: float = 0.0, change=lambda gradients: gradients) -> float:
    """Gradient descent written out; returns the loss. `change` is applied to the list of gradients."""
    clips, labels = clips_and_labels()
    log_probs = network(clips).log_softmax(1)
    target = (1 - smoothing) * F.one_hot(labels, 3) + smoothing / 3
    loss = -(target * log_probs).sum(1).mean()
    gradients = change(torch.autograd.grad(loss, list(network.parameters())))
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter -= lr * gradient
    return loss.item()


def assert_same_weights(network: nn.Module, wanted: nn.Module) -> None:
    for (name, found), value in zip(network.state_dict().items(), wanted.state_dict().values(), strict=True):
        torch.testing.assert_close(found, value, atol=1e-6, rtol=1e-5, msg=name)


def by_length(gradients) -> list[torch.Tensor]:
    length = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
    assert length > 0.05, "or nothing is clipped"
    return [gradient * 0.05 / length for gradient in gradients]


@pytest.mark.parametrize(
    ("overrides", "smoothing", "change"),
    [
        ([], 0.0, lambda gradients: gradients),
        (["TRAIN.LABEL_SMOOTHING", 0.2], 0.2, lambda gradients: gradients),
        (["SOLVER.CLIP_GRAD_VAL", 1e-3], 0.0, lambda gradients: [g.clamp(-1e-3, 1e-3) for g in gradients]),
        (["SOLVER.CLIP_GRAD_L2NORM", 0.05], 0.0, by_length),
    ],
)
def test_a_step_is_the_formula(overrides, smoothing, change):
    learner = learner_of(*overrides)
    wanted = copy.deepcopy(learner.network)
    with torch.no_grad():
        logits = copy.deepcopy(wanted)(clips_and_labels()[0])
    result = learner.step(batch(), lr=0.25)
    assert result.loss == pytest.approx(plain_step(wanted, 0.25, smoothing, change), rel=1e-5)
    num_correct = (logits.argmax(1) == clips_and_labels()[1]).sum().item()
    assert result.num_samples == 4 and result.sums == {"top1": 100.0 * num_correct}
    assert_same_weights(learner.network, wanted)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_is_near_the_formula_and_not_equal(dtype):
    learner = learner_of("TRAIN.MIXED_PRECISION", True, "TRAIN.AMP_DTYPE", dtype)
    wanted = copy.deepcopy(learner.network)
    assert learner.scaler.is_enabled() == (dtype == "float16")
    seen = []
    learner.network.head.projection.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    loss = learner.step(batch(), lr=0.1).loss
    assert seen == [getattr(torch, dtype)] and math.isfinite(loss)
    assert loss == pytest.approx(plain_step(wanted, 0.1), abs=0.02)
    weights = learner.network.head.projection.weight
    assert weights.dtype == torch.float32 and torch.isfinite(weights).all()
    assert not torch.equal(weights, wanted.head.projection.weight)
    torch.testing.assert_close(weights, wanted.head.projection.weight, atol=5e-3, rtol=0)


def test_clipping_in_float16_is_of_the_true_gradient_not_the_scaled_one():
    half = ("TRAIN.MIXED_PRECISION", True, "TRAIN.AMP_DTYPE", "float16")
    learner = learner_of(*half, "SOLVER.CLIP_GRAD_L2NORM", 0.05)
    before = learner.network.head.projection.weight.clone()
    wanted = copy.deepcopy(learner.network)
    learner.step(batch(), lr=1.0)
    plain_step(wanted, 1.0, change=by_length)
    moved, should = (net.head.projection.weight - before for net in (learner.network, wanted))
    assert moved.norm().item() == pytest.approx(should.norm().item(), rel=0.05)


def test_an_overflow_in_float16_skips_the_step_and_shrinks_the_scale():
    learner = learner_of("TRAIN.MIXED_PRECISION", True, "TRAIN.AMP_DTYPE", "float16")
    before, scale = copy.deepcopy(learner.network.head.state_dict()), learner.scaler.get_scale()
    learner.network.head.projection.weight.register_hook(lambda gradient: gradient * math.inf)
    learner.step(batch(), lr=0.1)
    assert learner.scaler.get_scale() == scale / 2
    assert torch.equal(learner.network.head.projection.weight, before["projection.weight"])


def test_ema_is_the_running_average():
    learner = learner_of("EMA.ENABLE", True, "EMA.DECAY", 0.75)
    name = "head.projection.weight"
    average = None
    for _ in range(3):
        learner.step(batch(), lr=0.5)
        weights = learner.network.state_dict()[name].clone()
        average = weights if average is None else 0.75 * average + 0.25 * weights
    assert learner.eval_model is learner.ema.module is not learner.network
    torch.testing.assert_close(learner.ema.module.state_dict()[name], average)
    assert not torch.allclose(average, weights)
    bn = "s1.pathway0_stem.bn.running_mean"
    assert torch.equal(learner.ema.module.state_dict()[bn], learner.network.state_dict()[bn])
    assert learner.state()["ema_steps"] == 3


def test_frozen_batch_norm_is_frozen():
    learner = learner_of("MODEL.FROZEN_BN", True)
    norms = [module for module in learner.network.modules() if isinstance(module, nn.BatchNorm3d)]
    before = [copy.deepcopy(module.state_dict()) for module in norms]
    weights = learner.network.s1.pathway0_stem.conv.weight.clone()
    for _ in range(2):
        learner.step(batch(), lr=0.5)
    assert before and not torch.equal(weights, learner.network.s1.pathway0_stem.conv.weight)
    for module, state in zip(norms, before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_a_state_is_restored_into_a_learner_exactly():
    keys = ("EMA.ENABLE", True, "SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.BASE_LR", 1e-3)
    first, second = learner_of(*keys), learner_of(*keys, "RNG_SEED", 2)
    first.step(batch(), lr=1e-3)
    second.restore_state(copy.deepcopy(first.state()))
    for learner in (first, second):
        learner.step(batch(), lr=1e-3)
    for part in ("model_state", "ema_state"):
        for name, value in first.state()[part].items():
            assert torch.equal(value, second.state()[part][name]), name


@pytest.mark.parametrize("overrides", [["RESNET.WIDTH_PER_GROUP", 16], ["RESNET.DEPTH", 18], ["MODEL.NUM_CLASSES", 4]])
def test_a_state_of_another_network_is_refused(overrides):
    state = learner_of(*overrides).state()
    with pytest.raises(RunError, match=r"\bcheckpoint in OUTPUT_DIR\b.*\banother network\b.*\banother OUTPUT_DIR\b"):
        learner_of().restore_state(state)


def test_precise_statistics_are_the_means_over_the_batches(ssv2):
    cfg = load_config(CFG, [*TINY, *PLAIN, "DATA.PATH_TO_DATA_DIR", ssv2, "BN.NUM_BATCHES_PRECISE", 2])
    task = Classification.from_cfg(cfg)
    loader = task.build_loader(cfg, "train")
    learner = build_learner(cfg, task, CPU)
    assert len(loader) == 3
    stem = learner.network.s1.pathway0_stem
    seen = [stem.conv(task.normalize(clips.frames)) for clips in list(loader.epoch(1))[:2]]
    run = train.Training(task, learner, loader, loader, None, None, None, None)
    train.update_precise_statistics(cfg, run, 1)
    mean = torch.stack([features.mean((0, 2, 3, 4)) for features in seen]).mean(0)
    torch.testing.assert_close(stem.bn.running_mean, mean, atol=1e-5, rtol=1e-4)
    assert learner.network.training


FROZEN = [["BN.FREEZE", "all"], ["MODEL.FROZEN_BN", True], ["BN.FREEZE", "partial"], ["TRAIN.FREEZE_BACKBONE", True]]


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize("frozen", FROZEN, ids=lambda pair: f"{pair[0]} {pair[1]}")
def test_precise_statistics_leave_frozen_norms_alone(ssv2, frozen, ema):
    words = [*TINY, *frozen, "EMA.ENABLE", ema, "DATA.PATH_TO_DATA_DIR", ssv2, "BN.NUM_BATCHES_PRECISE", 1]
    cfg = load_config(CFG, words)
    task = Classification.from_cfg(cfg)
    loader = task.build_loader(cfg, "train")
    learner = build_learner(cfg, task, CPU)
    before = {name: value.clone() for name, value in learner.eval_model.named_buffers()}
    train.update_precise_statistics(cfg, train.Training(task, learner, loader, loader, None, None, None, None), 1)
    changed = {name for name, value in learner.eval_model.named_buffers() if not torch.equal(value, before[name])}
    stays = [name for name, module in learner.network.named_modules() if module in learner.frozen]
    assert stays and not [name for name in changed if name.rpartition(".")[0] in stays]
    assert bool(changed) == ("partial" in frozen), "the stem's learns on where the others are frozen"


def test_each_step_draws_from_its_seed_epoch_and_number(run_tiny, monkeypatch):
    seeds = []
    monkeypatch.setattr(train, "seed_step", lambda *numbers: seeds.append(numbers))
    code, _, err = run_tiny("RNG_SEED", 7, "TEST.ENABLE", False)
    assert code == 0, err
    assert seeds == [(7, epoch, step) for epoch in range(2) for step in range(3)]


def test_the_best_is_the_first_of_the_highest(tmp_path, monkeypatch):
    """Zero is better than nothing; as good as the best is not better; the test's and the training's rows are none."""
    kept, now, rows = [], {}, [{"kind": "train", "top1": 90.0}, {"kind": "test", "top1": 95.0}]
    scores = dict(enumerate((0.0, 50.0, 50.0, 40.0, 60.0), start=1))
    monkeypatch.setattr(train, "keep_best", lambda path: kept.append(path))
    cfg = load_config(CFG, [*TINY, "TRAIN.KEEP_BEST", True, "OUTPUT_DIR", str(tmp_path)])

    def evaluate(model, loader, split):
        assert split == "val"
        return SimpleNamespace(metrics=dict(now), results={}, summary="", bad_videos=[])

    writer = SimpleNamespace(
        rows=lambda kind: [row for row in rows if row["kind"] == kind],
        write=lambda kind, step, metrics: rows.append({"kind": kind, **metrics}),
    )
    run = SimpleNamespace(
        task=SimpleNamespace(evaluate=evaluate, score="top1"),
        learner=SimpleNamespace(eval_model=None),
        val_loader=None,
        bad_files=SimpleNamespace(add=lambda videos: None),
        writer=writer,
        global_step=0,
    )
    for keep in (True, False):
        cfg.defrost()
        cfg.TRAIN.KEEP_BEST = keep
        for epoch, now["top1"] in scores.items():
            train.validate(cfg, run, epoch)
    assert [path.name for path in kept] == [f"checkpoint_epoch_0000{epoch}.pyth" for epoch in (1, 2, 5)]


def test_what_a_training_leaves(trained):
    assert {path.name for path in trained.iterdir()} == {
        *("config.yaml", "log.txt", "metrics.jsonl", "checkpoints", "results.json", "scores.npz", "confusion.png"),
        *("run.lock", "curves.png"),
    }
    rows = metrics(trained)
    steps = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    # Warm-up over half an epoch from 0.001 to 0.01, a tenth from epoch 1 on.
    assert [row["lr"] for row in steps] == pytest.approx([0.001, 0.007, 0.01, 0.001, 0.001, 0.001])
    assert all(math.isfinite(row["loss"]) for row in steps)
    assert [row["step"] for row in rows if row["kind"] == "val"] == [3, 6]
    content = torch.load(trained / "checkpoints" / "checkpoint_epoch_00002.pyth", weights_only=True)
    assert content["class_names"] == ["Covering something", "Moving something left", "Uncovering something"]
    cfg = load_config(trained / "config.yaml")
    assert cfg.DATA.NUM_FRAMES == 4 and yaml.safe_load(content["cfg"]) == yaml.safe_load(cfg.dump())


def test_the_saved_config_trains_on_from_where_it_is(run_tiny, trained, tmp_path):
    code, _, err = run_tiny(cfg=trained / "config.yaml")
    assert code == 0, err
    rows = [row for row in metrics(tmp_path / "run") if row["kind"] == "train"]
    before = [row for row in metrics(trained) if row["kind"] == "train"]
    assert [row["loss"] for row in rows] == [row["loss"] for row in before]
    code, _, err = run_tiny("SOLVER.MAX_EPOCH", 3, cfg=trained / "config.yaml")
    assert code == 0 and "Resuming from epoch 2" in err
    code, _, err = run_tiny("SOLVER.MAX_EPOCH", 3, cfg=trained / "config.yaml")
    assert code == 0 and "Training is already complete" in err and "Test: top-1" in err


def test_no_video_of_a_directed_class_is_flipped_and_that_is_logged(trained):
    text = (trained / "log.txt").read_text()
    assert re.search(r"\b1 direction-sensitive class\b.*: Moving something left\.", text)
    assert logging.getLogger("slowfast_gta").level == logging.INFO


def test_results_of_the_trained_network(trained):
    results = json.loads((trained / "results.json").read_text())
    assert results["checkpoint"].endswith("checkpoint_epoch_00002.pyth")


def test_the_loss_of_the_last_period_stands_beside_the_epochs_mean(tmp_path):
    """Of 4 steps of 2 and then 1 samples, logged every second step; a checkpoint in between changes nothing."""
    steps = [StepResult(float(n), {"top1": 0.0}, 2 if n < 3 else 1, 1.0, False) for n in range(1, 5)]
    whole = Meter({"top1": 3})
    rows = []
    for number, step in enumerate(steps, start=1):
        whole.add(step)
        if number == 3:
            whole = Meter({"top1": 3}, total=whole.total())
        if number % 2 == 0:
            rows.append(whole.summary() | whole.period())
    assert [row["loss"] for row in rows] == [1.5, round((2 * 1 + 2 * 2 + 3 + 4) / 6, 6)]
    assert [row["loss_recent"] for row in rows] == [1.5, 3.5]
    assert whole.period() == {}


def test_the_validation_loss_is_the_cross_entropy_of_the_centre_view(run_tiny, tmp_path, ssv2):
    code, _, err = run_tiny("SOLVER.MAX_EPOCH", 1, "TRAIN.LABEL_SMOOTHING", 0.2, "TEST.ENABLE", False)
    assert code == 0, err
    row = [row for row in metrics(tmp_path / "run") if row["kind"] == "val"][-1]
    cfg = load_config(CFG, [*TINY, "DATA.PATH_TO_DATA_DIR", str(ssv2)])
    network = build_model(cfg)
    load_weights(network, tmp_path / "run/checkpoints/checkpoint_epoch_00001.pyth")
    network.eval().head.act = "none"
    losses = []
    for views in build_test_loader(cfg, "val"):
        with torch.no_grad():
            logits = network(build_normalize(cfg)(views.frames))
        losses += F.cross_entropy(logits, views.label, reduction="none").tolist()
    assert row["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert f"Validation: loss {row['loss']:.4f}, top-1" in (tmp_path / "run/log.txt").read_text()


@pytest.mark.parametrize(("word", "mode"), [("default", None), ("max-autotune", "max-autotune")])
def test_a_compiled_network_is_the_same_one_with_the_same_names(monkeypatch, word, mode):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compiled.append((self, options)))
    learner = learner_of("COMPILE", word, "EMA.ENABLE", True)
    assert compiled == [(learner.network, {"mode": mode})]
    assert learner.state()["model_state"].keys() == learner_of().state()["model_state"].keys()


def test_a_compiled_network_learns_as_it_would_and_is_copied_uncompiled():
    learner, wanted = learner_of("MODEL.DROPOUT_RATE", 0.0), learner_of("MODEL.DROPOUT_RATE", 0.0)
    learner.network.compile(backend="eager", fullgraph=True)
    assert copy.deepcopy(learner.network)._compiled_call_impl is None
    assert learner.step(batch(), 0.1).loss == wanted.step(batch(), 0.1).loss
