"""PySlowFast's own YAMLs: what loads unchanged, what is said, what is refused."""

import re

import pytest

from slowfast_gta.config.load import load_config
from slowfast_gta.errors import ConfigError

# Keys and values as PySlowFast's files give them: one pathway, c2d without pools, and two pathways on ssv2.
NOPOOL = """\
TRAIN: {ENABLE: False, DATASET: kinetics, BATCH_SIZE: 64, AUTO_RESUME: True, CHECKPOINT_TYPE: caffe2}
DATA: {NUM_FRAMES: 8, SAMPLING_RATE: 8, INPUT_CHANNEL_NUM: [3]}
RESNET: {ZERO_INIT_FINAL_BN: True, DEPTH: 50, NUM_BLOCK_TEMP_KERNEL: [[3], [4], [6], [3]]}
NONLOCAL: {LOCATION: [[[]], [[]], [[]], [[]]], GROUP: [[1], [1], [1], [1]], INSTANTIATION: softmax}
SOLVER: {WEIGHT_DECAY: 1e-4, WARMUP_EPOCHS: 34.0, MAX_EPOCH: 196}
MODEL: {NUM_CLASSES: 400, ARCH: c2d, MODEL_NAME: ResNet_nopool}
TEST: {DATASET: kinetics, BATCH_SIZE: 64}
NUM_GPUS: 8
RNG_SEED: 0
"""
SSV2 = """\
TRAIN: {DATASET: ssv2, BATCH_SIZE: 16}
DATA: {NUM_FRAMES: 64, SAMPLING_RATE: 2, INPUT_CHANNEL_NUM: [3, 3], REVERSE_INPUT_CHANNEL: True}
SLOWFAST: {ALPHA: 4, FUSION_KERNEL_SZ: 7}
RESNET:
  SPATIAL_STRIDES: [[1, 1], [2, 2], [2, 2], [2, 2]]
  SPATIAL_DILATIONS: [[1, 1], [1, 1], [1, 1], [1, 1]]
  NUM_BLOCK_TEMP_KERNEL: [[3, 3], [4, 4], [6, 6], [3, 3]]
NONLOCAL: {LOCATION: [[[], []], [[1, 3], []], [[], []], [[], []]], GROUP: [[1, 1], [1, 1], [1, 1], [1, 1]]}
BN: {NORM_TYPE: sync_batchnorm, NUM_SYNC_DEVICES: 4}
SOLVER: {LR_POLICY: steps_with_relative_lrs, LRS: [1, 0.1, 0.01, 0.001], STEPS: [0, 14, 18], MAX_EPOCH: 22}
MODEL: {NUM_CLASSES: 174, ARCH: slowfast}
TEST: {DATASET: ssv2}
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text: str, overrides=()):
        path = tmp_path / "theirs.yaml"
        path.write_text(text)
        return load_config(path, overrides)

    return load_text


def test_c2d_without_pools_is_2d_and_logged(load, caplog):
    cfg = load(NOPOOL)
    assert (cfg.MODEL.MODEL_NAME, cfg.MODEL.ARCH) == ("ResNet", "2d")
    assert (cfg.TRAIN.DATASET, cfg.TEST.DATASET) == ("Kinetics", "Kinetics")
    assert cfg.DATA.SAMPLING == "dense" and cfg.SOLVER.WEIGHT_DECAY == 1e-4 and cfg.NUM_GPUS == 8
    assert caplog.text.count("ResNet_nopool") == 1 and "theirs.yaml:1: TRAIN.DATASET kinetics" in caplog.text


def test_ssv2_is_sampled_in_segments_and_unused_rates_are_logged(load, caplog):
    cfg = load(SSV2)
    assert (cfg.MODEL.MODEL_NAME, cfg.TRAIN.DATASET, cfg.DATA.SAMPLING) == ("SlowFast", "SSv2", "segment")
    assert "DATA.SAMPLING is segment" in caplog.text
    assert re.search(r"SOLVER\.LRS.*\b4\b.*\b3 SOLVER\.STEPS.*0\.001", caplog.text)
    assert load(SSV2, ["DATA.SAMPLING", "dense"]).DATA.SAMPLING == "dense"
    assert not cfg.DATA.REVERSE_INPUT_CHANNEL, "PySlowFast's network sees RGB by it, and so does ours without"
    assert re.search(r"DATA\.REVERSE_INPUT_CHANNEL True\b.*\bBGR\b", caplog.text)


@pytest.mark.parametrize(
    "extra",
    [
        "DATA_LOADER: {ENABLE_MULTI_THREAD_DECODE: True}",
        "TENSORBOARD: {ENABLE: True, MODEL_VIS: {ENABLE: True}}",
        "MIXUP: {ENABLE: False, ALPHA: 0.8}",
        "MULTIGRID: {SHORT_CYCLE: False, LONG_CYCLE: False}",
        "TASK: ''",
        "BENCHMARK: {NUM_EPOCHS: 5}",
    ],
)
def test_what_changes_no_result_is_ignored_with_a_warning(load, caplog, extra):
    assert load(NOPOOL + extra) == load(NOPOOL)
    assert "is ignored" in caplog.text and "theirs.yaml:10" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["DATA.DECODING_BACKEND", "pyav"], None),
        (["TRAIN.CHECKPOINT_EPOCH_RESET", "False"], None),
        (
            ["TRAIN.CHECKPOINT_EPOCH_RESET", "True"],
            "PySlowFast has TRAIN.CHECKPOINT_EPOCH_RESET, slowfast_gta does not",
        ),
        (["MVIT.DEPTH", "16"], "PySlowFast has MVIT.DEPTH, slowfast_gta does not (it has no transformers): remove it."),
        (["MULTIGRID", {"SHORT_CYCLE": True}], "PySlowFast has MULTIGRID, slowfast_gta does not"),
        (["DETECTION.ENABLE", "True"], "PySlowFast has DETECTION.ENABLE, slowfast_gta does not (it has no detection)"),
        (["MODEL.MODEL_NAME", "MViT"], "PySlowFast has MViT, slowfast_gta does not (it has no transformers)"),
        (["MODEL.MODEL_NAME", "PTVSlowFast"], "PySlowFast has PTVSlowFast"),
        (["MODEL.ARCH", "x3d", "MODEL.MODEL_NAME", "ResNet"], "PySlowFast has x3d"),
        (["TRAIN.DATASET", "charades"], "PySlowFast has charades"),
        (["MODEL.ARCH", "i3d"], "only where MODEL.ARCH is c2d"),
        (["BN.NORM_TYPE", "layernorm"], "must be one of batchnorm, sync_batchnorm, sub_batchnorm"),
    ],
)
def test_what_pyslowfast_has_and_we_do_not_is_one_sentence(load, overrides, message):
    if message is None:
        assert load(NOPOOL, overrides) == load(NOPOOL)
        return
    with pytest.raises(ConfigError) as caught:
        load(NOPOOL, overrides)
    [fault] = str(caught.value).splitlines()[1:]
    assert fault.strip().startswith("command line: ") and message in fault
