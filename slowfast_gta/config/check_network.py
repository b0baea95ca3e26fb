"""What must hold between the keys of a network: shapes per stage and pathway, insertion points, and whether T fits."""

from collections.abc import Callable, Iterator

import torch
from fvcore.common.config import CfgNode

from slowfast_gta.config.settings import Fault
from slowfast_gta.errors import ConfigError, counted
from slowfast_gta.models.attention.build import ATTENTION_REGISTRY, choose_attention, unknown_options
from slowfast_gta.models.layout import BLOCKS, TEMPORAL_POOL, StageLayout, build_layout, insertion_points
from slowfast_gta.models.resnet import build_nonlocal

_STAGES = ("res2", "res3", "res4", "res5")


def check_network(cfg: CfgNode) -> Iterator[Fault]:
    """Faults of ResNet and SlowFast and of the blocks in them. A network of the user's own checks itself."""
    yield from check_attention_choice(cfg)
    if cfg.MODEL.ACT_CHECKPOINT and cfg.COMPILE != "none":
        yield Fault(
            "MODEL.ACT_CHECKPOINT",
            f"MODEL.ACT_CHECKPOINT cannot be combined with COMPILE {cfg.COMPILE}: torch.compile decides itself "
            "what to keep. "
            "Set COMPILE to none, or MODEL.ACT_CHECKPOINT to False.",
        )
    if cfg.MODEL.MODEL_NAME not in ("ResNet", "SlowFast"):
        return
    faults = [*check_arch(cfg), *check_lists(cfg), *check_widths(cfg)]
    misplaced = [*check_locations(cfg)]
    yield from faults + misplaced
    # A size below 1 is a fault of its own, and no block can be built with it.
    sizes = (cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE, *cfg.SLOWFAST.values())
    widths = (cfg.RESNET.WIDTH_PER_GROUP, cfg.RESNET.EXPANSION, cfg.RESNET.NUM_GROUPS)
    if not faults and min(*sizes, *widths) >= 1:
        yield from check_blocks(cfg)
        if not any(fault.is_about("NONLOCAL") for fault in misplaced):
            yield from check_nonlocal_blocks(cfg)


def check_attention_choice(cfg: CfgNode) -> Iterator[Fault]:
    """ATTENTION's keys against each other and against the options that the block has."""
    node = cfg.ATTENTION
    placed = any(indices for stage in node.LOCATION if isinstance(stage, list) for indices in stage)
    if node.NAME == "none":
        if placed:
            yield Fault(
                "ATTENTION.LOCATION",
                f"ATTENTION.LOCATION is {node.LOCATION}, but ATTENTION.NAME is none: name a block, or remove it.",
                ("ATTENTION.NAME",),
            )
        if node.OPTIONS:
            yield Fault(
                "ATTENTION.OPTIONS",
                f"ATTENTION.OPTIONS has {', '.join(node.OPTIONS)}, but ATTENTION.NAME is none: name a block.",
                ("ATTENTION.NAME",),
            )
    if node.REFINE != "none":
        yield from check_refine(cfg)
    if node.NAME == "none":
        return
    if not placed:
        yield Fault(
            "ATTENTION.NAME",
            f"ATTENTION.NAME is {node.NAME}, but ATTENTION.LOCATION names no block to insert it after, for example "
            "[[[]], [[1, 3]], [[1, 3, 5]], [[]]] does for ResNet-50.",
            ("ATTENTION.LOCATION",),
        )
    if node.NAME in ATTENTION_REGISTRY:
        for option, message in unknown_options(node.NAME, node.OPTIONS).items():
            yield Fault(f"ATTENTION.OPTIONS.{option}", f"ATTENTION.OPTIONS.{option}: {message}")


def check_refine(cfg: CfgNode) -> Iterator[Fault]:
    """ATTENTION.REFINE needs masks, of one pathway."""
    handing = [name for name, block in ATTENTION_REGISTRY if getattr(block, "returns_mask", False)]
    if cfg.ATTENTION.NAME not in handing:
        yield Fault(
            "ATTENTION.REFINE",
            f"ATTENTION.REFINE is {cfg.ATTENTION.REFINE}, but ATTENTION.NAME is {cfg.ATTENTION.NAME}, which has no "
            f"masks to refine with: {', '.join(handing)} have. Choose one of them, or ATTENTION.REFINE none.",
            ("ATTENTION.NAME",),
        )
    if cfg.MODEL.MODEL_NAME == "SlowFast":
        yield Fault(
            "ATTENTION.REFINE",
            f"ATTENTION.REFINE is {cfg.ATTENTION.REFINE}, which is for one pathway, but MODEL.MODEL_NAME is SlowFast, "
            "which has two: use ResNet, or ATTENTION.REFINE none.",
            ("MODEL.MODEL_NAME",),
        )


