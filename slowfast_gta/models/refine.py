"""What W3 adds around its blocks: AFR, the masks of all stages led to the head, and MFR's loss.

Perez-Rua et al., "Knowing What, Where and When to Look", 2020 (arXiv:2004.01278), equations 7-9; no public code.

Legend: B batch, C channel, T frame, H W space, N stages with masks.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.models.layers import batch_to_frames, frames_to_batch
from slowfast_gta.models.layout import StageLayout, insertion_points


class AFR(nn.Module):
    """Attention-guided feature refinement: y = x + relu(W [AAP(M_1) .. AAP(M_N)]), W a 1x1 convolution.

    AAP averages a stage's mask to the size of x. (The ReLU is named in the paper's figure 2.)
    """

    def __init__(self, num_masks: int, dim: int):
        super().__init__()
        self.conv = nn.Conv3d(num_masks, dim, 1)

    def forward(self, x: Tensor, masks: list[Tensor]) -> Tensor:
        """x (B, C, T, H, W), N masks (B, 1, T', H', W') -> the shape of x."""
        aligned = torch.cat([average_to(mask, x.shape[2:]) for mask in masks], dim=1)
        return x + F.relu(self.conv(aligned)).to(x.dtype)


def average_to(mask: Tensor, size: Sequence[int]) -> Tensor:
    """AAP: (B, C, T', H', W') averaged to `size` (T, H, W), by equal windows where they divide it.

    Of images then: the same bits, and ONNX has it, and its gradient is exact on a GPU, unlike the adaptive form's.
    """
    frames, height, width = size
    if any(have % want for have, want in zip(mask.shape[2:], size, strict=True)):
        return F.adaptive_avg_pool3d(mask, (frames, height, width))
    if mask.shape[2] != frames:
        mask = mask.unflatten(2, (frames, -1)).mean(3)
    window = (mask.shape[3] // height, mask.shape[4] // width)
    return batch_to_frames(F.avg_pool2d(frames_to_batch(mask), window), frames)


def build_refine(cfg: CfgNode, layout: list[list[StageLayout]]) -> AFR | None:
    """What cfg.ATTENTION.REFINE names, for one pathway; N stages have a block, and the last block's mask counts."""
    if cfg.ATTENTION.REFINE == "none":
        return None
    num_stages = len({point.stage for point in insertion_points(layout, cfg.ATTENTION.LOCATION)})
    return AFR(num_stages, layout[-1][0].dim_out)


def feature_mimicking_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Equation 9: the L2 distance of two networks' features of a frame, averaged over frames and clips.

    student, teacher: (B, C, T, H, W), from `network.features(clip)`. Nothing is learned through the teacher.
    """
    difference = student - teacher.detach()
    wide = torch.promote_types(difference.dtype, torch.float32)  # a sum of 1e5 squares is no matter for 16 bits
    return torch.linalg.vector_norm(difference, dim=(1, 3, 4), dtype=wide).mean()
