"""W3, what-where-when attention: CBAM's masks of each frame, then convolved along time.

Perez-Rua et al., "Knowing What, Where and When to Look: Efficient Video Action Modeling with Attention", 2020
(arXiv:2004.01278), equations 2-6; no public code. Equations 7 and 8 (AFR) and 9 (MFR) are in models/refine.py.
Where the text leaves a choice: the two layers of each temporal network have no non-linearity between them (none is
named; behind depthwise convolutions of numbers in (0, 1), a ReLU would silence half of the channels for good), and
the 1D convolutions are depthwise, as the text models "per-channel" relations.

Legend: B batch, C channel, T frame, H W space.
"""

from torch import Tensor, nn

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.attention.cbam import FrameChannelMask, FramePositionMask, MaskBlock


class ChannelTemporalMask(FrameChannelMask):
    """Equations 3 and 4: CBAM's channel mask of each frame, two 1D convolutions of 3 frames, sigmoid."""

    def __init__(self, dim: int, ratio: int, full: bool):
        super().__init__(dim, ratio)
        groups = 1 if full else dim
        self.temporal = nn.Sequential(*(nn.Conv1d(dim, dim, 3, padding=1, groups=groups) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T)."""
        return self.temporal(super().forward(x)).sigmoid()


class SpatioTemporalMask(FramePositionMask):
    """Equations 5 and 6: CBAM's position mask of each frame, two 3x3x3 convolutions, sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.temporal = nn.Sequential(*(nn.Conv3d(1, 1, 3, padding=1) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, 1, T, H, W)."""
        return self.temporal(super().forward(x)).sigmoid()


@ATTENTION_REGISTRY.register()
class W3(MaskBlock):
    """What-where-when attention (equation 2): channel-temporal mask, then spatio-temporal mask.

    ratio: C over the MLP's hidden channels. full: the 1D convolutions mix channels; else one for each channel.
    """

    def __init__(self, dim: int, num_frames: int, ratio: int = 16, full: bool = False):
        super().__init__(ChannelTemporalMask(dim, ratio, full), SpatioTemporalMask())