def check_arch(cfg: CfgNode) -> Iterator[Fault]:
    """MODEL_NAME with ARCH, and the number of frames."""
    arch, name, frames = cfg.MODEL.ARCH, cfg.MODEL.MODEL_NAME, cfg.DATA.NUM_FRAMES
    if (arch == "slowfast") != (name == "SlowFast"):
        fitting = "slowfast" if name == "SlowFast" else "2d, c2d, i3d or slow"
        yield Fault(
            "MODEL.ARCH",
            f"MODEL.ARCH is {arch}, but MODEL.MODEL_NAME is {name}: with {name}, MODEL.ARCH is {fitting}.",
            ("MODEL.MODEL_NAME",),
        )
    elif arch == "slowfast" and frames % max(cfg.SLOWFAST.ALPHA, 1):
        yield Fault(
            "DATA.NUM_FRAMES",
            f"DATA.NUM_FRAMES is {frames}; it must be a multiple of SLOWFAST.ALPHA, {cfg.SLOWFAST.ALPHA}: "
            "the slow pathway takes every ALPHA-th frame.",
            ("SLOWFAST.ALPHA",),
        )
    elif frames // TEMPORAL_POOL[arch] < 1:
        yield Fault(
            "DATA.NUM_FRAMES",
            f"DATA.NUM_FRAMES is {frames}; MODEL.ARCH {arch} halves it after res2 and needs at least 2.",
            ("MODEL.ARCH",),
        )


def check_widths(cfg: CfgNode) -> Iterator[Fault]:
    """Channels that must divide."""
    resnet, fast = cfg.RESNET, cfg.SLOWFAST
    if resnet.TRANS_FUNC == "basic_transform" and resnet.NUM_GROUPS != 1:
        yield Fault(
            "RESNET.NUM_GROUPS",
            f"RESNET.NUM_GROUPS is {resnet.NUM_GROUPS}; RESNET.TRANS_FUNC basic_transform has no groups: set it to 1.",
            ("RESNET.TRANS_FUNC",),
        )
    if cfg.MODEL.ARCH != "slowfast":
        return
    if resnet.STRIDE_1X1:
        yield Fault(
            "RESNET.STRIDE_1X1",
            "RESNET.STRIDE_1X1 is True, which PySlowFast's SlowFast does not read: set it to False.",
        )
    if resnet.WIDTH_PER_GROUP % max(fast.BETA_INV, 1):
        yield Fault(
            "SLOWFAST.BETA_INV",
            f"SLOWFAST.BETA_INV is {fast.BETA_INV}; it must divide RESNET.WIDTH_PER_GROUP, {resnet.WIDTH_PER_GROUP}.",
            ("RESNET.WIDTH_PER_GROUP",),
        )
    if fast.FUSION_KERNEL_SZ % 2 == 0:
        yield Fault(
            "SLOWFAST.FUSION_KERNEL_SZ",
            f"SLOWFAST.FUSION_KERNEL_SZ is {fast.FUSION_KERNEL_SZ}; it must be odd so that the lateral "
            "connection aligns the pathways.",
        )


def check_lists(cfg: CfgNode) -> Iterator[Fault]:
    """RESNET's lists with one whole number for each stage and pathway."""
    num_pathways = 2 if cfg.MODEL.ARCH == "slowfast" else 1
    resnet = cfg.RESNET
    lists = (
        ("RESNET.NUM_BLOCK_TEMP_KERNEL", resnet.NUM_BLOCK_TEMP_KERNEL, 0),
        ("RESNET.SPATIAL_STRIDES", resnet.SPATIAL_STRIDES, 1),
        ("RESNET.SPATIAL_DILATIONS", resnet.SPATIAL_DILATIONS, 1),
    )
    for key, value, minimum in lists:
        if _shape_fault(value, num_pathways):
            example = [[default] * num_pathways for default in _first_values(value)]
            yield Fault(key, f"{key} is {value}; {_shape_fault(value, num_pathways)}, for example {example}.")
        elif not all(_is_whole(number) and number >= minimum for stage in value for number in stage):
            yield Fault(key, f"{key} is {value}; each must be a whole number, {minimum} or more.")
        elif key == "RESNET.SPATIAL_STRIDES" and any(len(set(stage)) > 1 for stage in value):
            yield Fault(
                key, f"{key} is {value}; both pathways of a stage must have the same stride, for them to be fused."
            )


def check_locations(cfg: CfgNode) -> Iterator[Fault]:
    """The insertion points of attention blocks: one list of block indices for each stage and pathway."""
    num_pathways = 2 if cfg.MODEL.ARCH == "slowfast" else 1
    for key, location in (("ATTENTION.LOCATION", cfg.ATTENTION.LOCATION), ("NONLOCAL.LOCATION", cfg.NONLOCAL.LOCATION)):
        if location == [[[]], [[]], [[]], [[]]]:  # the default stands for nowhere, however many pathways there are
            continue
        fault = _shape_fault(location, num_pathways)
        if fault:
            example: list[list[list[int]]] = [[[]] * num_pathways] * 4
            yield Fault(key, f"{key} is {location}; {fault}, for example {example}.")
            continue
        for stage, num_blocks, pathways in zip(_STAGES, BLOCKS[cfg.RESNET.DEPTH], location, strict=True):
            for indices in pathways:
                yield from _index_faults(key, stage, num_blocks, indices)
        if key == "NONLOCAL.LOCATION":
            yield from check_nonlocal(cfg)


