"""The running average beside torch's, and buffers that are put back."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from slowfast_gta.engine.training.average import KeptBuffers, RunningAverage


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2).to(torch.bfloat16))


def change(module: nn.Module) -> None:
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor += 1 if tensor.dtype == torch.int64 else torch.rand_like(tensor)


def test_it_is_torch_s_bit_for_bit():
    one = network()
    ours, theirs = RunningAverage(one, 0.9), AveragedModel(one, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(4):
        change(one)
        ours.update(one)
        theirs.update_parameters(one)
        for name, value in theirs.module.state_dict().items():
            assert torch.equal(ours.module.state_dict()[name], value), name


def test_what_the_device_omits_leaves_the_average():
    one = network()
    known, unknown = RunningAverage(one, 0.9), RunningAverage(one, 0.9)
    for omitted in (False, False, True, False):
        before = copy.deepcopy(one)
        change(one)
        if omitted:  # weights and statistics stay in such a step
            one = before
        else:
            known.update(one)
        unknown.update(one, torch.tensor(omitted))
    for name, value in known.module.state_dict().items():
        torch.testing.assert_close(unknown.module.state_dict()[name], value, rtol=1e-6, atol=1e-3, msg=name)


def test_buffers_are_put_back_where_that_is_asked_on_the_device():
    one = network()
    start = copy.deepcopy(one.state_dict())
    kept = KeptBuffers(one)
    change(one)
    changed = copy.deepcopy(one.state_dict())
    kept.put_back(torch.tensor(False))
    assert all(torch.equal(value, changed[name]) for name, value in one.state_dict().items())
    buffers = {name for name, _ in one.named_buffers()}
    kept.put_back(torch.tensor(True))
    for name, value in one.state_dict().items():
        assert torch.equal(value, (start if name in buffers else changed)[name]), name


def test_buffers_are_put_back_where_the_host_knows():
    one = network()
    start, kept = copy.deepcopy(one.state_dict()), KeptBuffers(one)
    change(one)
    kept.put_back()
    assert all(torch.equal(value, start[name]) for name, value in one.named_buffers())


def test_a_restored_average_goes_on_on_the_device_too():
    """After updates it is an average; after none, the first step's weights."""
    for num_updates in (2, 0):
        one = network()
        known, unknown = RunningAverage(one, 0.9), RunningAverage(one, 0.9)
        for average in (known, unknown):
            average.restored(num_updates)
            assert average.num_updates == num_updates
        change(one)
        known.update(one)
        unknown.update(one, torch.tensor(False))
        assert torch.equal(known.module[0].weight, one[0].weight) == (num_updates == 0)
        torch.testing.assert_close(unknown.module[0].weight, known.module[0].weight, rtol=1e-6, atol=1e-7)
