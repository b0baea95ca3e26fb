"""BatchNorm over parts of a batch: large batches keep the noise of small ones (PySlowFast's sub_batchnorm)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SubBatchNorm3d(nn.BatchNorm3d):
    """nn.BatchNorm3d that in training normalises each of `num_splits` parts of the batch by itself.

    Its running statistics are the parts' average; a state dict has the names of a plain BatchNorm, to which PySlowFast
    folds its own when it saves.
    """

    def __init__(self, dim: int, eps: float, momentum: float | None, num_splits: int):
        super().__init__(dim, eps, momentum)
        self.num_splits = num_splits

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None
        mean_before, var_before, momentum = self.running_mean, self.running_var, self.momentum
        parts = x.tensor_split(min(self.num_splits, len(x)))  # which may differ by one clip
        statistics = [(mean_before.clone(), var_before.clone()) for _ in parts]
        normalized = [
            F.batch_norm(part, mean, var, self.weight, self.bias, True, momentum, self.eps)
            for part, (mean, var) in zip(parts, statistics, strict=True)
        ]
        means, variances = zip(*statistics, strict=True)
        if self.num_batches_tracked is None:  # computed again, for a gradient: see models/recompute.py
            return torch.cat(normalized)
        with torch.no_grad():
            self.running_mean.copy_(torch.stack(means).mean(0))
            self.running_var.copy_(torch.stack(variances).mean(0))
            self.num_batches_tracked.add_(1)
        return torch.cat(normalized)


def split_norms(network: nn.Module, num_splits: int) -> nn.Module:
    """`network` itself, whose BatchNorms look at each of `num_splits` parts of a batch from now on."""
    for owner in list(network.modules()):
        for name, norm in list(owner.named_children()):
            plain = type(norm) is nn.BatchNorm3d or "replaceable" in vars(type(norm))
            if plain and isinstance(norm, nn.BatchNorm3d):
                split = SubBatchNorm3d(norm.num_features, norm.eps, norm.momentum, num_splits)
                split.to(norm.weight).load_state_dict(norm.state_dict())
                setattr(owner, name, split)
    return network
