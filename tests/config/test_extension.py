"""A project's own sections, for one load; and the stages' and blocks' faults at the very line that is to blame."""

import textwrap

import pytest
from miniatures import ROOT

from slowfast_gta.config.arguments import load_configs
from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.extension import ConfigExtension
from slowfast_gta.config.load import load_config, save_config
from slowfast_gta.config.settings import Fault, where_set
from slowfast_gta.config.stages import build_stages
from slowfast_gta.errors import ConfigError

SMALL = """\
MODEL: {MODEL_NAME: ResNet, ARCH: 2d, NUM_CLASSES: 4}
RESNET: {DEPTH: 14, WIDTH_PER_GROUP: 16}
TRAIN: {DATASET: SSv2, BATCH_SIZE: 8}
TEST: {DATASET: SSv2}
"""


def check_own(cfg):
    if cfg.MY.NUM_SNIPPETS < 1:
        yield Fault("MY.NUM_SNIPPETS", f"MY.NUM_SNIPPETS is {cfg.MY.NUM_SNIPPETS}; it must be 1 or more.")


MINE = ConfigExtension(
    {"MY": {"NUM_SNIPPETS": 750, "MARGIN": None, "KIND": "soft", "LOSS": {"WEIGHT": 0.5, "NAMES": ["a"]}}},
    types={"MY.MARGIN": (float, type(None))},
    choices={"MY.KIND": ("soft", "hard")},
    check=check_own,
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write(text) -> "a.yaml" in the current folder, built on a small network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(SMALL)

    def write_file(text: str) -> str:
        (tmp_path / "a.yaml").write_text("_BASE_: base.yaml\n" + textwrap.dedent(text))
        return "a.yaml"

    return write_file


def refusal(path, overrides=(), extra=MINE) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, extra)
    return caught.value


def locations_of(fault: ConfigError) -> list[str]:
    return [line.split(": ")[0].strip() for line in str(fault).splitlines()[1:]]


# ----------------------------------------------------------------------------- sections of one's own


def test_an_extra_section_has_its_defaults_the_files_values_and_the_overrides(write):
    path = write("MY:\n  NUM_SNIPPETS: 10\n  LOSS: {WEIGHT: 1}\n")
    cfg = load_config(path, ["MY.MARGIN", "3", "MY.KIND", "hard"], MINE)
    assert (cfg.MY.NUM_SNIPPETS, cfg.MY.MARGIN, cfg.MY.KIND) == (10, 3.0, "hard")
    assert cfg.MY.LOSS == {"WEIGHT": 1.0, "NAMES": ["a"]} and type(cfg.MY.LOSS.WEIGHT) is float
    assert cfg.TRAIN.BATCH_SIZE == 8
    with pytest.raises(AttributeError):
        cfg.MY.NUM_SNIPPETS = 3


def test_an_extra_section_is_there_for_its_own_load_only(write):
    load_config(write("MY: {NUM_SNIPPETS: 10}\n"), extra=MINE)
    assert "MY" not in get_defaults() and MINE.defaults["MY"]["NUM_SNIPPETS"] == 750
    fault = refusal("a.yaml", extra=None)
    assert fault.keys == ("MY",) and locations_of(fault) == ["a.yaml:2"]


