"""ResNet over clips in PySlowFast's forms: 2d (R2D), c2d, i3d, slow; names of parameters are PySlowFast's.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; Wang et al., "Non-local Neural Networks",
CVPR 2018; Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019.
R2D is TSN: a 2D network on every frame, and the mean over time.

Legend: B batch, C channel, T frame, H W space, K classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.models.attention.build import build_attention, choose_attention
from slowfast_gta.models.build import MODEL_REGISTRY, Host
from slowfast_gta.models.heads import ResNetBasicHead
from slowfast_gta.models.layers import BatchNorm3d, Conv3d, add, max_pool_frames, relu
from slowfast_gta.models.layout import TEMPORAL_KERNELS, InsertionPoint, StageLayout, build_layout, insertion_points
from slowfast_gta.models.recompute import recomputed
from slowfast_gta.models.refine import AFR, build_refine
from slowfast_gta.models.shift import temporal_shift


class Stem(nn.Module):
    """s1 of one pathway: Tx7x7 convolution, BatchNorm, ReLU, max-pool; H and W shrink to a quarter."""

    def __init__(self, dim_out: int, temporal_kernel: int):
        super().__init__()
        self.conv = Conv3d(3, dim_out, (temporal_kernel, 7), stride=2)
        self.bn = BatchNorm3d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        # ReLU after the pool, on a quarter of the numbers: the output is the same.
        return relu(max_pool_frames(self.bn(self.conv(x))))


class Bottleneck(nn.Module):
    """Tx1x1, 1x3x3, 1x1x1 convolutions, each with BatchNorm."""

    def __init__(self, dim: int, stage: StageLayout, temporal_kernel: int, stride: int, groups: int, stride_1x1: bool):
        super().__init__()
        stride_a, stride_b = (stride, 1) if stride_1x1 else (1, stride)
        self.a = Conv3d(dim, stage.dim_inner, (temporal_kernel, 1), stride=stride_a)
        self.a_bn = BatchNorm3d(stage.dim_inner)
        self.b = Conv3d(
            stage.dim_inner, stage.dim_inner, (1, 3), stride=stride_b, dilation=stage.dilation, groups=groups
        )
        self.b_bn = BatchNorm3d(stage.dim_inner)
        self.c = Conv3d(stage.dim_inner, stage.dim_out, (1, 1))
        self.c_bn = BatchNorm3d(stage.dim_out)

    @property
    def last_norm(self) -> nn.BatchNorm3d:
        return self.c_bn

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.a_bn(self.a(x)))
        x = relu(self.b_bn(self.b(x)))
        return self.c_bn(self.c(x))


class Basic(nn.Module):
    """Tx3x3 and 1x3x3 convolutions, each with BatchNorm."""

    def __init__(self, dim: int, stage: StageLayout, temporal_kernel: int, stride: int, groups: int, stride_1x1: bool):
        super().__init__()
        self.a = Conv3d(dim, stage.dim_out, (temporal_kernel, 3), stride=stride)
        self.a_bn = BatchNorm3d(stage.dim_out)
        self.b = Conv3d(stage.dim_out, stage.dim_out, (1, 3), dilation=stage.dilation)
        self.b_bn = BatchNorm3d(stage.dim_out)

    @property
    def last_norm(self) -> nn.BatchNorm3d:
        return self.b_bn

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.a_bn(self.a(x)))
        return self.b_bn(self.b(x))


TRANSFORMS: dict[str, type[Bottleneck | Basic]] = {"bottleneck_transform": Bottleneck, "basic_transform": Basic}


class ResBlock(nn.Module):
    """relu(branch1(x) + branch2(x)); branch1 is x itself where the shape stays. `shift_div` > 0: TSM before branch2."""

    def __init__(self, dim: int, stage: StageLayout, stride: int, branch2: nn.Module, shift_div: int):
        super().__init__()
        self.branch1: Conv3d | None = None
        if dim != stage.dim_out or stride != 1:
            self.branch1 = Conv3d(dim, stage.dim_out, (1, 1), stride=stride)
            self.branch1_bn = BatchNorm3d(stage.dim_out)
        self.branch2 = branch2
        self.shift_div = shift_div

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.branch1 is None else self.branch1_bn(self.branch1(x))
        residual = self.branch2(temporal_shift(x, self.shift_div) if self.shift_div else x)
        return relu(add(shortcut, residual))


class ResStage(Host):
    """One of s2..s5, all its pathways: blocks, each followed by the attention blocks placed after it."""

    def __init__(self, pathways: list[list[ResBlock]]):
        super().__init__()
        self.recomputes = False  # MODEL.ACT_CHECKPOINT: in training, each block keeps only what goes into it
        self._order: list[list[str]] = [[] for _ in pathways]
        for pathway, blocks in enumerate(pathways):
            for index, block in enumerate(blocks):
                name = f"pathway{pathway}_res{index}"
                self.add_module(name, block)
                self._order[pathway].append(name)

    def insert(self, kind: str, point: InsertionPoint, block: nn.Module) -> None:
        """Place `block` after the residual block of `point`; its state-dict name is pathway{p}_{kind}{index}."""
        name = f"pathway{point.pathway}_{kind}{point.index}"
        self.add_module(name, block)
        self.mark_inserted(name)
        order = self._order[point.pathway]
        order.insert(order.index(f"pathway{point.pathway}_res{point.index}") + 1, name)

    def forward(self, pathways: list[Tensor], masks: list[Tensor] | None = None) -> list[Tensor]:
        """[(B, C, T, H, W)] -> the same. Where `masks` is given, that of the last block which hands one joins it."""
        run = recomputed if self.recomputes and self.training and torch.is_grad_enabled() else _run
        out = []
        for x, names in zip(pathways, self._order, strict=True):
            asked = None if masks is None else self._last_with_mask(names)
            for name in names:
                if masks is not None and name == asked:
                    x, mask = run(self.get_submodule(name), x, return_mask=True)
                    masks.append(mask)
                else:
                    x = run(self.get_submodule(name), x)
            out.append(x)
        return out

    def _last_with_mask(self, names: list[str]) -> str | None:
        return next(
            (name for name in reversed(names) if getattr(self.get_submodule(name), "returns_mask", False)), None
        )


def _run(block: nn.Module, x: Tensor, **options: Any) -> Any:
    return block(x, **options)


def build_stages(cfg: CfgNode, layout: list[list[StageLayout]]) -> list[ResStage]:
    """s2..s5 with the attention blocks of cfg.NONLOCAL and cfg.ATTENTION in place."""
    transform = TRANSFORMS[cfg.RESNET.TRANS_FUNC]
    shift_div = cfg.TSM.FOLD_DIV if cfg.TSM.ENABLE else 0

    def block(stage: StageLayout, index: int) -> ResBlock:
        dim, stride = (stage.dim_in, stage.stride) if index == 0 else (stage.dim_out, 1)
        branch2 = transform(
            dim, stage, stage.temporal_kernels[index], stride, cfg.RESNET.NUM_GROUPS, cfg.RESNET.STRIDE_1X1
        )
        if cfg.RESNET.ZERO_INIT_FINAL_BN:
            nn.init.zeros_(branch2.last_norm.weight)
        return ResBlock(dim, stage, stride, branch2, shift_div)

    stages = [ResStage([[block(stage, i) for i in range(stage.num_blocks)] for stage in row]) for row in layout]
    for stage in stages:
        stage.recomputes = cfg.MODEL.ACT_CHECKPOINT
    for point in insertion_points(layout, cfg.NONLOCAL.LOCATION):
        stages[point.stage - 2].insert("nonlocal", point, build_nonlocal(cfg, point))
    if cfg.ATTENTION.NAME != "none":
        choice = choose_attention(cfg.ATTENTION.NAME, cfg.ATTENTION.OPTIONS)
        for point in insertion_points(layout, cfg.ATTENTION.LOCATION):
            where = f"ATTENTION at {point.where}"
            attention = choice.build(point.dim, point.num_frames, point.spatial_size, where)
            stages[point.stage - 2].insert("attention", point, attention)
    return stages


def build_nonlocal(cfg: CfgNode, point: InsertionPoint) -> nn.Module:
    """PySlowFast's own non-local block: NL, pooled before the projections, biases, its option names."""
    node = cfg.NONLOCAL
    options = {
        "INSTANTIATION": node.INSTANTIATION,
        "GROUP": node.GROUP[point.stage - 2][point.pathway],
        "POOL_SIZE": tuple(node.POOL[point.stage - 2][point.pathway]),
        "POOL": "before",
        "BIAS": True,
    }
    where = f"NONLOCAL at {point.where}"
    block = build_attention("NL", point.dim, point.num_frames, None, options, where, "NONLOCAL")
    if not cfg.RESNET.ZERO_INIT_FINAL_BN:
        nn.init.ones_(block.get_submodule("bn").get_parameter("weight"))
    return block


