"""check_config and check_data_paths: what must hold between keys, and on disk."""

import os
from collections import Counter

import pytest

from slowfast_gta.config.check import check_config, check_data_paths
from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.load import load_config
from slowfast_gta.config.settings import dotted_keys
from slowfast_gta.errors import ConfigError

TWO = [[1, 1], [2, 2], [2, 2], [2, 2]]
KEYS = set(dotted_keys(get_defaults())) | {"ATTENTION.OPTIONS"}
GTA = {"ATTENTION.NAME": "GTA", "ATTENTION.LOCATION": [[[]], [[1, 3]], [[1, 3, 5]], [[]]]}
SLOWFAST = {
    "MODEL.MODEL_NAME": "SlowFast",
    "MODEL.ARCH": "slowfast",
    "DATA.NUM_FRAMES": 32,
    "RESNET.NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [6, 6], [3, 3]],
    "RESNET.SPATIAL_STRIDES": TWO,
    "RESNET.SPATIAL_DILATIONS": [[1, 1]] * 4,
}


def config(changes: dict):
    """R2D-50 with `changes`; nothing is wrong with R2D-50."""
    cfg = get_defaults()
    for key, value in {"MODEL.MODEL_NAME": "ResNet", "MODEL.ARCH": "2d", **changes}.items():
        *sections, name = key.split(".")
        node = cfg
        for section in sections:
            node = node[section]
        node[name] = value
    return cfg


