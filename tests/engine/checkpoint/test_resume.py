"""What a checkpoint must have in common with the run that resumes it."""

import json
import logging
from types import SimpleNamespace

import pytest
from miniatures import CFG, TINY
from torch import nn

from slowfast_gta import load_config
from slowfast_gta.engine.checkpoint.checkpoint import Position, save_checkpoint
from slowfast_gta.engine.checkpoint.resume import (
    build_origin,
    check_builds_on,
    check_changed_keys,
    check_origin,
    check_starts_anew,
    global_step_of,
)
from slowfast_gta.errors import ConfigError, RunError

WAS = {"RNG_SEED": 1, "TRAIN.BATCH_SIZE": 4, "steps of an epoch": 3, "code": "a"}


@pytest.fixture(autouse=True)
def spoken(monkeypatch):
    """Our logger does not propagate once a command has set it up."""
    monkeypatch.setattr(logging.getLogger("slowfast_gta"), "propagate", True)


def test_steps_so_far_are_those_saved_or_those_of_the_epochs(tmp_path):
    position, old = Position(2, 1), {"origin": {"steps of an epoch": 3}}
    assert global_step_of(old | {"global_step": 50}, position, tmp_path) == 50
    assert global_step_of(old, position, tmp_path) == 2 * 3 + 1
    rows = [("train", 40, 2), ("val", 90, 2), ("train", 70, 3)]  # the last is of an epoch that is not complete
    text = "".join(json.dumps({"kind": kind, "step": step, "epoch": epoch}) + "\n" for kind, step, epoch in rows)
    (tmp_path / "metrics.jsonl").write_text(text)
    assert global_step_of(old, position, tmp_path) == 40 + 1
    assert global_step_of(old, Position(0), tmp_path) == 0


@pytest.mark.parametrize("changed", [{"RNG_SEED": 2}, {"TRAIN.BATCH_SIZE": 8}, {"steps of an epoch": 4}])
def test_inside_an_epoch_nothing_may_change_that_its_order_follows_from(changed, caplog):
    (name,) = changed
    with pytest.raises(RunError, match=name):
        check_origin(WAS, WAS | changed, Position(1, 2))
    assert not caplog.records
    check_origin(WAS, WAS | changed, Position(1))
    assert name in caplog.text


def test_other_code_is_said_and_no_more(caplog):
    check_origin(WAS, WAS, Position(1, 2))
    check_origin(WAS, WAS | {"new in this version": 1}, Position(1, 2))
    assert not caplog.records
    check_origin(WAS, WAS | {"code": "b"}, Position(1, 2))
    assert "code: a -> b" in caplog.text


def test_the_origin_has_what_the_order_of_an_epoch_follows_from():
    class ThreeSteps(list):
        digest = "d"

    cfg = load_config(CFG, [*TINY, "RNG_SEED", 7])
    found = build_origin(cfg, SimpleNamespace(origin=lambda cfg: {"of the task": 5}), ThreeSteps([1, 2, 3]))
    wanted = {"RNG_SEED": 7, "TRAIN.BATCH_SIZE": 4, "steps of an epoch": 3, "of the task": 5}
    assert wanted.items() <= found.items() and "d" in found.values() and found["code"]


@pytest.mark.parametrize(
    ("was", "now", "fits"),
    [
        ({"base": "1"}, {"base": "1"}, True),
        ({"base": "1"}, {"base": "2"}, False),
        ({"base": "1"}, {}, False),
        ({}, {"base": "1"}, False),
        ({}, {}, True),
    ],
)
def test_what_a_training_builds_on_stays(was, now, fits):
    def check() -> None:
        task = SimpleNamespace(builds_on=lambda model: now)
        check_builds_on(load_config(CFG, TINY), task, nn.Identity(), {"builds_on": was})

    if fits:
        check()
    else:
        with pytest.raises(RunError, match="base"):
            check()


def test_changed_keys_are_listed_with_both_values_and_another_data_set_is_refused(caplog):
    before, after = (load_config(CFG, [*TINY, "SOLVER.BASE_LR", lr]) for lr in (0.25, 0.5))
    check_changed_keys(before, {"cfg": before.dump()})
    assert not caplog.records
    check_changed_keys(after, {"cfg": before.dump()})
    assert "SOLVER.BASE_LR: 0.25 -> 0.5" in caplog.text and len(caplog.text.splitlines()) == 2
    other = load_config(CFG, [*TINY, "TRAIN.DATASET", "Kinetics"])
    with pytest.raises(RunError, match=r"Kinetics\b.*\bSSv2"):
        check_changed_keys(before, {"cfg": other.dump()})


def test_a_run_from_the_start_wants_a_folder_without_checkpoints(tmp_path):
    cfg = load_config(CFG, [*TINY, "OUTPUT_DIR", str(tmp_path)])
    check_starts_anew(cfg)
    save_checkpoint(tmp_path, Position(0, 3), {})
    with pytest.raises(ConfigError, match=str(tmp_path)):
        check_starts_anew(cfg)