def build_head(cfg: CfgNode, last: list[StageLayout]) -> ResNetBasicHead:
    """The classifier for the last stage's pathways."""
    num_classes = cfg.MODEL.NUM_CLASSES
    if isinstance(num_classes, list):
        num_classes = dict(zip(cfg.MODEL.OUTPUTS, num_classes, strict=True))
    # PySlowFast's rule, whatever the strides: at 224 all 7 x 7 positions of res5; at 240 four windows of its 8 x 8.
    side = max(cfg.DATA.TRAIN_CROP_SIZE // 32, 1)
    head = ResNetBasicHead(
        dims=[stage.dim_out for stage in last],
        num_classes=num_classes,
        pool_sizes=[(stage.num_frames, side, side) for stage in last],
        dropout_rate=cfg.MODEL.DROPOUT_RATE,
        act=cfg.MODEL.HEAD_ACT,
    )
    for projection in head.projections():
        nn.init.normal_(projection.weight, std=cfg.MODEL.FC_INIT_STD)
        nn.init.zeros_(projection.bias)
    return head


def as_clip(clip: Tensor | Sequence[Tensor], num_frames: int) -> Tensor:
    """The clip (B, 3, num_frames, H, W); a list of it, as PySlowFast's networks are given, is it too.

    Raises ValueError where it is no such clip.
    """
    if isinstance(clip, list | tuple) and len(clip) == 1:
        clip = clip[0]
    if not isinstance(clip, Tensor):
        given = f"a list of {len(clip)}" if isinstance(clip, list | tuple) else f"a {type(clip).__name__}"
        raise ValueError(f"The network expects one clip, a tensor (B, 3, {num_frames}, H, W); it was given {given}.")
    if clip.ndim != 5 or clip.shape[1] != 3 or clip.shape[2] != num_frames:
        raise ValueError(
            f"The network expects a clip (B, 3, {num_frames}, H, W), normalised; it was given {tuple(clip.shape)}. "
            "The number of frames is DATA.NUM_FRAMES."
        )
    if not clip.is_floating_point():
        raise ValueError(
            f"The network expects a normalised clip of floats; it was given {clip.dtype}. From 0..255 it is "
            "(clip / 255 - DATA.MEAN) / DATA.STD, channel by channel; slowfast_gta.load_clip returns it like that."
        )
    return clip


@MODEL_REGISTRY.register()
class ResNet(Host):
    """One pathway: R2D, C2D, I3D or Slow, with or without TSM and attention; `refine` is given the blocks' masks."""

    def __init__(
        self,
        stem: Stem,
        stages: list[ResStage],
        head: ResNetBasicHead,
        num_frames: int,
        temporal_pool: int = 1,
        refine: AFR | None = None,
    ):
        super().__init__()
        self.num_frames = num_frames
        self.temporal_pool = temporal_pool
        self.refine = refine
        if refine is not None:
            self.mark_inserted("refine")
        self.s1 = nn.ModuleDict({"pathway0_stem": stem})
        self.s2, self.s3, self.s4, self.s5 = stages
        self.head = head

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "ResNet":
        layout = build_layout(cfg)
        stem = Stem(cfg.RESNET.WIDTH_PER_GROUP, TEMPORAL_KERNELS[cfg.MODEL.ARCH][0][0][0])
        pool = cfg.DATA.NUM_FRAMES // layout[1][0].num_frames
        stages, head = build_stages(cfg, layout), build_head(cfg, layout[-1])
        return cls(stem, stages, head, cfg.DATA.NUM_FRAMES, pool, build_refine(cfg, layout))

    def features(self, clip: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """(B, 3, T, H, W), or a list of it -> what the head is given: [(B, C, T', H', W')], one for each pathway."""
        x = self.s1["pathway0_stem"](as_clip(clip, self.num_frames).contiguous(memory_format=torch.channels_last_3d))
        masks: list[Tensor] | None = None if self.refine is None else []
        pathways = self.s2([x], masks)
        if self.temporal_pool > 1:
            pathways = [F.max_pool3d(pathways[0], (self.temporal_pool, 1, 1))]
        for stage in (self.s3, self.s4, self.s5):
            pathways = stage(pathways, masks)
        return pathways if self.refine is None else [self.refine(pathways[0], masks)]

    def forward(self, clip: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, 3, T, H, W), or a list of it -> (B, K): logits in training, probabilities in eval."""
        return self.head(self.features(clip))
