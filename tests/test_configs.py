"""Every YAML that comes with the package loads, builds a network, and says at its top how it is run."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from miniatures import ROOT

from slowfast_gta import build_model, load_config
from slowfast_gta.datasets.build import DATASET_REGISTRY

TABLES = ROOT / "configs" / "Evidence"  # for compare; what their rows share is a config
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent != TABLES or path.stem == "Base")
LEAVES = [path for path in CONFIGS if not path.name.startswith("Base")]


def each(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


@each(CONFIGS)
def test_it_loads_builds_and_runs(path):
    """At its full size, without memory: shapes only."""
    cfg = load_config(path)
    with torch.device("meta"):
        model = build_model(cfg)
        clip = torch.empty(2, 3, cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TRAIN_CROP_SIZE)
        answers, classes = model(clip), cfg.MODEL.NUM_CLASSES
    if isinstance(classes, list):
        assert {name: one.shape for name, one in answers.items()} == {
            name: (2, count) for name, count in zip(cfg.MODEL.OUTPUTS, classes, strict=True)
        }
    else:
        assert answers.shape == (2, classes)
    has_attention = any("_attention" in name for name, _ in model.named_modules())
    assert has_attention == (cfg.ATTENTION.NAME != "none")


@each(LEAVES)
def test_its_data_set_is_known_and_is_its_folder_s(path):
    cfg = load_config(path)
    folder = path.relative_to(ROOT / "configs").parts[0]
    assert cfg.TRAIN.DATASET == cfg.TEST.DATASET == folder and folder in DATASET_REGISTRY


@each(LEAVES)
def test_its_header_names_its_own_command(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    commands = [line for line in header if "python tools/" in line]
    assert len(commands) == 1, "one command in the comment at the top"
    name = str(path.relative_to(ROOT))
    assert re.search(rf"python tools/\w+\.py --cfg {re.escape(name)}( |$)", commands[0]), commands[0]
    for key, value in re.findall(r"\b([A-Z][A-Z_]*(?:\.[A-Z_]+)+|OUTPUT_DIR) (\S+)", commands[0]):
        assert load_config(path, [key, value])
    if "OUTPUT_DIR" in commands[0]:
        assert path.stem in commands[0].split("OUTPUT_DIR")[1]


def test_no_two_configs_write_into_one_folder():
    folders = {}
    for path in LEAVES:
        text = path.read_text()
        output = yaml.safe_load(text).get("OUTPUT_DIR") or re.search(r"OUTPUT_DIR (\S+)", text)[1]
        assert output not in folders, f"{path} and {folders[output]} both write into {output}"
        folders[output] = path


def recipe_of(path: Path) -> Path:
    """The Base file that `path` builds on, through however many others."""
    while not path.name.startswith("Base"):
        base = yaml.safe_load(path.read_text()).get("_BASE_")
        if base is None:
            return path.parent
        path = (path.parent / base).resolve()
    return path


def test_experiments_differ_in_the_lines_that_differ():
    """The same recipe for all that build on one Base file: only model, attention, which frames, and the data set."""
    frames = dict.fromkeys(("NUM_FRAMES", "SAMPLING_RATE", "INPUT_CHANNEL_NUM"))
    for folder, base in {(path.parent, recipe_of(path)) for path in LEAVES}:
        found = {path: load_config(path) for path in LEAVES if (path.parent, recipe_of(path)) == (folder, base)}
        first = next(iter(found.values()))
        for path, cfg in found.items():
            for section in ("DATA", "SOLVER", "TRAIN", "TEST"):
                mine, theirs = (dict(of[section]) | frames for of in (cfg, first))
                assert mine == theirs, f"{path}: {section}"
