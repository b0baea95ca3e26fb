"""The arithmetic of the networks, against numbers written out by hand."""

import pytest
from randomised import SLOWFAST, SMALL, config

from slowfast_gta.models.layout import build_layout, insertion_points


def layout_of(**keys):
    return build_layout(config({key.replace("__", "."): value for key, value in keys.items()}))


FULL = {"MODEL__MODEL_NAME": "ResNet", "RESNET__DEPTH": 50, "DATA__NUM_FRAMES": 8, "DATA__TRAIN_CROP_SIZE": 224}


def column(layout, name: str, pathway: int = 0) -> list:
    return [getattr(stage[pathway], name) for stage in layout]


def test_r2d_50():
    layout = layout_of(**FULL, MODEL__ARCH="2d")
    assert column(layout, "num_blocks") == [3, 4, 6, 3]
    assert column(layout, "dim_in") == [64, 256, 512, 1024]
    assert column(layout, "dim_inner") == [64, 128, 256, 512]
    assert column(layout, "dim_out") == [256, 512, 1024, 2048]
    assert column(layout, "stride") == [1, 2, 2, 2]
    assert column(layout, "num_frames") == [8, 8, 8, 8]
    assert column(layout, "spatial_size") == [(56, 56), (28, 28), (14, 14), (7, 7)]
    assert {kernel for kernels in column(layout, "temporal_kernels") for kernel in kernels} == {1}


@pytest.mark.parametrize(
    ("arch", "frames", "kernels"),
    [
        ("c2d", [8, 4, 4, 4], [(1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1, 1, 1), (1, 1, 1)]),
        ("i3d", [8, 4, 4, 4], [(3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1)]),
        ("slow", [8, 8, 8, 8], [(1, 1, 1), (1, 1, 1, 1), (3, 3, 3, 3, 3, 3), (3, 3, 3)]),
    ],
)
def test_frames_and_temporal_kernels(arch, frames, kernels):
    layout = layout_of(**FULL, MODEL__ARCH=arch)
    assert column(layout, "num_frames") == frames
    assert column(layout, "temporal_kernels") == kernels


def test_temporal_kernels_stop_where_the_config_ends_them():
    layout = layout_of(**FULL, MODEL__ARCH="i3d", RESNET__NUM_BLOCK_TEMP_KERNEL=[[1], [4], [3], [0]])
    assert column(layout, "temporal_kernels") == [(3, 1, 1), (3, 1, 3, 1), (3, 1, 3, 1, 1, 1), (1, 1, 1)]


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [(14, [1, 1, 1, 1]), (18, [2, 2, 2, 2]), (34, [3, 4, 6, 3]), (50, [3, 4, 6, 3]), (101, [3, 4, 23, 3])],
)
def test_depths(depth, blocks):
    layout = layout_of(**(FULL | {"RESNET__DEPTH": depth}), MODEL__ARCH="2d")
    assert column(layout, "num_blocks") == blocks


def test_slowfast_8x8():
    layout = build_layout(
        config(
            SLOWFAST | {"SLOWFAST.BETA_INV": 8, "DATA.NUM_FRAMES": 32, "RESNET.DEPTH": 50, "DATA.TRAIN_CROP_SIZE": 224}
        )
    )
    assert column(layout, "num_frames", 0) == [8, 8, 8, 8]
    assert column(layout, "num_frames", 1) == [32, 32, 32, 32]
    assert column(layout, "dim_in", 0) == [64 + 16, 256 + 64, 512 + 128, 1024 + 256]
    assert column(layout, "dim_in", 1) == [8, 32, 64, 128]
    assert column(layout, "dim_out", 0) == [256, 512, 1024, 2048]
    assert column(layout, "dim_out", 1) == [32, 64, 128, 256]
    assert column(layout, "dim_inner", 1) == [8, 16, 32, 64]
    assert column(layout, "temporal_kernels", 0) == [(1,) * 3, (1,) * 4, (3,) * 6, (3,) * 3]
    assert column(layout, "temporal_kernels", 1) == [(3,) * 3, (3,) * 4, (3,) * 6, (3,) * 3]


@pytest.mark.parametrize(
    ("crop", "sizes"), [(64, [16, 8, 4, 2]), (112, [28, 14, 7, 4]), (56, [14, 7, 4, 2]), (100, [25, 13, 7, 4])]
)
def test_sizes_are_rounded_up_as_the_convolutions_do(crop, sizes):
    assert column(build_layout(config(SMALL | {"DATA.TRAIN_CROP_SIZE": crop})), "spatial_size") == [
        (side, side) for side in sizes
    ]


def test_expansion_groups_and_dilation():
    keys = {"RESNET.EXPANSION": 1, "RESNET.NUM_GROUPS": 2, "RESNET.SPATIAL_DILATIONS": [[1], [1], [1], [2]]}
    layout = build_layout(config(SMALL | keys | {"RESNET.SPATIAL_STRIDES": [[1], [2], [2], [1]]}))
    assert column(layout, "dim_out") == [8, 16, 32, 64]
    assert column(layout, "dim_inner") == [16, 32, 64, 128]
    assert column(layout, "dilation") == [1, 1, 1, 2]
    assert column(layout, "spatial_size") == [(16, 16), (8, 8), (4, 4), (4, 4)]


def test_places_know_what_arrives_there():
    layout = layout_of(**FULL, MODEL__ARCH="c2d")
    points = insertion_points(layout, [[[]], [[1, 3]], [[5]], [[]]])
    assert [(p.stage, p.pathway, p.index, p.dim, p.num_frames, p.spatial_size) for p in points] == [
        (3, 0, 1, 512, 4, (28, 28)),
        (3, 0, 3, 512, 4, (28, 28)),
        (4, 0, 5, 1024, 4, (14, 14)),
    ]
    assert points[2].where == "res4, block 5, pathway 0"


def test_places_of_two_pathways():
    layout = build_layout(config(SMALL | SLOWFAST))
    points = insertion_points(layout, [[[], []], [[0], []], [[], [0]], [[], []]])
    assert [(p.stage, p.pathway, p.dim, p.num_frames) for p in points] == [(3, 0, 64, 4), (4, 1, 64, 16)]
