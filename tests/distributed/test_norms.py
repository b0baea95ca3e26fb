"""BatchNorm over all processes, its arithmetic on one."""

import pytest
import torch
import torch.nn.functional as F
from process_threads import on_processes
from torch import nn

from slowfast_gta.distributed import pool_statistics
from slowfast_gta.distributed.norms import SyncBatchNorm1d, SyncBatchNorm3d, _Normalize, synchronize_norms


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_16_bits_are_summed_in_32(dtype):
    """Means far from zero and many positions, where sums of 16 bits lose two digits: against float64."""
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(4, 8, 4, 20, 20, generator=generator) + shift for shift in (3.0, 0.5))
    weight = torch.rand(8, generator=generator) + 0.5
    x, grad = x.to(dtype), grad.to(dtype)

    def gradients(normalize, *tensors):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        out = normalize(*leaves)
        return torch.autograd.grad(out, leaves, grad.to(out.dtype))

    exact = gradients(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True), x.double(), weight.double(), weight.double()
    )
    found = gradients(lambda x, w, b: _Normalize.apply(x, w, b, 1e-5)[0], x, weight, weight)
    rounded = 0.01 if dtype == torch.bfloat16 else 0.002
    for one, wanted, limit in zip(found, exact, (rounded, 1e-4, 1e-4), strict=True):
        assert (one.double() - wanted).norm() < limit * wanted.norm()


def test_gradients_of_channels_that_hardly_vary():
    """Where the variance is as small as `eps`, its part in the gradient is the larger one: against float64."""
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(4, 3, 2, 5, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    x, eps = 1e-3 * x, 1e-5  # a variance of 1e-6
    leaves = [x.requires_grad_(), torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
    (wanted,) = torch.autograd.grad(F.batch_norm(leaves[0], None, None, *leaves[1:], True, eps=eps), x, grad)
    (found,) = torch.autograd.grad(_Normalize.apply(*leaves, eps)[0], x, grad)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [nn.BatchNorm3d, nn.BatchNorm1d])
def test_processes_with_unequal_shares_have_one_norm(monkeypatch, kind):
    """Outputs, gradients and statistics of the whole batch, with an eps and a momentum that are not torch's."""
    generator = torch.Generator().manual_seed(0)
    shape = (6, 3, 2, 2, 2) if kind is nn.BatchNorm3d else (6, 3, 4)
    x, grad = (2 * torch.randn(shape, generator=generator, dtype=torch.float64) + 1 for _ in range(2))
    plain = nn.Sequential(kind(3, eps=0.1, momentum=0.3)).double()
    nn.init.uniform_(plain[0].weight, 0.5, 2.0, generator=generator)
    nn.init.normal_(plain[0].running_mean, generator=generator)
    start = {name: value.clone() for name, value in plain.state_dict().items()}
    shares = (slice(0, 1), slice(1, 3), slice(3, 6))
    whole = x.clone().requires_grad_()
    wanted = plain(whole)
    wanted.backward(grad)

    def of_rank(rank: int) -> None:
        network = nn.Sequential(kind(3, eps=0.1, momentum=0.3)).double()
        network.load_state_dict(start)
        synchronize_norms(network)
        assert type(network[0]) in (SyncBatchNorm1d, SyncBatchNorm3d)
        mine = x[shares[rank]].clone().requires_grad_()
        out = network(mine)
        out.backward(grad[shares[rank]])
        torch.testing.assert_close(out, wanted[shares[rank]])
        torch.testing.assert_close(mine.grad, whole.grad[shares[rank]])
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], value, msg=name)
        torch.testing.assert_close(network.eval()(mine), plain.eval()(mine))  # asks no other process

    on_processes(monkeypatch, 3, of_rank)


def test_pooled_statistics_leave_frozen_norms_to_the_bit(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    start = [(torch.randn(3, generator=generator), torch.rand(3, generator=generator) + 0.5) for _ in range(2)]

    def of_rank(rank: int) -> nn.Module:
        network = nn.Sequential(nn.BatchNorm3d(3), nn.BatchNorm3d(3))
        network[1].eval()
        for norm in network:
            norm.running_mean.copy_(start[rank][0])
            norm.running_var.copy_(start[rank][1])
        pool_statistics(network)
        return network

    mean = (start[0][0] + start[1][0]) / 2
    square = sum(var + one**2 for one, var in start) / 2
    for rank, network in enumerate(on_processes(monkeypatch, 2, of_rank)):
        torch.testing.assert_close(network[0].running_mean, mean)
        torch.testing.assert_close(network[0].running_var, square - mean**2)
        assert torch.equal(network[1].running_mean, start[rank][0])
        assert torch.equal(network[1].running_var, start[rank][1])
