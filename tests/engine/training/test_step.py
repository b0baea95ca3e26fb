"""What a step asks of its device: nothing, until the next one is on its way; and what it changes meanwhile."""

import copy
import math

import pytest
import torch
from float_clips import batch_of, learner_of
from miniatures import CFG, TINY
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from slowfast_gta.engine.training.learner import Learner
from slowfast_gta.engine.training.optimizer import load_optimizer_state, start_momentum
from slowfast_gta.engine.training.step import Numbers
from slowfast_gta.loading.batch import Batch

CALM = [*TINY, "MODEL.DROPOUT_RATE", 0.0]
SLOWFAST = ["MODEL.MODEL_NAME", "SlowFast", "MODEL.ARCH", "slowfast", "SLOWFAST.ALPHA", 2, "SLOWFAST.BETA_INV", 4]
SLOWFAST += ["RESNET.NUM_BLOCK_TEMP_KERNEL", [[3, 3], [4, 4], [6, 6], [3, 3]]]
SLOWFAST += ["RESNET.SPATIAL_STRIDES", [[1, 1], [2, 2], [2, 2], [2, 2]], "RESNET.SPATIAL_DILATIONS", [[1, 1]] * 4]
ASKING = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal", "item"}
ASKING |= {"tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__"}


class Asked(TorchFunctionMode):
    """While it is on, the calls that would make the host wait for a GPU are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, function, types, arguments=(), options=None):
        if getattr(function, "__name__", "") in ASKING:
            self.names.append(function.__name__)
        return function(*arguments, **(options or {}))


class AskedBelow(TorchDispatchMode):
    """The same of what torch itself calls."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if function.overloadpacket.__name__ in ASKING:
            self.names.append(function.overloadpacket.__name__)
        return function(*arguments, **(options or {}))


def asked_by(run) -> list[str]:
    with AskedBelow() as below, Asked() as above:
        run()
    return above.names + below.names


def as_on_a_gpu(overrides: list) -> Learner:
    """A learner whose optimiser's kernels can leave a step out, as they are on a GPU."""
    learner = learner_of(CFG, [*CALM, *overrides])
    groups = learner.optimizer.state_dict()["param_groups"]
    if not isinstance(learner.optimizer, torch.optim.SGD):
        kind, options = type(learner.optimizer), {}
    else:
        kind, options = torch.optim.SGD, {"momentum": 0.9, "nesterov": groups[0]["nesterov"]}
    learner.optimizer = kind(
        [
            {"params": group["params"], "weight_decay": group["weight_decay"], "lr_factor": group["lr_factor"]}
            for group in learner.optimizer.param_groups
        ],
        lr=0.1,
        fused=True,
        **options,
    )
    if kind is torch.optim.SGD:
        start_momentum(learner.optimizer)
    learner.train_mode()
    assert learner.reads_late
    return learner


def batches(count: int, frames: int = 4) -> list:
    generator = torch.Generator().manual_seed(3)
    return [
        batch_of(torch.randn(4, 3, frames, 32, 32, generator=generator), torch.tensor([0, 1, 2, 1]))
        for _ in range(count)
    ]


def spoilt(batch):
    return batch_of(batch.frames * math.nan, batch.label)


def assert_same(state: dict, wanted: dict) -> None:
    assert state.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0, msg=name)


EVERYTHING = ["EMA.ENABLE", True, "SOLVER.CLIP_GRAD_L2NORM", 1.0, "SOLVER.CLIP_GRAD_VAL", 1.0]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        EVERYTHING,
        ["SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.ACCUMULATE_STEPS", 2],
        ["TRAIN.MIXED_PRECISION", True, "TRAIN.AMP_DTYPE", "float16", "EMA.ENABLE", True],
        SLOWFAST,
    ],
    ids=["plain", "everything", "adamw in parts", "float16", "SlowFast"],
)
def test_a_step_is_begun_without_asking_and_read_in_one_go(overrides):
    learner, outcomes = as_on_a_gpu(overrides), []
    first, second = batches(2)
    learner.step(first, 0.1)
    assert asked_by(lambda: outcomes.append(learner.begin(second, 0.1))) == []
    assert asked_by(lambda: learner.result(outcomes[0])) == ["tolist"]


def test_on_a_cpu_too_a_step_asks_once():
    learner = learner_of(CFG, [*CALM, *EVERYTHING])
    learner.train_mode()
    first, second = batches(2)
    learner.step(first, 0.1)
    assert asked_by(lambda: learner.begin(second, 0.1)) == ["tolist"]


