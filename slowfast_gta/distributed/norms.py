"""BatchNorm over the clips of all processes, on GPUs and CPUs alike (torch's own is for GPUs only).

N positions of this process in all (B*T*H*W, or of sequences B*N), C channels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast_gta.distributed.collectives import all_reduce_sum, get_world_size


class _Synchronized(nn.modules.batchnorm._BatchNorm):
    """A BatchNorm, in training with the mean and variance over all processes; the same names in a state dict."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or get_world_size() == 1:
            return super().forward(x)
        normalized, mean, var, count = _Normalize.apply(x, self.weight, self.bias, self.eps)
        if self.num_batches_tracked is None:  # computed again, for a gradient: see models/recompute.py
            return normalized
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None  # synchronize_norms takes plain BatchNorms
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((var * count / (count - 1)).to(self.running_var.dtype), self.momentum)
        return normalized


class SyncBatchNorm3d(_Synchronized, nn.BatchNorm3d):
    """Of clips (B, C, T, H, W)."""


class SyncBatchNorm1d(_Synchronized, nn.BatchNorm1d):
    """Of sequences (B, C, N)."""


class _Normalize(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, and the mean (C,), the variance (C,) and the N of all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = [dim for dim in range(x.ndim) if dim != 1]
        # Mean and variance here, then all processes' by their parts: E[x^2] - E[x]^2 alone would lose digits.
        var_here, mean_here = torch.var_mean(x.to(torch.promote_types(x.dtype, torch.float32)), dims, correction=0)
        var_here, mean_here = var_here.double(), mean_here.double()
        count_here = mean_here.new_full((1,), x.numel() / x.shape[1])
        sums = torch.cat([count_here, count_here * mean_here])
        count, sum_ = all_reduce_sum(sums).split([1, len(mean_here)])
        mean = sum_ / count
        var = all_reduce_sum(count_here * (var_here + (mean_here - mean) ** 2)) / count
        scale = (var + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale, count)
        normalized = F.batch_norm(x, mean.to(weight.dtype), var.to(weight.dtype), weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(mean, var, count)
        return normalized, mean, var, count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        dims = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        wide = torch.promote_types(grad.dtype, torch.float32)  # sums of 1e5 numbers are no matter for 16 bits
        grad, mean, scale = grad.to(wide), mean.to(wide).view(shape), scale.to(wide).view(shape)
        unit = (x.to(wide) - mean) * scale
        grad_bias, grad_weight = grad.sum(dims), (grad * unit).sum(dims)  # of this process: they are averaged later
        both = all_reduce_sum(torch.stack([grad_bias, grad_weight]).double()) / count
        mean_grad, mean_product = both.to(wide).view(2, *shape)
        grad_x = weight.to(wide).view(shape) * scale * (grad - mean_grad - unit * mean_product)
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


def synchronize_norms(network: nn.Module) -> nn.Module:
    """`network` itself, whose BatchNorms are over all processes from now on."""
    for owner in list(network.modules()):
        for name, norm in list(owner.named_children()):
            plain = type(norm) in (nn.BatchNorm1d, nn.BatchNorm3d) or "replaceable" in vars(type(norm))
            if plain and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm3d):
                kind = SyncBatchNorm1d if isinstance(norm, nn.BatchNorm1d) else SyncBatchNorm3d
                synchronized: _Synchronized = kind(norm.num_features, norm.eps, norm.momentum)
                synchronized.to(norm.weight).load_state_dict(norm.state_dict())
                setattr(owner, name, synchronized)
    return network
