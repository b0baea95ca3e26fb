"""The classifier at the end of a network, fully convolutional in testing as PySlowFast's is.

Legend: B batch, C channel, T frame, H W space, K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResNetBasicHead(nn.Module):
    """Average-pool each pathway, concatenate, drop out, project to K scores; with several outputs, once for each.

    `pool_sizes`: (T, H, W) of the windows over each pathway's features, whose size at the training crop they have
    where that is a multiple of 32. A larger crop leaves several windows, one position apart; each is classified by
    itself and the outputs are averaged.
    """

    def __init__(
        self,
        dims: list[int],
        num_classes: int | dict[str, int],
        pool_sizes: list[tuple[int, int, int]],
        dropout_rate: float = 0.0,
        act: str = "softmax",
    ):
        """`num_classes`: K, or {output: K}, whose projections are called projection_{output}."""
        super().__init__()
        self.pool_sizes = pool_sizes
        self.act = act
        self.dropout = nn.Dropout(dropout_rate)
        self.outputs: tuple[str, ...] = ()
        if isinstance(num_classes, dict):
            self.outputs = tuple(num_classes)
            for output, count in num_classes.items():
                self.add_module(f"projection_{output}", nn.Linear(sum(dims), count))
        else:
            self.projection = nn.Linear(sum(dims), num_classes)

    def projections(self) -> list[nn.Linear]:
        """The classifiers, one for each output."""
        if self.outputs:
            return [getattr(self, f"projection_{output}") for output in self.outputs]
        return [self.projection]

    def forward(self, pathways: list[Tensor]) -> Tensor | dict[str, Tensor]:
        """[(B, C, T, H, W)] -> logits (B, K) in training, probabilities (B, K) in eval; a dict of several outputs."""
        pooled = torch.cat([_average(x, size) for x, size in zip(pathways, self.pool_sizes, strict=True)], dim=1)
        features = self.dropout(pooled.permute(0, 2, 3, 4, 1))
        outputs = [self._averaged(projection(features)) for projection in self.projections()]
        return dict(zip(self.outputs, outputs, strict=True)) if self.outputs else outputs[0]

    def _averaged(self, scores: Tensor) -> Tensor:
        if not self.training and self.act == "softmax":
            scores = scores.softmax(-1)
        elif not self.training and self.act == "sigmoid":
            scores = scores.sigmoid()
        return scores.mean((1, 2, 3))


def _average(x: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Mean over windows of `size`, one position apart; over everything where x is no larger than that."""
    if all(have <= want for have, want in zip(x.shape[2:], size, strict=True)):
        return x.mean((2, 3, 4), keepdim=True)
    window = [min(pair) for pair in zip(x.shape[2:], size, strict=True)]
    if x.is_cpu:  # where PyTorch has no avg_pool3d of 16-bit numbers
        return F.avg_pool3d(x.to(torch.promote_types(x.dtype, torch.float32)), window, stride=1).to(x.dtype)
    return F.avg_pool3d(x, window, stride=1)
