"""The arithmetic of PySlowFast's networks: what arrives where, before any layer is built.

Legend: C channel, T frame, H W space. A network is a stem (s1) and four stages (s2..s5 = res2..res5) in
one pathway (ResNet) or two (SlowFast: 0 slow, 1 fast).
"""

import math
from dataclasses import dataclass

from fvcore.common.config import CfgNode

# Blocks of res2..res5. 14 and 18 also take bottlenecks: small networks for small machines.
BLOCKS = {14: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

# Temporal kernel per stage (s1..s5) and pathway; where a stage has several, its blocks take them in turn.
TEMPORAL_KERNELS = {
    "2d": (((1,),), ((1,),), ((1,),), ((1,),), ((1,),)),
    "c2d": (((1,),), ((1,),), ((1,),), ((1,),), ((1,),)),
    "i3d": (((5,),), ((3,),), ((3, 1),), ((3, 1),), ((1, 3),)),
    "slow": (((1,),), ((1,),), ((1,),), ((3,),), ((3,),)),
    "slowfast": (((1,), (5,)), ((1,), (3,)), ((1,), (3,)), ((3,), (3,)), ((3,), (3,))),
}

# Temporal max-pool between res2 and res3.
TEMPORAL_POOL = {"2d": 1, "c2d": 2, "i3d": 2, "slow": 1, "slowfast": 1}


@dataclass(frozen=True)
class StageLayout:
    """One stage of one pathway; `num_frames` and `spatial_size` are those of its output at the training crop."""

    dim_in: int
    dim_inner: int
    dim_out: int
    temporal_kernels: tuple[int, ...]  # of each block's first convolution
    stride: int
    dilation: int
    num_frames: int
    spatial_size: tuple[int, int]

    @property
    def num_blocks(self) -> int:
        return len(self.temporal_kernels)


@dataclass(frozen=True)
class InsertionPoint:
    """Where an attention block is inserted: after block `index` of `stage` (2..5) in `pathway`."""

    stage: int
    pathway: int
    index: int
    dim: int
    num_frames: int
    spatial_size: tuple[int, int]

    @property
    def where(self) -> str:
        return f"res{self.stage}, block {self.index}, pathway {self.pathway}"


def build_layout(cfg: CfgNode) -> list[list[StageLayout]]:
    """[stage res2..res5][pathway] for the network that `cfg` describes."""
    arch, resnet = cfg.MODEL.ARCH, cfg.RESNET
    widths, frames, fused = [resnet.WIDTH_PER_GROUP], [cfg.DATA.NUM_FRAMES], 0
    if arch == "slowfast":
        widths.append(resnet.WIDTH_PER_GROUP // cfg.SLOWFAST.BETA_INV)
        frames.insert(0, cfg.DATA.NUM_FRAMES // cfg.SLOWFAST.ALPHA)
        fused = cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO
    dims = list(widths)
    side = math.ceil(math.ceil(cfg.DATA.TRAIN_CROP_SIZE / 2) / 2)
    stages = []
    for number, num_blocks in enumerate(BLOCKS[resnet.DEPTH]):
        if number == 1:
            frames = [t // TEMPORAL_POOL[arch] for t in frames]
        # Between stages the fast pathway's features, convolved, join the slow pathway's.
        dims_in = [dims[0] + fused * dims[-1], dims[-1]] if fused else dims
        strides = resnet.SPATIAL_STRIDES[number]
        # Both pathways shrink alike; were they to differ, PySlowFast could not fuse them either.
        side = math.ceil(side / strides[0])
        stage = []
        for pathway, width in enumerate(widths):
            kernels = TEMPORAL_KERNELS[arch][number + 1][pathway]
            num_temporal = resnet.NUM_BLOCK_TEMP_KERNEL[number][pathway]
            stage.append(
                StageLayout(
                    dim_in=dims_in[pathway],
                    dim_inner=width * 2**number * resnet.NUM_GROUPS,
                    dim_out=width * 2**number * resnet.EXPANSION,
                    temporal_kernels=tuple(
                        kernels[i % len(kernels)] if i < num_temporal else 1 for i in range(num_blocks)
                    ),
                    stride=strides[pathway],
                    dilation=resnet.SPATIAL_DILATIONS[number][pathway],
                    num_frames=frames[pathway],
                    spatial_size=(side, side),
                )
            )
        dims = [layout.dim_out for layout in stage]
        stages.append(stage)
    return stages


def insertion_points(layout: list[list[StageLayout]], location: list[list[list[int]]]) -> list[InsertionPoint]:
    """The insertion points that `location` (ATTENTION.LOCATION or NONLOCAL.LOCATION) names in `layout`."""
    return [
        InsertionPoint(number + 2, pathway, index, stage.dim_out, stage.num_frames, stage.spatial_size)
        for number, pathways in enumerate(location)
        for pathway, indices in enumerate(pathways)
        for index in indices
        for stage in [layout[number][pathway]]
    ]