@pytest.mark.parametrize("overrides", [EVERYTHING, ["SOLVER.OPTIMIZING_METHOD", "adam", "EMA.ENABLE", True]])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_bad_step_that_the_host_does_not_know_of_changes_nothing(overrides, bad):
    """The first one too, where torch's fused SGD would leave its momentum unset."""
    good = batches(3)
    mixed = [*good[:bad], spoilt(good[0]), *good[bad:]]
    overrides = [*overrides, "TRAIN.ON_NAN", "skip"]
    learner, wanted = as_on_a_gpu(overrides), as_on_a_gpu(overrides)
    outcomes = [learner.begin(batch, 0.1) for batch in mixed]
    results = [learner.result(outcome) for outcome in outcomes]
    assert [result.skipped for result in results] == [number == bad for number in range(4)]
    for batch in good:
        wanted.step(batch, 0.1)
    state, other = learner.state(), wanted.state()
    assert_same(state["model_state"], other["model_state"])
    assert state["ema_steps"] == other["ema_steps"] == 3
    for name, value in other["ema_state"].items():
        torch.testing.assert_close(state["ema_state"][name], value, rtol=1e-6, atol=1e-7, msg=name)
    for number, values in other["optimizer_state"]["state"].items():
        assert_same(state["optimizer_state"]["state"][number], values)


@pytest.mark.parametrize(("most", "num_kept"), [(1, 1), (2, 2)])
def test_after_what_ends_a_run_nothing_changes_any_more(most, num_kept):
    """ON_NAN's promise: the state from before the step is there when the host hears of it, steps later."""
    learner = as_on_a_gpu(["EMA.ENABLE", True, "TRAIN.ON_NAN", "skip", "TRAIN.MAX_NAN_STEPS", most])
    one, two = batches(2)
    order = [one, spoilt(one), two, spoilt(one), spoilt(two)] if most == 2 else [one, spoilt(one)]
    for batch in order:
        learner.begin(batch, 0.1)
    before = copy.deepcopy(learner.state())
    learner.begin(one, 0.1)
    after = learner.state()
    assert_same(after["model_state"], before["model_state"])
    assert_same(after["ema_state"], before["ema_state"])
    wanted = as_on_a_gpu(["EMA.ENABLE", True])
    for batch in [one, two][:num_kept]:
        wanted.step(batch, 0.1)
    assert_same(after["model_state"], wanted.state()["model_state"])


def test_the_fused_step_is_the_ordinary_one():
    learner, wanted = as_on_a_gpu(EVERYTHING), learner_of(CFG, [*CALM, *EVERYTHING, "SOLVER.MOMENTUM", 0.9])
    wanted.train_mode()
    for batch in batches(3):
        learner.begin(batch, 0.1)
        wanted.step(batch, 0.1)
    for name, value in wanted.network.state_dict().items():
        torch.testing.assert_close(learner.network.state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_a_checkpoint_resumes_with_the_kernels_of_the_machine_it_is_loaded_on():
    fused, plain = as_on_a_gpu([]), learner_of(CFG, CALM)
    plain.train_mode()
    for batch in batches(1):
        fused.step(batch, 0.1)
        plain.step(batch, 0.1)
    for ours, theirs in ((fused, plain), (plain, fused)):
        late = ours.reads_late
        load_optimizer_state(ours.optimizer, copy.deepcopy(theirs.optimizer.state_dict()))
        assert ours.reads_late is late
    new = learner_of(CFG, CALM).optimizer.state_dict()
    load_optimizer_state(fused.optimizer, new)
    assert all((state["momentum_buffer"] == 0).all() for state in fused.optimizer.state.values())


def test_numbers_keep_their_order_and_their_bits():
    values = [torch.tensor(0.1), torch.tensor(math.nan), torch.tensor(True), torch.tensor(7)]
    found = Numbers(values).read()
    assert found[0] == values[0].item() and math.isnan(found[1]) and found[2:] == [1.0, 7.0]


# ------------------------------------------------------------------------------------- a process without a clip


@pytest.mark.parametrize("late", [False, True])
def test_a_process_without_a_clip_keeps_its_statistics(late):
    """It computes on blanks, since the others wait for its gradients; BatchNorm is not to learn from them."""
    learner = as_on_a_gpu([]) if late else learner_of(CFG, CALM)
    learner.train_mode()
    before = {name: buffer.clone() for name, buffer in learner.network.named_buffers()}
    assert any(name.endswith("running_mean") for name in before)
    (batch,), none = batches(1), torch.zeros(0, dtype=torch.long)
    nothing = Batch(None, none, none, none, [])
    result = learner.result(learner.begin(nothing, 0.1, shares=[0, 4]))
    assert result.num_samples == 0 and not result.skipped
    for name, buffer in learner.network.named_buffers():
        assert torch.equal(buffer, before[name]), name
    learner.result(learner.begin(batch, 0.1, shares=[4, 4]))
    assert not all(torch.equal(buffer, before[name]) for name, buffer in learner.network.named_buffers())