def test_the_config_of_a_run_loads_again_with_the_same_extra(write, tmp_path):
    cfg = load_config(write("MY: {NUM_SNIPPETS: 10, MARGIN: 1}\n"), extra=MINE)
    save_config(cfg, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml", extra=MINE) == cfg


def test_defaults_alone_will_do(write):
    cfg = load_config(write("MY: {NUM: 2}\n"), {"MY.RATE": 3}, {"MY": {"NUM": 1, "RATE": 0.5}})
    assert cfg.MY == {"NUM": 2, "RATE": 3.0}


def test_all_faults_of_an_extra_section_have_their_lines_and_near_names(write):
    path = write(
        """\
        MY:
          NUM_SNIPETS: 3
          NUM_SNIPPETS: many
          KIND: firm
          MARGIN: wide
        TRAIN: {NUM_SNIPPETS: 3}
        """
    )
    fault = refusal(path, ["MY.LOSS.WEIGTH", 1])
    assert set(fault.keys) == {
        *("MY.NUM_SNIPETS", "MY.NUM_SNIPPETS", "MY.KIND", "MY.MARGIN", "TRAIN.NUM_SNIPPETS", "MY.LOSS.WEIGTH")
    }
    assert locations_of(fault) == ["a.yaml:3", "a.yaml:4", "a.yaml:5", "a.yaml:6", "a.yaml:7", "command line"]
    assert "MY.NUM_SNIPPETS?" in str(fault).splitlines()[1] and "MY.LOSS.WEIGHT?" in str(fault).splitlines()[-1]


def test_the_extensions_own_check_is_in_the_same_report(write):
    path = write("MY:\n  KIND: hard\n  NUM_SNIPPETS: 0\nSOLVER:\n  MAX_EPOCH: 0\n")
    fault = refusal(path)
    assert fault.keys == ("SOLVER.MAX_EPOCH", "MY.NUM_SNIPPETS")
    assert sorted(locations_of(fault)) == ["a.yaml:4", "a.yaml:6"]


def test_the_own_check_finds_defaults_where_a_section_is_faulty_by_itself(write):
    """It may expect the types that it declared, and says nothing more about such a key."""
    fault = refusal(write("MY: {NUM_SNIPPETS: many, KIND: firm}\n"))
    assert fault.keys == ("MY.NUM_SNIPPETS", "MY.KIND")


@pytest.mark.parametrize("extra", [{"TRAIN": {"MORE": 1}}, {"PLUGINS": {"A": 1}}, {"TASK": {"A": 1}}, {"MY": 3}])
def test_a_name_that_is_not_free_or_no_section_is_refused(write, extra):
    assert refusal(write(""), extra=extra).keys == tuple(extra)


def test_stages_have_the_extra_keys_with_their_checks(write):
    path = write(
        """\
        STAGES:
          first: {}
          second:
            START_FROM: first
            MY:
              MARGIN: 2
              LOSS: {WEIGHT: 2}
        """
    )
    cfg = load_config(path, extra=MINE)
    first, second = build_stages(cfg, MINE)
    assert (first.cfg.MY.MARGIN, second.cfg.MY.MARGIN) == (None, 2.0)
    assert (first.cfg.MY.LOSS.WEIGHT, second.cfg.MY.LOSS.WEIGHT) == (0.5, 2.0)
    fault = refusal(write("STAGES:\n  first:\n    MY:\n      NUM_SNIPPETS: 0\n"))
    assert fault.keys == ("STAGES.first.MY.NUM_SNIPPETS",) and locations_of(fault) == ["a.yaml:5"]


def test_the_tools_arguments_take_it(write):
    import argparse

    args = argparse.Namespace(cfg=[write("MY: {KIND: hard}\n")], opts=["MY.NUM_SNIPPETS", "5"], trust_plugins=False)
    [cfg] = load_configs(args, ["MY.MARGIN", 1], extra=MINE)
    assert cfg.MY == {"NUM_SNIPPETS": 5, "MARGIN": 1.0, "KIND": "hard", "LOSS": {"WEIGHT": 0.5, "NAMES": ["a"]}}


# ----------------------------------------------------------------------------- overrides as a dict


def test_overrides_may_be_a_dict_dotted_or_nested(write):
    pairs = ["TRAIN.BATCH_SIZE", 4, "SOLVER.BASE_LR", 0.5, "ATTENTION.OPTIONS.GROUPS", 4]
    more = ["ATTENTION.NAME", "GTA", "ATTENTION.LOCATION", [[[0]], [[]], [[]], [[]]]]
    nested = {
        "TRAIN.BATCH_SIZE": 4,
        "SOLVER": {"BASE_LR": 0.5},
        "ATTENTION": {"NAME": "GTA", "LOCATION": [[[0]], [[]], [[]], [[]]], "OPTIONS": {"GROUPS": 4}},
    }
    assert load_config(write(""), nested) == load_config("a.yaml", [*pairs, *more])
    assert refusal("a.yaml", {"TRAIN": {"BATCHSIZE": 3}, 7: 1}, None).keys == ("TRAIN.BATCHSIZE",)


# ----------------------------------------------------------------------------- the line that is to blame


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (4, "first:\n    SOLVER: {MAX_EPOCH: 0}"),
        (5, "first:\n    TRAIN: {BATCH_SIZE: 4}\n    SOLVER: {BASE_LRR: 1}"),
        (5, "first:\n    SOLVER: {BASE_LR: 1}\n    OUTPUT_DIR: x"),
        (4, "first:\n    START_FROM: nothing"),
        (3, "first: 3"),
        (5, "first:\n    ATTENTION:\n      {NAME: GTA, LOCATION: [[[0]], [[]], [[]], [[]]], OPTIONS: {GROUPS: 7}}"),
        (5, "first:\n    SOLVER: {BASE_LR: 1}\n    SOLVER: {BASE_LR: 2}"),
    ],
)
def test_a_fault_of_a_stage_is_at_its_own_line(write, line, text):
    fault = refusal(write(f"STAGES:\n  {text}\n"))
    assert locations_of(fault) == [f"a.yaml:{line}"] and fault.keys[0].startswith("STAGES.first")


