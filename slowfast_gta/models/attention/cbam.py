"""CBAM: a mask over channels, then a mask over positions, in each frame by itself.

Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018 (arXiv:1807.06521), equations 1-3. Compared with W3
on videos by Perez-Rua et al. (arXiv:2004.01278), whose masks begin with these two. Reference for the ratio and the
biases: the authors' Jongchan/attention-module; it has a BatchNorm behind the 7x7 convolution, the equations have none.

Legend: B batch, C channel, T frame, H W space.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.layers import OptionError


class FrameChannelMask(nn.Module):
    """sigmoid(MLP(mean) + MLP(max)) over the positions of a frame; one hidden layer of C/ratio channels."""

    def __init__(self, dim: int, ratio: int):
        super().__init__()
        if ratio < 1 or dim // ratio < 1:
            raise OptionError(f"RATIO is {ratio}; it must be from 1 to the {dim} channels.", "RATIO")
        self.squeeze = nn.Linear(dim, dim // ratio)
        self.expand = nn.Linear(dim // ratio, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T)."""
        pooled = torch.stack([x.mean((3, 4)), x.amax((3, 4))]).transpose(2, 3)  # (2, B, T, C)
        return self.expand(F.relu(self.squeeze(pooled))).sum(0).sigmoid().transpose(1, 2)


class FramePositionMask(nn.Module):
    """sigmoid of a 7x7 convolution over the mean and the max of the channels, frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 1, (1, 7, 7), padding=(0, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, 1, T, H, W)."""
        return self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)).sigmoid()


class MaskBlock(nn.Module):
    """x times the mask of `channel` (B, C, T), that times the mask of `position` (B, 1, T, H, W)."""

    identity_at_init = False
    returns_mask = True

    def __init__(self, channel: nn.Module, position: nn.Module):
        super().__init__()
        self.channel = channel
        self.position = position

    def forward(self, x: Tensor, return_mask: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """(B, C, T, H, W) -> the same; with `return_mask` also the mask over positions, (B, 1, T, H, W)."""
        x = x * self.channel(x)[..., None, None].to(x.dtype)
        mask = self.position(x).to(x.dtype)
        return (x * mask, mask) if return_mask else x * mask

    def attention_maps(self, x: Tensor) -> dict[str, Tensor]:
        """{"mask_channel": (B, C, T), "mask_position": (B, T, H, W)}."""
        # forward, and not self(...): whoever asks may do so from a hook of this block.
        return {"mask_channel": self.channel(x), "mask_position": self.forward(x, return_mask=True)[1][:, 0]}


@ATTENTION_REGISTRY.register()
class CBAM(MaskBlock):
    """Convolutional block attention: channel mask, then position mask. ratio: C over the MLP's hidden channels."""

    time_permutation_equivariant = True

    def __init__(self, dim: int, num_frames: int, ratio: int = 16):
        super().__init__(FrameChannelMask(dim, ratio), FramePositionMask())