@pytest.mark.parametrize(
    "changes",
    [
        {},
        GTA,
        {**GTA, "ATTENTION.OPTIONS.GROUPS": 4},
        SLOWFAST,
        {**SLOWFAST, "ATTENTION.NAME": "GTA", "ATTENTION.LOCATION": [[[], []], [[1, 3], [0]], [[], []], [[], []]]},
        {**SLOWFAST, "NONLOCAL.LOCATION": [[[], []], [[1, 3], []], [[], []], [[], []]], "NONLOCAL.GROUP": [[1, 1]] * 4},
        {"RESNET.DEPTH": 101, "NONLOCAL.LOCATION": [[[]], [[]], [[6, 13, 22]], [[]]]},
        {"RESNET.DEPTH": 14, "RESNET.WIDTH_PER_GROUP": 16},
        {"MODEL.ARCH": "c2d", "DATA.NUM_FRAMES": 2},
        {"DATA.RESIZE": [256, 256]},
        {"SOLVER.LR_POLICY": "steps", "SOLVER.STEPS": [30, 40]},
        {"SOLVER.LR_POLICY": "steps_with_relative_lrs", "SOLVER.STEPS": [0, 4], "SOLVER.LRS": [1, 0.1, 0.01]},
        {"NUM_GPUS": 0, "NUM_SHARDS": 2, "SHARD_ID": 1},
    ],
    ids=str,
)
def test_right_configs_have_no_faults(changes):
    assert check_config(config(changes)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # names
        ({"MODEL.MODEL_NAME": "Resnet"}, "MODEL.MODEL_NAME: nothing is registered as 'Resnet'. Did you mean ResNet?"),
        ({"TRAIN.DATASET": "SSV2"}, "TRAIN.DATASET: nothing is registered as 'SSV2'. Did you mean SSv2?"),
        ({"TEST.DATASET": "Kinetic"}, "TEST.DATASET: nothing is registered as 'Kinetic'. Did you mean Kinetics?"),
        ({**GTA, "ATTENTION.NAME": "GTTA"}, "ATTENTION.NAME: nothing is registered as 'GTTA'. Did you mean GTA?"),
        # places
        ({**GTA, "ATTENTION.LOCATION": [[[]], [[4]], [[]], [[]]]}, "block 4 of res3, and res3 has 4 blocks: 0 to 3"),
        ({**GTA, "ATTENTION.LOCATION": [[[]], [[-1]], [[]], [[]]]}, "block -1 of res3"),
        ({**GTA, "ATTENTION.LOCATION": [[[]], [[1, 1]], [[]], [[]]]}, "names a block of res3 twice: [1, 1]"),
        ({**GTA, "ATTENTION.LOCATION": [[[]], [["1"]], [[]], [[]]]}, "list of block numbers"),
        ({**GTA, "ATTENTION.LOCATION": [[[1]], [[1]]]}, "each of the 4 stages res2 to res5, each with 1 pathway"),
        ({**GTA, "ATTENTION.LOCATION": [[1], [1], [1], [1]]}, "list of block numbers"),
        ({**GTA, "ATTENTION.LOCATION": [1, 2, 3, 4]}, "each of the 4 stages"),
        ({**SLOWFAST, **GTA}, "each with 2 pathways, for example [[[], []], [[], []], [[], []], [[], []]]"),
        ({"NONLOCAL.LOCATION": [[[3]], [[]], [[]], [[]]]}, "NONLOCAL.LOCATION names block 3 of res2"),
        ({"NONLOCAL.LOCATION": [[[1]]] * 5}, "NONLOCAL.LOCATION is"),
        ({"NONLOCAL.LOCATION": [[[1]], [[]], [[]], [[]]], "NONLOCAL.POOL": [[2]]}, "NONLOCAL.POOL is [[2]]"),
        ({"NONLOCAL.LOCATION": [[[]], [[1]], [[]], [[]]], "NONLOCAL.GROUP": [[1]]}, "no value for res3, pathway 0"),
        ({"NONLOCAL.LOCATION": [[[]], [[1]], [[]], [[]]], "NONLOCAL.GROUP": [[3]] * 4}, "NONLOCAL at res3, block 1"),
        # the block
        ({"ATTENTION.NAME": "GTA"}, "ATTENTION.LOCATION names no block"),
        ({"ATTENTION.LOCATION": [[[]], [[1]], [[]], [[]]]}, "ATTENTION.NAME is none"),
        ({"ATTENTION.OPTIONS.GROUPS": 8}, "ATTENTION.OPTIONS has GROUPS, but ATTENTION.NAME is none"),
        ({**GTA, "ATTENTION.OPTIONS.GROUP": 8}, "ATTENTION.OPTIONS.GROUP: GTA has no option GROUP. It accepts"),
        ({**GTA, "ATTENTION.OPTIONS.GROUPS": 7}, "GROUPS is 7; it must divide the 128 channels"),
        ({**GTA, "ATTENTION.OPTIONS.HEADS": "many"}, "HEADS is 'many'; it must be one of ccmh"),
        # T, channels and lists
        ({**SLOWFAST, "DATA.NUM_FRAMES": 30}, "DATA.NUM_FRAMES is 30; it must be a multiple of SLOWFAST.ALPHA, 8"),
        ({"MODEL.ARCH": "c2d", "DATA.NUM_FRAMES": 1}, "DATA.NUM_FRAMES is 1; MODEL.ARCH c2d halves it"),
        ({"MODEL.ARCH": "slowfast"}, "MODEL.ARCH is slowfast, but MODEL.MODEL_NAME is ResNet"),
        ({**SLOWFAST, "MODEL.ARCH": "slow"}, "MODEL.ARCH is slow, but MODEL.MODEL_NAME is SlowFast"),
        ({**SLOWFAST, "SLOWFAST.BETA_INV": 7}, "SLOWFAST.BETA_INV is 7; it must divide RESNET.WIDTH_PER_GROUP, 64"),
        ({**SLOWFAST, "SLOWFAST.FUSION_KERNEL_SZ": 4}, "SLOWFAST.FUSION_KERNEL_SZ is 4; it must be odd"),
        (
            {**SLOWFAST, "RESNET.STRIDE_1X1": True},
            "RESNET.STRIDE_1X1 is True, which PySlowFast's SlowFast does not read",
        ),
        ({**SLOWFAST, "RESNET.SPATIAL_STRIDES": [[1], [2], [2], [2]]}, f"each with 2 pathways, for example {TWO}"),
        ({**SLOWFAST, "RESNET.SPATIAL_STRIDES": [[1, 1], [2, 1], [2, 2], [2, 2]]}, "must have the same stride"),
        ({"RESNET.SPATIAL_DILATIONS": [[0], [1], [1], [1]]}, "a whole number, 1 or more"),
        ({"RESNET.SPATIAL_STRIDES": [[[1]], [2], [2], [2]]}, "a whole number, 1 or more"),
        ({"RESNET.TRANS_FUNC": "basic_transform", "RESNET.NUM_GROUPS": 2}, "basic_transform has no groups"),
        # single numbers
        ({"TRAIN.BATCH_SIZE": 0}, "TRAIN.BATCH_SIZE is 0; it must be 1 or more."),
        ({**GTA, "DATA.NUM_FRAMES": 0}, "DATA.NUM_FRAMES is 0; it must be 1 or more."),
        ({"MODEL.DROPOUT_RATE": 1.0}, "MODEL.DROPOUT_RATE is 1.0; it must be at least 0 and below 1."),
        ({"SOLVER.BASE_LR": 0.0}, "SOLVER.BASE_LR is 0.0; it must be more than 0."),
        ({"SOLVER.CLIP_GRAD_VAL": -1.0}, "SOLVER.CLIP_GRAD_VAL is -1.0; it must be more than 0."),
        ({"NUM_GPUS": "all"}, "NUM_GPUS is all; it must be auto, 0 for the CPU"),
        ({"SYNTHETIC.HEIGHT": 71}, "SYNTHETIC.HEIGHT is 71; it must be an even number"),
        ({"NUM_SHARDS": 2, "SHARD_ID": 2}, "SHARD_ID is 2; with NUM_SHARDS 2 it must be 0 to 1."),
        (
            {"SOLVER.ACCUMULATE_STEPS": 65},
            "SOLVER.ACCUMULATE_STEPS is 65, more parts than TRAIN.BATCH_SIZE has clips, 64",
        ),
        ({"DIST_TIMEOUT_SEC": 0}, "DIST_TIMEOUT_SEC is 0; it must be 1 or more."),
        # frames
        ({"DATA.MEAN": [0.45]}, "DATA.MEAN is [0.45]; it must be three numbers"),
        ({"DATA.MEAN": ["a", 0, 0]}, "DATA.MEAN is ['a', 0, 0]; it must be three numbers"),
        ({"DATA.STD": [0.2, 0.2, 0.0]}, "DATA.STD is [0.2, 0.2, 0.0]; frames are divided by it"),
        ({"DATA.INPUT_CHANNEL_NUM": [1]}, "only 3 (RGB) is supported"),
        ({"DATA.RESIZE": [240]}, "DATA.RESIZE is [240]; it must be [] or [H, W]"),
        ({"DATA.RESIZE": [240, 320]}, "at least DATA.TEST_CROP_SIZE, 256"),
        ({"DATA.RESIZE": [256, 256], "DATA.MULTI_SCALES": [1.5]}, "more than 0 and at most 1"),
        ({"DATA.RESIZE": [256, 256], "DATA.MULTI_SCALES": []}, "it must be a list of numbers"),
        ({"DATA.TRAIN_JITTER_SCALES": [320, 256]}, "it must be [smallest, largest]"),
        ({"DATA.TRAIN_JITTER_SCALES": [200, 256]}, "at least DATA.TRAIN_CROP_SIZE, 224"),
        # the schedule
        ({"SOLVER.WARMUP_EPOCHS": 301.0}, "SOLVER.WARMUP_EPOCHS is 301.0, longer than SOLVER.MAX_EPOCH, 300."),
        ({"SOLVER.COSINE_END_LR": 1.0}, "SOLVER.COSINE_END_LR is 1.0, more than SOLVER.BASE_LR, 0.1."),
        ({"SOLVER.BASE_BATCH_SIZE": 64, "SOLVER.BASE_LR_SCALE_NUM_SHARDS": True}, "both scale the learning rates"),
        ({"SOLVER.LR_POLICY": "steps"}, "SOLVER.STEPS is []; SOLVER.LR_POLICY steps needs a growing list"),
        ({"SOLVER.LR_POLICY": "steps", "SOLVER.STEPS": [40, 30]}, "needs a growing list"),
        ({"SOLVER.LR_POLICY": "steps", "SOLVER.STEPS": [0, 30]}, "the first step comes after epoch 0"),
        ({"SOLVER.LR_POLICY": "steps_with_relative_lrs", "SOLVER.STEPS": [5], "SOLVER.LRS": [1]}, "it begins with 0"),
        ({"SOLVER.LR_POLICY": "steps_with_relative_lrs", "SOLVER.STEPS": [0, 5], "SOLVER.LRS": [1]}, "a number, 0 or"),
        ({"SOLVER.BETAS": [0.9, 1.0]}, "SOLVER.BETAS is [0.9, 1.0]"),
        ({"SOLVER.MOMENTUM": 0.0}, "SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_wrong_configs_are_refused(changes, message):
    faults = check_config(config(changes))
    assert any(message in fault.text for fault in faults), faults
    for fault in faults:
        assert fault.text[0].isupper() and fault.text.endswith(".") and not fault.where
        named = {word.strip(".,:;()[]'") for word in fault.text.split()} & KEYS
        assert named <= set(fault.all_keys), "what a sentence names, the fault is about"


def test_independent_faults_come_together():
    faults = check_config(config({**GTA, "ATTENTION.OPTIONS.GROUPS": 7, "TRAIN.BATCH_SIZE": 0, "SOLVER.BETAS": [2, 2]}))
    assert Counter(fault.key for fault in faults) == {
        "TRAIN.BATCH_SIZE": 1,
        "SOLVER.BETAS": 1,
        "ATTENTION.OPTIONS.GROUPS": 2,  # at res3's size and at res4's
    }


# ----------------------------------------------------------------------------- on disk


def path_faults(changes: dict, splits=("train", "val", "test")) -> list[str]:
    """What is wrong with the folders that a run reads, and with the one that it writes."""
    with pytest.raises(ConfigError) as caught:
        check_data_paths(config(changes), splits)
    assert caught.value.keys[0] in str(caught.value)
    return str(caught.value).splitlines()


def test_missing_folders_are_reported_together(tmp_path):
    (tmp_path / "something").mkdir()
    (tmp_path / "file").touch()
    assert "DATA.PATH_TO_DATA_DIR is not set" in path_faults({"OUTPUT_DIR": str(tmp_path)})[0]
    missing, output = path_faults(
        {"DATA.PATH_TO_DATA_DIR": str(tmp_path / "somthing"), "OUTPUT_DIR": str(tmp_path / "file" / "run")}
    )
    assert "which does not exist" in missing and f"Did you mean {tmp_path / 'something'}?" in missing
    assert output.startswith("OUTPUT_DIR is") and f"{tmp_path / 'file'} is a file" in output
    [prefix] = path_faults(
        {"DATA.PATH_TO_DATA_DIR": str(tmp_path), "DATA.PATH_PREFIX": "/no/where", "OUTPUT_DIR": str(tmp_path)}
    )
    assert prefix.startswith("DATA.PATH_PREFIX is /no/where")
    [file] = path_faults({"DATA.PATH_TO_DATA_DIR": str(tmp_path / "file"), "OUTPUT_DIR": str(tmp_path)})
    assert "which is a file" in file


def test_folders_that_are_there_pass_and_output_need_not_exist(tmp_path):
    check_data_paths(
        config({"DATA.PATH_TO_DATA_DIR": str(tmp_path), "OUTPUT_DIR": str(tmp_path / "a" / "b")}), ["test"]
    )
    assert not (tmp_path / "a").exists()


def test_output_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    [fault] = path_faults({"DATA.PATH_TO_DATA_DIR": str(tmp_path), "OUTPUT_DIR": str(tmp_path / "run")})
    assert f"{tmp_path} is not writable" in fault


def test_a_data_set_that_makes_itself_needs_no_folder_yet(tmp_path, monkeypatch):
    from slowfast_gta.datasets.build import DATASET_REGISTRY

    folders = {"DATA.PATH_TO_DATA_DIR": str(tmp_path / "new"), "OUTPUT_DIR": str(tmp_path)}
    assert "which does not exist" in path_faults(folders)[0]
    monkeypatch.setattr(DATASET_REGISTRY.get("Kinetics"), "creates_itself", True)
    check_data_paths(config(folders), ["train"])
    assert "DATA.PATH_TO_DATA_DIR is not set" in path_faults({"OUTPUT_DIR": str(tmp_path)})[0]


def test_a_block_outside_its_stage_does_not_hide_what_the_block_refuses(tmp_path):
    path = tmp_path / "both.yaml"
    path.write_text(
        "MODEL: {MODEL_NAME: ResNet, ARCH: 2d}\n"
        "ATTENTION: {NAME: GTA, LOCATION: [[[]], [[1, 9]], [[]], [[]]], OPTIONS: {GROUPS: 7}}\n"
    )
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    assert "ATTENTION.LOCATION names block 9 of res3" in str(refused.value)
    assert "GROUPS is 7; it must divide the 128 channels" in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("RNG_SEED", 2**63),
        ("SYNTHETIC.SEED", 2**64),
        ("MODEL.NUM_CLASSES", 2**31),
        ("MODEL.NUM_CLASSES", [3, 10**30]),
        ("SOLVER.BASE_LR", 1e39),
        ("SOLVER.STEPS", [1, 1e300]),
        ("SOLVER.WEIGHT_DECAY", 1e39),
        ("TRAIN.BATCH_SIZE", 10**20),
        ("DATA_LOADER.SAMPLE_TIMEOUT_SEC", 1e12),
        ("DIST_WAIT_SEC", 10**10),
        ("LOG_PERIOD", 10**40),
    ],
)
def test_numbers_beyond_what_libraries_take(key, value):
    assert key in {fault.key for fault in check_config(config({key: value}))}


def test_the_largest_seed_is_one():
    assert not [fault for fault in check_config(config({"RNG_SEED": 2**63 - 1})) if fault.key == "RNG_SEED"]


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("DATA.MEAN", [123.675, 116.28, 103.53], [0.485, 0.456, 0.406]),
        ("DATA.STD", [58.395, 57.12, 57.375], [0.229, 0.224, 0.225]),
        ("DATA.MEAN", [0.5, -0.5, 0.5], None),
    ],
)
def test_means_are_of_pixels_from_0_to_1(key, value, right):
    [fault] = [fault for fault in check_config(config({key: value})) if fault.key == key]
    assert right is None or str(right) in fault.text
