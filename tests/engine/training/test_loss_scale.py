"""Our loss scale beside torch's."""

import random

import pytest
import torch

from slowfast_gta.engine.training import loss_scale
from slowfast_gta.engine.training.loss_scale import LossScale

CPU, YES, NO = torch.device("cpu"), torch.tensor(True), torch.tensor(False)


def test_it_follows_torch_s_over_a_thousand_steps(monkeypatch):
    monkeypatch.setattr(loss_scale, "_INTERVAL", 5)
    ours = LossScale(CPU, enabled=True)
    theirs = torch.amp.GradScaler("cpu", growth_interval=5)
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    draw = random.Random(0)
    for _ in range(1000):
        overflows = draw.random() < 0.15
        parameter.grad = torch.full((3,), float("inf") if overflows else 3.0)
        gradient = parameter.grad.clone()
        theirs.scale(torch.zeros(()))
        theirs.unscale_(optimizer)
        ours.unscale_([gradient])
        torch.testing.assert_close(gradient, parameter.grad, rtol=0, atol=0)
        theirs.step(optimizer)
        theirs.update()
        ours.update_(torch.tensor(overflows), NO)
        assert ours.get_scale() == theirs.get_scale() and int(ours._tracker) == theirs._get_growth_tracker()


@pytest.mark.parametrize("enabled", [True, False])
def test_its_state_is_torch_s(enabled):
    ours, theirs = LossScale(CPU, enabled), torch.amp.GradScaler("cpu", enabled=enabled)
    theirs.scale(torch.zeros(()))
    assert ours.state_dict() == theirs.state_dict()
    ours.update_(YES, NO)
    other = LossScale(CPU, enabled)
    if enabled:
        other.load_state_dict(ours.state_dict())
    assert other.get_scale() == ours.get_scale() == (32768.0 if enabled else 1.0)


def test_a_step_whose_fault_lies_elsewhere_changes_nothing():
    scale = LossScale(CPU, enabled=True)
    scale.update_(NO, NO)
    before = scale.state_dict()
    scale.update_(NO, YES)
    assert scale.state_dict() == before


def test_it_stays_where_twice_as_much_is_no_number(monkeypatch):
    monkeypatch.setattr(loss_scale, "_INTERVAL", 1)
    scale = LossScale(CPU, enabled=True)
    scale.load_state_dict({"scale": 3e38, "_growth_tracker": 0})
    scale.update_(NO, NO)
    assert scale.get_scale() == pytest.approx(3e38)


def test_what_may_be_the_scale_s_fault_and_what_a_checkpoint_has_of_it():
    scale, other = LossScale(CPU, enabled=True), LossScale(CPU, enabled=True)
    for value, may in ((2.0, True), (1.0, False)):
        scale.load_state_dict({"scale": value, "_growth_tracker": 0})
        assert bool(scale.may_overflow()) is may
    scale.update_(NO, NO)
    other.load_state_dict(scale.state_dict())
    assert other.state_dict() == scale.state_dict() and other.state_dict()["_growth_tracker"] == 1
