"""SlowFast: a slow pathway with few frames and many channels, a fast one with many frames and few channels.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019 (arXiv:1812.03982).
Parameter names and the choice of the slow pathway's frames are PySlowFast's.
"""

from collections.abc import Sequence

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.models.build import MODEL_REGISTRY
from slowfast_gta.models.heads import ResNetBasicHead
from slowfast_gta.models.layers import BatchNorm3d, Conv3d, relu
from slowfast_gta.models.layout import TEMPORAL_KERNELS, build_layout
from slowfast_gta.models.resnet import ResStage, Stem, as_clip, build_head, build_stages


def slow_frame_indices(num_frames: int, alpha: int) -> Tensor:
    """The slow pathway's frames: linspace over the clip, cut to whole numbers. Not every alpha-th frame."""
    return torch.linspace(0, num_frames - 1, num_frames // alpha).long()


class FuseFastToSlow(nn.Module):
    """Convolve the fast pathway along time down to the slow one's frames and append it to its channels."""

    def __init__(self, dim_fast: int, ratio: int, kernel: int, alpha: int):
        super().__init__()
        self.conv_f2s = Conv3d(dim_fast, dim_fast * ratio, (kernel, 1), temporal_stride=alpha)
        self.bn = BatchNorm3d(dim_fast * ratio)

    def forward(self, pathways: list[Tensor]) -> list[Tensor]:
        slow, fast = pathways
        return [torch.cat([slow, relu(self.bn(self.conv_f2s(fast)))], dim=1), fast]


@MODEL_REGISTRY.register()
class SlowFast(nn.Module):
    """Two pathways; takes all frames of the clip and picks the slow pathway's itself."""

    slow_frames: Tensor

    def __init__(
        self,
        stems: list[Stem],
        stages: list[ResStage],
        fusions: list[FuseFastToSlow],
        head: ResNetBasicHead,
        num_frames: int,
        alpha: int,
    ):
        super().__init__()
        self.num_frames = num_frames
        self.alpha = alpha
        # On the network's device from the start, and in no checkpoint.
        self.register_buffer("slow_frames", slow_frame_indices(num_frames, alpha), persistent=False)
        self.s1 = nn.ModuleDict({f"pathway{i}_stem": stem for i, stem in enumerate(stems)})
        self.s1_fuse, self.s2_fuse, self.s3_fuse, self.s4_fuse = fusions
        self.s2, self.s3, self.s4, self.s5 = stages
        self.head = head

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "SlowFast":
        layout, node = build_layout(cfg), cfg.SLOWFAST
        widths = [cfg.RESNET.WIDTH_PER_GROUP, cfg.RESNET.WIDTH_PER_GROUP // node.BETA_INV]
        stems = [
            Stem(width, kernel[0]) for width, kernel in zip(widths, TEMPORAL_KERNELS[cfg.MODEL.ARCH][0], strict=True)
        ]
        dims_fast = [widths[1], *(stage[1].dim_out for stage in layout[:-1])]
        fusions = [
            FuseFastToSlow(dim, node.FUSION_CONV_CHANNEL_RATIO, node.FUSION_KERNEL_SZ, node.ALPHA) for dim in dims_fast
        ]
        return cls(
            stems, build_stages(cfg, layout), fusions, build_head(cfg, layout[-1]), cfg.DATA.NUM_FRAMES, node.ALPHA
        )

    def features(self, clip: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """(B, 3, T, H, W), all frames -> what the head is given: [(B, C, T', H', W')], slow and fast.

        Or [slow, fast], as PySlowFast's is given: (B, 3, T / alpha, H, W) and (B, 3, T, H, W).
        """
        if isinstance(clip, list | tuple) and len(clip) == 2:
            slow, clip = as_clip(clip[0], self.num_frames // self.alpha), as_clip(clip[1], self.num_frames)
        else:
            clip = as_clip(clip, self.num_frames)
            slow = clip.index_select(2, self.slow_frames)
        pathways = [
            self.s1[f"pathway{i}_stem"](x.contiguous(memory_format=torch.channels_last_3d))
            for i, x in enumerate((slow, clip))
        ]
        fusions = (self.s1_fuse, self.s2_fuse, self.s3_fuse, self.s4_fuse)
        for fuse, stage in zip(fusions, (self.s2, self.s3, self.s4, self.s5), strict=True):
            pathways = stage(fuse(pathways))
        return pathways

    def forward(self, clip: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, 3, T, H, W), all frames, or [slow, fast] -> (B, K): logits in training, probabilities in eval."""
        return self.head(self.features(clip))
