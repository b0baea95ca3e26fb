"""What is said of workers that do not keep up."""

import os

import pytest

from slowfast_gta.engine.training.feeding import feeding_message


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("share", "workers", "needed", "frames"), [(0.5, 4, 8, False), (0.5, 0, 2, False), (0.75, 4, 16, True)]
)
def test_as_many_workers_as_the_waiting_asks_for(share, workers, needed, frames):
    message = feeding_message(100.0, share, workers, 1)
    assert (
        f" {needed} workers" in message
        and f"{100 / (1 - share):.0f} clips/s" in message
        and "8 cores" in message.replace("'s 8", " 8")
    )
    assert ("extract-frames" in message) == frames
    assert ("extract-frames" in feeding_message(100.0, 0.5, 4, 2)) is True, "two processes share the cores"


@pytest.mark.parametrize("share", [0.0, 0.09])
def test_nothing_is_logged_where_the_workers_keep_up(share):
    assert feeding_message(100.0, share, 4, 1) is None


def test_all_of_the_time_is_no_division_by_zero():
    assert feeding_message(1.0, 1.0, 2, 1) is not None and feeding_message(0.0, 1.0, 2, 1) is None