@pytest.mark.parametrize(
    ("options", "line"),  # the first option stands in line 6
    [
        (["HEADS: ccmh", "GROUPS: 7"], 7),
        (["GROUPS: 8", "HEADS: many"], 7),
        (["GROUPS: 8", "PIXEL: False", "REGION: False"], 7),
        (["HEADS: ccmh", "NUM_REGIONS: 0"], 7),
        (["HEADS: ccmh", "DIM_INNER: 6"], 6),  # GROUPS does not divide it, and is not set: the options are to blame
    ],
)
def test_the_option_that_a_block_refuses_is_blamed_not_the_block(write, options, line):
    head = "ATTENTION:\n  NAME: GTA\n  LOCATION: [[[0]], [[]], [[]], [[]]]\n  OPTIONS:\n"
    fault = refusal(write(head + "".join(f"    {option}\n" for option in options)))
    assert locations_of(fault) == [f"a.yaml:{line}"]


def test_a_nonlocal_blocks_fault_is_at_its_key(write):
    fault = refusal(write("NONLOCAL:\n  LOCATION: [[[0]], [[]], [[]], [[]]]\n  GROUP: [[3], [1], [1], [1]]\n"))
    assert locations_of(fault) == ["a.yaml:4"] and fault.keys == ("NONLOCAL.GROUP",)


def test_where_a_fault_is_looked_up():
    set_at = {"A.B": "a.yaml:1", "A.C.D": "a.yaml:2", "STAGES.x": "a.yaml:3", "STAGES.x.A.B": "a.yaml:4"}
    assert where_set(Fault("A.B", ""), set_at) == "a.yaml:1"
    assert where_set(Fault("A.C", ""), set_at) == "a.yaml:2"
    assert where_set(Fault("A.X", "", ("A.Y", "A.C.D")), set_at) == "a.yaml:2"
    assert where_set(Fault("A.X", ""), set_at) == "defaults"
    assert where_set(Fault("STAGES.x.A.B", ""), set_at) == "a.yaml:4"
    assert where_set(Fault("STAGES.x.Q.R", ""), set_at) == "a.yaml:3"
    assert where_set(Fault("A.B", "", where="b.yaml:9"), set_at) == "b.yaml:9"


# ----------------------------------------------------------------------------- optimisers


@pytest.mark.parametrize(("word", "name"), [("SGD", "sgd"), ("Adam", "adam"), ("AdamW", "adamw"), ("adam", "adam")])
def test_an_optimiser_is_named_in_any_case(write, word, name):
    assert name == load_config(write(""), {"SOLVER.OPTIMIZING_METHOD": word}).SOLVER.OPTIMIZING_METHOD
    assert refusal("a.yaml", {"SOLVER.OPTIMIZING_METHOD": "Adamax"}).keys == ("SOLVER.OPTIMIZING_METHOD",)


# ----------------------------------------------------------------------------- docs/config.md


def test_the_extension_of_the_docs_works_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "config.md").read_text()
    [block] = [part for part in text.split("```python\n")[1:] if "ConfigExtension" in part]
    names: dict = {}
    exec(block.split("```")[0], names)
    assert names["cfg"].MY_PROJECT == {"NUM_SNIPPETS": 100, "MARGIN": None, "KIND": "soft"}
    fault = refusal("configs/SSv1/R2D50.yaml", {"MY_PROJECT.NUM_SNIPPETS": 0}, names["extra"])
    assert fault.keys == ("MY_PROJECT.NUM_SNIPPETS",) and locations_of(fault) == ["command line"]
