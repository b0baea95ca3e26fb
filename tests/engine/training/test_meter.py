"""What an epoch's meter averages, and over what."""

from types import SimpleNamespace

import pytest
from process_threads import on_processes

from slowfast_gta.engine.training.meter import Meter
from slowfast_gta.engine.training.step import TOO_FEW, StepResult


def step(loss: float, num_samples: int, grad_norm: float, **flags: bool) -> StepResult:
    return StepResult(loss, {"top1": 100.0 * num_samples}, num_samples, grad_norm, **{"skipped": False} | flags)


def test_losses_are_averaged_over_samples_and_gradient_norms_over_steps():
    meter = Meter({"top1": 3})
    for one in (step(1.0, 3, 2.0), step(5.0, 1, 6.0), step(0.0, 0, 7.0)):  # the last: no sample on this process
        meter.add(one)
    found = meter.summary()
    assert found["loss"] == pytest.approx((3 * 1.0 + 1 * 5.0) / 4) and found["top1"] == 100.0
    assert found["grad_norm"] == pytest.approx((2.0 + 6.0 + 7.0) / 3)


def test_steps_that_changed_nothing_are_counted_and_not_averaged():
    meter = Meter({"top1": 3})
    for one in (
        step(1.0, 2, 3.0),
        step(float("nan"), 2, float("nan"), skipped=True),
        step(7.0, 2, float("inf"), overflowed=True),
        TOO_FEW,
    ):
        meter.add(one)
    found = meter.summary()
    assert found["grad_norm"] == 3.0 and found["loss"] == pytest.approx((2 * 1.0 + 2 * 7.0) / 4)
    assert [found[name] for name in ("skipped_steps", "overflowed_steps", "steps_of_too_few")] == [1, 1, 1]


def test_an_epoch_continues_with_the_sums_of_its_checkpoint():
    whole, first = Meter({"top1": 3}), Meter({"top1": 3})
    steps = [step(1.0, 3, 2.0), step(5.0, 1, 6.0), step(2.0, 4, 1.0)]
    for one in steps:
        whole.add(one)
    first.add(steps[0])
    second = Meter({"top1": 3}, total=first.total())
    for one in steps[1:]:
        second.add(one)
    assert second.summary() == whole.summary()


def test_what_became_of_the_samples_is_summed():
    meter = Meter({"top1": 3}, counts=("num_decoded", "num_skipped"))
    for counts, errors in (({"num_decoded": 4, "num_skipped": 0}, []), ({"num_decoded": 1, "num_skipped": 3}, [1, 2])):
        meter.count(SimpleNamespace(counts=counts, errors=errors))
    found = meter.total()
    assert [found[name] for name in ("num_decoded", "num_skipped", "broken_videos")] == [5, 3, 2]


def test_the_recent_loss_is_that_of_the_samples_since_the_last_call():
    meter = Meter({"top1": 3})
    meter.add(step(1.0, 3, 2.0))
    assert meter.period() == {"loss_recent": 1.0}
    meter.add(step(5.0, 1, 2.0))
    again = Meter({"top1": 3}, total=meter.total())
    for one in (meter, again):  # a resumed period has the same mean
        one.add(step(2.0, 3, 2.0))
        assert one.period() == {"loss_recent": pytest.approx((5 * 1 + 2 * 3) / 4)}
        assert one.period() == {}
        assert one.summary()["loss"] == pytest.approx((1 * 3 + 5 * 1 + 2 * 3) / 7, abs=1e-6)


def test_an_epoch_of_version_0_1_continues():
    """Its checkpoints hold a list of sums, and clips that were right instead of a percentage."""
    meter = Meter({"top1": 3}, total=[12.0, 3.0, 4.0, 6.0, 2.0, 5, 4, 1, 0, 0, 1, 7, 0])
    assert meter.total()["top1"] == 300.0 and meter.total()["repeated_frames"] == 7
    assert meter.summary()["top1"] == 75.0 and meter.summary()["loss"] == 3.0


def test_several_processes_have_one_mean_and_count_what_they_left_out_together_once(monkeypatch):
    """Of 3 + 1 and then 2 + 4 samples on two processes, resumed in between."""
    mine = {0: [step(1.0, 3, 2.0), step(3.0, 2, 4.0)], 1: [step(5.0, 1, 2.0), step(6.0, 4, 4.0)]}
    left_out = [step(0.0, 2, 0.0, skipped=True), TOO_FEW, step(0.0, 0, 0.0, overflowed=True)]

    def epoch(rank: int) -> list[dict]:
        meter = Meter({"top1": 3}, counts=("num_decoded",))
        for one in (mine[rank][0], *left_out):
            meter.add(one)
        meter.count(SimpleNamespace(counts={"num_decoded": 3 - rank}, errors=[1] * rank))
        periods = [meter.period(), meter.period()]
        meter = Meter({"top1": 3}, counts=("num_decoded",), total=meter.total())
        meter.add(mine[rank][1])
        return [*periods, meter.period(), meter.summary()]

    first, again, second, whole = found = on_processes(monkeypatch, 2, epoch)[0]
    assert on_processes(monkeypatch, 2, epoch) == [found, found]
    assert first == {"loss_recent": (3 * 1 + 5) / 4} and again == {}
    assert second == {"loss_recent": (2 * 3 + 4 * 6) / 6}
    assert whole["loss"] == pytest.approx((3 * 1 + 5 + 2 * 3 + 4 * 6) / 10) and whole["top1"] == 100.0
    assert whole["grad_norm"] == pytest.approx((2.0 + 4.0) / 2)
    assert [whole[name] for name in ("skipped_steps", "overflowed_steps", "steps_of_too_few")] == [1, 1, 1]
    assert (whole["num_decoded"], whole["broken_videos"]) == (5, 1)


def test_what_is_shown_is_the_loss_of_the_last_step_with_a_sample():
    meter = Meter({"top1": 3})
    for one in (step(1.0, 3, 2.0), step(5.0, 1, 6.0), step(0.0, 0, 4.0), step(9.0, 2, 1.0, skipped=True)):
        meter.add(one)
    assert meter.recent_loss == 5.0


def test_metrics_have_the_digits_of_the_task_and_losses_six():
    meter = Meter({"top1": 1})
    meter.add(StepResult(1 / 3, {"top1": 200.0}, 3, 2 / 3, skipped=False))
    found = meter.summary() | meter.period()
    assert found["top1"] == 66.7 and [found[name] for name in ("loss", "loss_recent", "grad_norm")] == [
        0.333333,
        0.333333,
        0.666667,
    ]


def test_a_count_of_the_task_that_every_meter_has_is_one_count():
    meter = Meter(counts=("broken_videos",))
    meter.count(SimpleNamespace(counts={}, errors=[1, 2]))
    assert meter.summary()["broken_videos"] == 2


def test_sums_of_many_samples_are_exact():
    """float32 would not count on from 2 ** 24."""
    meter = Meter()
    for num_samples in (2**24, 1):
        meter.add(StepResult(1.0, {}, num_samples, 1.0, skipped=False))
    assert meter.total()["samples"] == 2**24 + 1
