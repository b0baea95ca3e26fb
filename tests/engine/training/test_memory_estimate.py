"""The estimate of a step's memory against what is there."""

import logging
from pathlib import Path

import pytest
import torch
from float_clips import batch_of, learner_of
from miniatures import CFG, TINY

from slowfast_gta import build_model, load_config
from slowfast_gta.engine.training import memory_estimate
from slowfast_gta.engine.training.memory_estimate import check_memory, estimate_step_bytes, machine_bytes
from slowfast_gta.engine.training.trial import Trial, try_sample
from slowfast_gta.errors import RunError

KIB = 2**10


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """machine(available, total, {folder: (limit, usage, cache)}): a /proc and a /sys/fs/cgroup of these numbers."""

    def make(available: int, total: int, groups: dict[str, tuple[object, int, int]], path: str = "/a/b") -> None:
        proc, root = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text(f"MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n")
        (proc / "self" / "cgroup").write_text(f"0::{path}\n")
        for name, (limit, usage, cache) in groups.items():
            folder: Path = root / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "memory.max").write_text(f"{limit}\n")
            (folder / "memory.current").write_text(f"{usage}\n")
            (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")
        monkeypatch.setattr(memory_estimate, "_PROC", proc)
        monkeypatch.setattr(memory_estimate, "_CGROUP", root)

    return make


@pytest.mark.parametrize(
    ("groups", "free", "total"),
    [
        ({}, 500 * KIB, 1000 * KIB),
        ({"a/b": ("max", 7, 0)}, 500 * KIB, 1000 * KIB),
        ({"a/b": (300 * KIB, 200 * KIB, 50 * KIB)}, 150 * KIB, 300 * KIB),
        ({"a/b": ("max", 7, 0), "a": (200 * KIB, 100 * KIB, 0)}, 100 * KIB, 200 * KIB),  # that of a group above it
        ({".": (100 * KIB, 60 * KIB, 0)}, 40 * KIB, 100 * KIB),  # a container sees its own as the root
    ],
)
def test_the_smallest_limit_counts(machine, groups, free, total):
    machine(500, 1000, groups)
    assert machine_bytes() == (free, total)


def test_a_machine_without_such_files_is_not_judged(monkeypatch, tmp_path):
    monkeypatch.setattr(memory_estimate, "_PROC", tmp_path)
    assert machine_bytes() == (None, None)


def test_what_cannot_fit_is_refused_and_what_does_not_fit_now_is_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("slowfast_gta"), "propagate", True)
    cfg = load_config(CFG, TINY)
    network = build_model(cfg)
    trial = Trial(1, "", 10 * KIB)
    needed = estimate_step_bytes(cfg, network, trial)
    numbers = sum(parameter.numel() for parameter in network.parameters())
    assert needed == 2 * 4 * numbers + 4 * 10 * KIB, "gradients, momentum, and four clips"
    for free, total in ((needed - 1, needed - 1), (needed - 1, needed), (needed, needed)):
        monkeypatch.setattr(memory_estimate, "machine_bytes", lambda pair=(free, total): pair)
        caplog.clear()
        if total < needed:
            with pytest.raises(RunError, match=r"TRAIN.BATCH_SIZE \(4\).*SOLVER.ACCUMULATE_STEPS 1"):
                check_memory(cfg, network, trial)
        else:
            check_memory(cfg, network, trial)
            assert bool(caplog.records) == (free < needed)
    check_memory(cfg, network, Trial())


def test_parts_adam_and_half_precision_count():
    network = build_model(load_config(CFG, TINY))
    numbers = 4 * sum(parameter.numel() for parameter in network.parameters())

    def estimate(*keys: object) -> int:
        return estimate_step_bytes(load_config(CFG, [*TINY, *keys]), network, Trial(1, "", 1000))

    assert estimate("SOLVER.ACCUMULATE_STEPS", 2) == 2 * numbers + 2000
    assert estimate("SOLVER.OPTIMIZING_METHOD", "adamw") == 3 * numbers + 4000
    assert estimate("TRAIN.MIXED_PRECISION", True) == 2 * numbers + 2000


def test_what_is_kept_is_what_a_real_step_keeps():
    """The tensors that autograd is given on the CPU, by their size, against those of the meta device."""
    learner = learner_of(CFG, TINY)
    learner.train_mode()
    kept: dict[int, int] = {}
    alive = []
    own = {value.untyped_storage().data_ptr() for value in learner.network.state_dict().values()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        alive.append(tensor)
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = batch_of(torch.randn(1, 3, 4, 32, 32), torch.tensor([1]))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        learner.network(batch.frames)
    found = try_sample(learner.network, learner.task.blank(load_config(CFG, TINY))).saved_bytes
    assert found == pytest.approx(sum(kept.values()), rel=0.1)
