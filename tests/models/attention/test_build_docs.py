"""docs/attention.md cannot rot: its tables are the blocks' options, its YAML loads, its block runs."""

import ast
import re

import pytest
import torch
from block_cases import clip
from miniatures import ROOT

from slowfast_gta import build_model, load_config
from slowfast_gta.models.attention import ATTENTION_REGISTRY, accepted_options, build_attention

PAGE = (ROOT / "docs" / "attention.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
YAMLS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
OURS = [name for name, block in ATTENTION_REGISTRY if block.__module__.startswith("slowfast_gta.")]

ONE_PATHWAY = """
MODEL: {MODEL_NAME: ResNet, ARCH: 2d}
RESNET: {DEPTH: 50, WIDTH_PER_GROUP: 8}
DATA: {NUM_FRAMES: 4, TRAIN_CROP_SIZE: 64, INPUT_CHANNEL_NUM: [3]}
"""
TWO_PATHWAYS = """
MODEL: {MODEL_NAME: SlowFast, ARCH: slowfast}
RESNET:
  DEPTH: 50
  WIDTH_PER_GROUP: 8
  NUM_BLOCK_TEMP_KERNEL: [[3, 3], [4, 4], [6, 6], [3, 3]]
  SPATIAL_STRIDES: [[1, 1], [2, 2], [2, 2], [2, 2]]
  SPATIAL_DILATIONS: [[1, 1], [1, 1], [1, 1], [1, 1]]
NONLOCAL: {LOCATION: [[[], []], [[], []], [[], []], [[], []]], GROUP: [[1, 1], [1, 1], [1, 1], [1, 1]]}
DATA: {NUM_FRAMES: 32, TRAIN_CROP_SIZE: 64}
"""


def documented_options(section: str) -> dict[str, object]:
    """{option: default} of a section's table; words stand without quotes, tuples as lists."""
    options = {}
    for option, default in re.findall(r"^\| `([A-Z_]+)` \| `(.*?)` \| .+\|$", section, flags=re.MULTILINE):
        try:
            value = ast.literal_eval(default)
        except ValueError:
            value = default
        options[option] = tuple(value) if isinstance(value, list) else value
    return options


@pytest.mark.parametrize("name", OURS)
def test_the_table_of_a_block_is_its_options_with_their_defaults(name):
    assert documented_options(SECTIONS[name]) == accepted_options(name)


@pytest.mark.parametrize("name", OURS)
def test_the_overview_agrees_with_the_class_of_each_block(name):
    (answer,) = re.findall(rf"^\| `{name}` \| .* \| (yes|no) \|$", PAGE, flags=re.MULTILINE)
    assert (answer == "no") is getattr(ATTENTION_REGISTRY.get(name), "time_permutation_equivariant", False)


def test_no_section_is_about_a_block_that_is_not_there():
    assert sorted(SECTIONS) == sorted(OURS)


@pytest.fixture
def example_file(tmp_path):
    """The page's own block in a file; forgotten by the registry afterwards."""
    file = tmp_path / "temporal_conv.py"
    file.write_text(EXAMPLE)
    yield file
    ATTENTION_REGISTRY._obj_map.pop("TemporalConv", None)


@pytest.mark.parametrize("text", YAMLS, ids=[f"yaml{i}" for i in range(len(YAMLS))])
def test_every_yaml_on_the_page_builds_the_network_it_names(text, example_file):
    base = TWO_PATHWAYS if "[[], []]" in text else ONE_PATHWAY
    (example_file.parent / "base.yaml").write_text(base)
    file = example_file.parent / "experiment.yaml"
    file.write_text("_BASE_: base.yaml\n" + text)
    cfg = load_config(file)
    kind = "nonlocal" if text.startswith("NONLOCAL") else "attention"
    model = build_model(cfg)
    assert hasattr(model.s3, f"pathway0_{kind}1")
    assert hasattr(model.s4, f"pathway0_{kind}5")
    if kind == "attention":
        assert type(model.s3.pathway0_attention1).__name__ == cfg.ATTENTION.NAME


def test_the_block_on_the_page_keeps_the_contract(example_file):
    (example_file.parent / "base.yaml").write_text(ONE_PATHWAY)
    file = example_file.parent / "experiment.yaml"
    (text,) = [text for text in YAMLS if "PLUGINS" in text]
    file.write_text("_BASE_: base.yaml\n" + text)
    load_config(file)
    x = clip()
    block = build_attention("TemporalConv", x.shape[1], x.shape[2], options={"KERNEL": 5})
    assert block.conv.kernel_size == (5, 1, 1)
    assert torch.equal(block(x), x)
    assert len(EXAMPLE.splitlines()) <= 25
