"""Random numbers of training: functions of seed, epoch, step and process."""

import random

import numpy as np
import pytest
import torch

from slowfast_gta import distributed
from slowfast_gta.engine.checkpoint.random_state import random_states, restore_random_state, seed_process, seed_step
from slowfast_gta.errors import RunError


@pytest.fixture(autouse=True)
def as_before():
    states = random_states()
    yield
    restore_random_state(states)


def drawn_on(rank: int, monkeypatch, seed, *numbers: int) -> tuple:
    """The first numbers of each generator after seed(*numbers) on process `rank`."""
    monkeypatch.setattr(distributed, "get_rank", lambda: rank)
    random.seed(0), np.random.seed(0)
    seed(*numbers)
    return torch.rand(4).tolist(), random.random(), np.random.rand()


def test_dropout_differs_between_processes_and_in_each_number(monkeypatch):
    base = drawn_on(0, monkeypatch, seed_step, 1, 2, 3)[0]
    assert drawn_on(0, monkeypatch, seed_step, 1, 2, 3)[0] == base
    others = [drawn_on(rank, monkeypatch, seed_step, 1, 2, 3)[0] for rank in (1, 2)]
    others += [drawn_on(0, monkeypatch, seed_step, *numbers)[0] for numbers in ((0, 2, 3), (1, 0, 3), (1, 2, 0))]
    assert all(one != base for one in others) and len(set(map(tuple, others))) == len(others)


def test_each_generator_differs_between_processes(monkeypatch):
    here, there = (drawn_on(rank, monkeypatch, seed_process, 5) for rank in (0, 1))
    assert all(one != other for one, other in zip(here, there, strict=True))
    assert drawn_on(1, monkeypatch, seed_process, 5) == there


def test_the_state_put_back_gives_the_same_numbers():
    seed_process(7)
    states = random_states()
    first = torch.rand(4).tolist(), random.random(), np.random.rand()
    restore_random_state(states)
    assert (torch.rand(4).tolist(), random.random(), np.random.rand()) == first


@pytest.mark.parametrize(
    "change",
    [
        {"python": 3},
        {"numpy": ("MT19937", [1])},
        {"torch": "x"},
        {"torch": torch.zeros(3)},
        {"python": (3, (10**30,), None)},
    ],
    ids=str,
)
def test_a_random_state_that_is_none(change):
    (state,) = random_states()
    with pytest.raises(RunError):
        restore_random_state([state | change])
    with pytest.raises(RunError):
        restore_random_state([5])
    restore_random_state([state])
