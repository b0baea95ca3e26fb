"""Learning rates against numbers worked out by hand."""

import pytest
from miniatures import CFG

from slowfast_gta import load_config
from slowfast_gta.engine.training.schedule import Schedule, build_schedule, is_due, lr_at

COSINE = Schedule("cosine", base_lr=0.4, max_epochs=10, end_lr=0.0)
COSINE_TO_END = Schedule("cosine", base_lr=0.4, max_epochs=10, end_lr=0.1)
STEPS = Schedule("steps", base_lr=0.1, max_epochs=50, steps=(30, 40, 45), gamma=0.1)
RELATIVE = Schedule("steps_with_relative_lrs", base_lr=0.1, max_epochs=50, steps=(0, 20, 30), relative_lrs=(1, 0.5, 2))


def warm(schedule: Schedule, epochs: float) -> Schedule:
    return Schedule(**{**schedule.__dict__, "warmup_epochs": epochs, "warmup_start_lr": 0.01})


@pytest.mark.parametrize(
    ("schedule", "epoch", "lr"),
    [
        (COSINE, 0, 0.4),
        (COSINE, 2.5, 0.3414213562),  # 0.2 (1 + cos 45 deg)
        (COSINE, 5, 0.2),
        (COSINE, 10, 0.0),
        (COSINE_TO_END, 0, 0.4),
        (COSINE_TO_END, 5, 0.25),
        (COSINE_TO_END, 10, 0.1),
        (STEPS, 0, 0.1),
        (STEPS, 29.999, 0.1),
        (STEPS, 30, 0.01),
        (STEPS, 40, 0.001),
        (STEPS, 44.5, 0.001),
        (STEPS, 45, 0.0001),
        (STEPS, 50, 0.0001),
        (RELATIVE, 0, 0.1),
        (RELATIVE, 19.99, 0.1),
        (RELATIVE, 20, 0.05),
        (RELATIVE, 30, 0.2),
        (RELATIVE, 49, 0.2),
        (warm(COSINE, 5), 0, 0.01),
        (warm(COSINE, 5), 2.5, 0.105),  # half the way from 0.01 to 0.2, which is cosine's at epoch 5
        (warm(COSINE, 5), 5, 0.2),
        (warm(COSINE, 5), 7.5, 0.0585786438),
        (warm(STEPS, 2), 0, 0.01),
        (warm(STEPS, 2), 0.25, 0.02125),
        (warm(STEPS, 2), 1, 0.055),
        (warm(STEPS, 2), 2, 0.1),
        (warm(STEPS, 2), 30, 0.01),
        (warm(STEPS, 34), 17, 0.01),  # the target is what the policy says at the warm-up's end
        (warm(RELATIVE, 25), 12.5, 0.03),
        (warm(RELATIVE, 25), 25, 0.05),
    ],
)
def test_lr(schedule, epoch, lr):
    assert lr_at(epoch, schedule) == pytest.approx(lr, abs=1e-9)


@pytest.mark.parametrize(
    ("pairs", "scale"),
    [
        ([], 1),
        (["SOLVER.BASE_BATCH_SIZE", 16, "TRAIN.BATCH_SIZE", 64], 4),
        (["SOLVER.BASE_BATCH_SIZE", 64, "TRAIN.BATCH_SIZE", 16], 0.25),
        (["NUM_SHARDS", 3, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", True], 3),
    ],
)
def test_learning_rates_follow_the_batch_or_the_machines_when_asked(pairs, scale):
    plain, scaled = (build_schedule(load_config(CFG, more)) for more in ([], pairs))
    for epoch in (0, 0.5, 10):
        assert lr_at(epoch, scaled) == pytest.approx(scale * lr_at(epoch, plain))


@pytest.mark.parametrize(("max_epochs", "wanted"), [(20, 2), (1000, 34)])
def test_a_short_training_has_a_shorter_warm_up(max_epochs, wanted):
    solver = ["SOLVER.WARMUP_EPOCHS", 34, "SOLVER.WARMUP_MAX_FRACTION", 0.1, "SOLVER.MAX_EPOCH", max_epochs]
    cfg = load_config(CFG, solver)
    assert build_schedule(cfg).warmup_epochs == pytest.approx(wanted)


def test_what_is_due_every_third_step():
    assert [step for step in range(1, 10) if is_due(step, 3)] == [3, 6, 9]
    assert not any(is_due(step, 0) for step in range(10))


def test_each_key_reaches_the_schedule():
    solver = ["LR_POLICY", "steps_with_relative_lrs", "BASE_LR", 0.3, "MAX_EPOCH", 40, "GAMMA", 0.2, "STEPS", [0, 7]]
    solver += ["LRS", [1, 0.25], "WARMUP_EPOCHS", 3.0, "WARMUP_START_LR", 0.02, "BASE_BATCH_SIZE", 32]
    pairs = [f"SOLVER.{word}" if number % 2 == 0 else word for number, word in enumerate(solver)]
    found = build_schedule(load_config(CFG, [*pairs, "TRAIN.BATCH_SIZE", 64]))
    wanted = Schedule("steps_with_relative_lrs", 0.6, 40, (0, 7), (1, 0.25), 0.2, 0.0, 3.0, 0.04)
    assert found == wanted
    assert Schedule("steps", 0.1, 5) == Schedule("steps", 0.1, 5, (), (), 0.1, 0.0, 0.0, 0.0)
    cosine = ["SOLVER.LR_POLICY", "cosine", "SOLVER.COSINE_END_LR", 0.001, "SOLVER.STEPS", []]
    scaled = load_config(CFG, [*cosine, "SOLVER.BASE_BATCH_SIZE", 16, "TRAIN.BATCH_SIZE", 64])
    assert build_schedule(scaled).end_lr == pytest.approx(0.004) and build_schedule(scaled).policy == "cosine"
