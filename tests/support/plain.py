"""A ResNet or SlowFast written out with torch's own five-dimensional functions, for networks to be compared with.

It reads the weights by their names in the state dict and nothing else of the network: no folding, no memory formats.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS = {14: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class Plain:
    """The network's weights by name, and the layers that use them. `training`: BatchNorm by the batch's statistics."""

    def __init__(self, weights: dict[str, Tensor], training: bool, groups: int = 1, stride_1x1: bool = False):
        self.weights, self.training, self.groups, self.stride_1x1 = weights, training, groups, stride_1x1
        self.used: set[str] = set()

    def weight(self, name: str) -> Tensor:
        self.used.add(name)
        return self.weights[name]

    def conv(self, x: Tensor, name: str, stride=(1, 1, 1), dilation: int = 1, groups: int = 1) -> Tensor:
        weight = self.weight(f"{name}.weight")
        frames, side = weight.shape[2:4]
        pad = (frames // 2, dilation * (side // 2), dilation * (side // 2))
        return F.conv3d(x, weight, None, stride, pad, (1, dilation, dilation), groups)

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias, mean, var = (
            self.weight(f"{name}.{k}") for k in ("weight", "bias", "running_mean", "running_var")
        )
        if self.training:
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5)
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    def stem(self, x: Tensor, pathway: int = 0) -> Tensor:
        name = f"s1.pathway{pathway}_stem"
        x = F.relu(self.norm(self.conv(x, f"{name}.conv", (1, 2, 2)), f"{name}.bn"))
        return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))

    def block(self, x: Tensor, name: str, stride: int, dilation: int = 1) -> Tensor:
        """relu(branch1 + branch2); a bottleneck where there is a convolution c, else a basic block."""
        wide, narrow = (1, stride, stride), (1, 1, 1)
        shortcut = x
        if f"{name}.branch1.weight" in self.weights:
            shortcut = self.norm(self.conv(x, f"{name}.branch1", wide), f"{name}.branch1_bn")
        branch = f"{name}.branch2"
        if f"{branch}.c.weight" in self.weights:
            first, second = (wide, narrow) if self.stride_1x1 else (narrow, wide)
            x = F.relu(self.norm(self.conv(x, f"{branch}.a", first), f"{branch}.a_bn"))
            x = F.relu(self.norm(self.conv(x, f"{branch}.b", second, dilation, self.groups), f"{branch}.b_bn"))
            x = self.norm(self.conv(x, f"{branch}.c"), f"{branch}.c_bn")
        else:
            x = F.relu(self.norm(self.conv(x, f"{branch}.a", wide), f"{branch}.a_bn"))
            x = self.norm(self.conv(x, f"{branch}.b", dilation=dilation), f"{branch}.b_bn")
        return F.relu(shortcut + x)

    def stage(
        self, x: Tensor, number: int, blocks: int, pathway: int = 0, stride: int = 2, dilation: int = 1
    ) -> Tensor:
        for i in range(blocks):
            x = self.block(x, f"s{number}.pathway{pathway}_res{i}", stride if i == 0 else 1, dilation)
        return x

    def classes(self, x: Tensor) -> Tensor:
        """(B, C) -> logits (B, K)."""
        return x @ self.weight("head.projection.weight").t() + self.weight("head.projection.bias")


def plain_resnet(net: Plain, x: Tensor, depth: int, temporal_pool: int = 1, last=(2, 1)) -> Tensor:
    """Logits of a single pathway at its training crop. `last`: stride and dilation of res5.

    The head's windows have a 32nd of the crop's side; there are several where res5 does not shrink.
    """
    side = x.shape[-1] // 32
    strides, dilations = (1, 2, 2, last[0]), (1, 1, 1, last[1])
    x = net.stem(x)
    for index, blocks in enumerate(BLOCKS[depth]):
        x = net.stage(x, index + 2, blocks, stride=strides[index], dilation=dilations[index])
        if index == 0 and temporal_pool > 1:
            x = F.max_pool3d(x, (temporal_pool, 1, 1), (temporal_pool, 1, 1))
    return net.classes(F.avg_pool3d(x, (x.shape[2], side, side), 1).mean((2, 3, 4)))


def plain_slowfast(net: Plain, x: Tensor, depth: int, alpha: int, slow_frames: list[int]) -> Tensor:
    """Logits of a SlowFast network whose slow pathway takes the frames `slow_frames`."""
    slow, fast = net.stem(x[:, :, slow_frames], 0), net.stem(x, 1)
    for index, blocks in enumerate(BLOCKS[depth]):
        fuse = f"s{index + 1}_fuse"
        lateral = net.conv(fast, f"{fuse}.conv_f2s", (alpha, 1, 1))
        slow = torch.cat([slow, F.relu(net.norm(lateral, f"{fuse}.bn"))], dim=1)
        slow = net.stage(slow, index + 2, blocks, 0, stride=1 if index == 0 else 2)
        fast = net.stage(fast, index + 2, blocks, 1, stride=1 if index == 0 else 2)
    return net.classes(torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], dim=1))
