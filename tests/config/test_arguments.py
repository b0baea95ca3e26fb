"""The command line that the tools share: files, keys and values told apart."""

import argparse
from pathlib import Path

import pytest

from slowfast_gta.config.arguments import add_config_arguments, load_configs, parse_arguments
from slowfast_gta.errors import ConfigError

SMALL = """\
MODEL: {MODEL_NAME: ResNet, ARCH: 2d, NUM_CLASSES: 4}
RESNET: {DEPTH: 14, WIDTH_PER_GROUP: 16}
"""


@pytest.fixture
def parser(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yaml", "weights.pyth"):
        (tmp_path / name).write_text(SMALL)
    parser = argparse.ArgumentParser("run_net")
    add_config_arguments(parser)
    parser.add_argument("--num_shards", type=int)
    return parser


@pytest.mark.parametrize(
    "line",
    [
        "--cfg a.yaml b.yaml TRAIN.BATCH_SIZE 3 SOLVER.MAX_EPOCH 7 --num_shards 2",
        "--cfg a.yaml b.yaml --opts TRAIN.BATCH_SIZE 3 SOLVER.MAX_EPOCH 7 --num_shards 2",
        "--num_shards 2 --cfg a.yaml b.yaml --opts TRAIN.BATCH_SIZE 3 SOLVER.MAX_EPOCH 7",
        "--cfg a.yaml b.yaml --num_shards 2 TRAIN.BATCH_SIZE 3 SOLVER.MAX_EPOCH 7",
        "--cfg a.yaml b.yaml TRAIN.BATCH_SIZE 3 --num_shards 2 --opts SOLVER.MAX_EPOCH 7",
        "--cfg a.yaml --num_shards 2 --cfg b.yaml TRAIN.BATCH_SIZE 3 SOLVER.MAX_EPOCH 7",
    ],
)
def test_files_and_overrides_are_distinguished(parser, line):
    args = parse_arguments(parser, line.split())
    assert args.num_shards == 2
    configs = load_configs(args)
    assert len(configs) == 2
    assert all((cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.MAX_EPOCH) == (3, 7) for cfg in configs)


def test_a_value_may_be_a_file_or_look_like_a_flag(parser):
    line = "--cfg a.yaml TRAIN.CHECKPOINT_FILE_PATH weights.pyth OUTPUT_DIR b.yaml"
    [cfg] = load_configs(parse_arguments(parser, line.split()))
    assert (str(Path("weights.pyth").absolute()), str(Path("b.yaml").absolute())) == (
        cfg.TRAIN.CHECKPOINT_FILE_PATH,
        cfg.OUTPUT_DIR,
    )
    with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LR.*-0\.0001;.*0"):
        load_configs(parse_arguments(parser, ["--cfg", "a.yaml", "SOLVER.BASE_LR", "-1e-4"]))


def test_flags_of_the_tool_come_last(parser):
    args = parse_arguments(parser, ["--cfg", "a.yaml", "NUM_SHARDS", "3"])
    assert load_configs(args, ["NUM_SHARDS", 2])[0].NUM_SHARDS == 2
    assert load_configs(args)[0].NUM_SHARDS == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--cfg a.yaml word", "'word' is neither a config file"),
        ("--cfg a.yaml TRAIN.BATCH_SIZE", "TRAIN.BATCH_SIZE has no VALUE"),
        ("--cfg a.yaml TRAIN.BATCH_SIZE=8", "TRAIN.BATCH_SIZE 8"),
        ("--cfg TRAIN.BATCH_SIZE 8", "--cfg names no file"),
        ("--cfg a.yaml --opts TRAIN.BATCH_SIZE 8 b.yaml", "b.yaml follows --opts"),
        ("--cfg none.yaml", "There is no config none.yaml"),
        ("--cfg a.yaml TRAIN.BATCHSIZE 8", "TRAIN.BATCHSIZE is not a key. Did you mean TRAIN.BATCH_SIZE?"),
    ],
)
def test_wrong_use_is_refused(parser, line, message):
    with pytest.raises(ConfigError) as caught:
        load_configs(parse_arguments(parser, line.split()))
    assert message in str(caught.value) and caught.value.exit_code == 2


def test_all_files_are_reported(parser, tmp_path):
    (tmp_path / "b.yaml").write_text("FOO: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_configs(parse_arguments(parser, ["--cfg", "b.yaml", "none.yaml", "a.yaml"]))
    assert "FOO is not a key" in str(caught.value) and "There is no config none.yaml" in str(caught.value)


@pytest.mark.parametrize("line", ["", "--cfg", "--cfg a.yaml TRAIN.BATCH_SIZE 8 --shards 3"])
def test_wrong_flags_end_with_exit_code_2(parser, line, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_arguments(parser, line.split())
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_help_has_examples(parser):
    assert "--cfg configs/SSv1/R2D50_GTA.yaml TRAIN.BATCH_SIZE 8" in parser.format_help()