def check_nonlocal(cfg: CfgNode) -> Iterator[Fault]:
    """GROUP and POOL where NONLOCAL.LOCATION, whose shape is right, names an insertion point."""
    node = cfg.NONLOCAL
    for number, pathways in enumerate(node.LOCATION):
        for pathway, indices in enumerate(pathways):
            if not indices:
                continue
            for key, value in (("NONLOCAL.GROUP", node.GROUP), ("NONLOCAL.POOL", node.POOL)):
                try:
                    entry = value[number][pathway]
                except (LookupError, TypeError):
                    yield Fault(key, f"{key} is {value}; it has no value for {_STAGES[number]}, pathway {pathway}.")
                    continue
                if key == "NONLOCAL.GROUP" and not (_is_whole(entry) and entry >= 1):
                    yield Fault(key, f"{key} is {value}; each must be a whole number, 1 or more.")
                if key == "NONLOCAL.POOL" and not (isinstance(entry, list) and len(entry) == 3):
                    yield Fault(key, f"{key} is {value}; each must be three numbers [T, H, W], for example [1, 2, 2].")


def check_blocks(cfg: CfgNode) -> Iterator[Fault]:
    """What the block itself refuses, at the insertion points: each distinct one is built once, without memory."""
    name, options = cfg.ATTENTION.NAME, cfg.ATTENTION.OPTIONS
    if name not in ATTENTION_REGISTRY or unknown_options(name, options):  # check_attention_choice says so
        return
    choice = choose_attention(name, options)
    layout = build_layout(cfg)
    tried = set()
    for point in insertion_points(layout, _existing_locations(cfg.ATTENTION.LOCATION, layout)):
        size = (point.dim, point.num_frames, point.spatial_size)
        if size not in tried:
            tried.add(size)
            where = f"ATTENTION.OPTIONS at {point.where}"
            yield from _faults_of("ATTENTION.NAME", choice.build, *size, where)


def check_nonlocal_blocks(cfg: CfgNode) -> Iterator[Fault]:
    """The same for PySlowFast's NONLOCAL."""
    for point in insertion_points(build_layout(cfg), cfg.NONLOCAL.LOCATION):
        yield from _faults_of("NONLOCAL.LOCATION", build_nonlocal, cfg, point)


def _faults_of(chosen_by: str, build: Callable[..., object], *arguments: object) -> Iterator[Fault]:
    """What a block refuses: its options are to blame before the key that it is chosen by."""
    try:
        with torch.device("meta"):
            build(*arguments)
    except ConfigError as error:
        key, *keys = (*error.keys, chosen_by)
        yield Fault(key, str(error), tuple(keys))


def _existing_locations(location: list, layout: list[list[StageLayout]]) -> list[list[list[int]]]:
    """`location` without what check_locations reports: wrong shapes, and blocks that the stage does not have."""
    if _shape_fault(location, len(layout[0])):
        return []
    return [
        [
            [i for i in indices if _is_whole(i) and 0 <= i < stage.num_blocks] if isinstance(indices, list) else []
            for indices, stage in zip(pathways, stages, strict=True)
        ]
        for pathways, stages in zip(location, layout, strict=True)
    ]


def _shape_fault(value: list, num_pathways: int) -> str:
    """What is wrong with a list of four stages, each a list of `num_pathways`; empty when nothing is."""
    right = len(value) == 4 and all(isinstance(stage, list) and len(stage) == num_pathways for stage in value)
    pathways = counted(num_pathways, "pathway")
    return "" if right else f"it must have a list for each of the 4 stages res2 to res5, each with {pathways}"


def _first_values(value: list) -> list[int]:
    """One number for each stage, to show how the right list may look."""
    firsts = [stage[0] for stage in value if isinstance(stage, list) and stage and _is_whole(stage[0])]
    return firsts if len(firsts) == 4 else [1, 1, 1, 1]


def _index_faults(key: str, stage: str, num_blocks: int, indices: object) -> Iterator[Fault]:
    if not isinstance(indices, list) or not all(_is_whole(index) for index in indices):
        yield Fault(key, f"{key} has {indices!r} in {stage}; it must be a list of block numbers, for example [1, 3].")
        return
    allowed = f"{num_blocks} blocks: 0 to {num_blocks - 1} are" if num_blocks > 1 else "1 block: only 0 is"
    for index in indices:
        if not 0 <= index < num_blocks:
            yield Fault(key, f"{key} names block {index} of {stage}, and {stage} has {allowed} allowed.")
    if len(set(indices)) < len(indices):
        yield Fault(key, f"{key} names a block of {stage} twice: {indices}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
