"""load_config and save_config: files, overrides, types, and the report of what is wrong."""

import pickle
import textwrap
from pathlib import Path

import pytest
from miniatures import ROOT

from slowfast_gta.config.load import load_config, save_config
from slowfast_gta.config.paths import is_path
from slowfast_gta.config.read import packaged_configs
from slowfast_gta.errors import ConfigError

SMALL = """\
MODEL: {MODEL_NAME: ResNet, ARCH: 2d, NUM_CLASSES: 4}
RESNET: {DEPTH: 14, WIDTH_PER_GROUP: 16}
TRAIN: {DATASET: SSv2, BATCH_SIZE: 8}
TEST: {DATASET: SSv2}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write(name, text) -> path, in the current folder; base.yaml is already there."""
    monkeypatch.chdir(tmp_path)

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    write_file("base.yaml", SMALL)
    return write_file


def faults_of(path, overrides=()) -> list[str]:
    """The lines of the report."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert caught.value.exit_code == 2
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


# ----------------------------------------------------------------------------- files


def test_base_chain_is_relative_to_each_file_and_the_last_word_wins(write):
    write("deep/middle.yaml", "_BASE_: ../base.yaml\nTRAIN: {BATCH_SIZE: 16}\nSOLVER: {MAX_EPOCH: 7}")
    path = write("deep/er/leaf.yaml", "_BASE_: ../middle.yaml\nSOLVER: {MAX_EPOCH: 9}")
    cfg = load_config(path)
    assert (cfg.MODEL.NUM_CLASSES, cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.MAX_EPOCH) == (4, 16, 9)


def test_several_bases_come_in_order_and_a_shared_one_is_no_circle(write):
    write("a.yaml", "_BASE_: base.yaml\nSOLVER: {MAX_EPOCH: 3, BASE_LR: 0.3}")
    write("b.yaml", "_BASE_: base.yaml\nSOLVER: {MAX_EPOCH: 4}")
    cfg = load_config(write("c.yaml", "_BASE_: [a.yaml, b.yaml]\nTRAIN:\n"))
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR) == (4, 0.3)


def test_circular_and_missing_bases_are_named_with_their_line(write):
    write("a.yaml", "_BASE_: b.yaml\n")
    write("b.yaml", "\n_BASE_: a.yaml\n")
    assert faults_of("a.yaml") == ["b.yaml:2: _BASE_ goes in a circle: a.yaml -> b.yaml -> a.yaml."]
    [fault] = faults_of(write("c.yaml", "_BASE_: bse.yaml\n"))
    assert fault.startswith("c.yaml:1: _BASE_: There is no config bse.yaml") and "base.yaml" in fault


def test_missing_config_gives_near_names(write):
    with pytest.raises(ConfigError, match=r"\bbas\.yaml\b.*\bbase\.yaml\b"):
        load_config("bas.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(".")


def test_packaged_config_is_found_from_anywhere_and_logged(write, caplog):
    name = next(path for path in packaged_configs().rglob("*.yaml") if "SSv2" in path.parts)
    cfg = load_config(Path("configs") / name.relative_to(packaged_configs()))
    assert cfg.TRAIN.DATASET == "SSv2"
    assert "using the packaged" in caplog.text


def test_config_is_frozen_and_survives_pickling(write):
    cfg = load_config("base.yaml")
    with pytest.raises(AttributeError):
        cfg.TRAIN.BATCH_SIZE = 9
    assert pickle.loads(pickle.dumps(cfg)) == cfg


def test_saved_config_is_read_back_as_equal(write, tmp_path):
    overrides = {
        "OUTPUT_DIR": "007",
        "SOLVER.WEIGHT_DECAY": 1e-7,
        "SOLVER.CLIP_GRAD_L2NORM": 40,
        "ATTENTION.NAME": "GTA",
        "ATTENTION.LOCATION": [[[0]], [[]], [[0]], [[]]],
        "ATTENTION.OPTIONS.REGION_NORM": "none",
        "ATTENTION.OPTIONS.GROUPS": 4,
    }
    cfg = load_config("base.yaml", [item for pair in overrides.items() for item in pair])
    save_config(cfg, tmp_path / "saved.yaml")
    again = load_config(tmp_path / "saved.yaml")
    assert again == cfg
    assert again.ATTENTION.OPTIONS == {"REGION_NORM": "none", "GROUPS": 4}
    assert "&id" not in (tmp_path / "saved.yaml").read_text()


# ----------------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("TRAIN.BATCH_SIZE", "8", 8),
        ("SOLVER.BASE_LR", "1e-4", 1e-4),
        ("SOLVER.BASE_LR", 1, 1.0),
        ("TEST.ENABLE", "False", False),
        ("TEST.ENABLE", "false", False),
        ("SOLVER.CLIP_GRAD_L2NORM", "None", None),
        ("SOLVER.CLIP_GRAD_L2NORM", "20", 20.0),
        ("NUM_GPUS", "2", 2),
        ("NUM_GPUS", "auto", "auto"),
        ("NONLOCAL.LOCATION", "[[[]],[[]],[[0]],[[]]]", [[[]], [[]], [[0]], [[]]]),
        ("DATA.RESIZE", (300, 400), [300, 400]),
        ("SOLVER.LRS", "[1, 1e-1, .01]", [1, 0.1, 0.01]),
        ("OUTPUT_DIR", "8", "8"),
        ("OUTPUT_DIR", "None", "None"),
        ("OUTPUT_DIR", Path("runs/a"), "runs/a"),
        ("TRAIN.CHECKPOINT_FILE_PATH", "1e-4", "1e-4"),
    ],
)
def test_override_takes_the_type_of_its_key(write, key, text, value):
    node = load_config("base.yaml", [key, text])
    for part in key.split("."):
        node = node[part]
    value = str(Path.cwd() / value) if is_path(key) else value
    assert node == value and type(node) is type(value)


def test_yaml_numbers_that_yaml_takes_for_text(write):
    cfg = load_config(write("a.yaml", "_BASE_: base.yaml\nSOLVER: {WEIGHT_DECAY: 1e-4, LRS: [1, 1e-1]}\n"))
    assert cfg.SOLVER.WEIGHT_DECAY == 1e-4 and cfg.SOLVER.LRS == [1, 0.1]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("TRAIN.BATCH_SIZE", "x", "a whole number"),
        ("TRAIN.BATCH_SIZE", 8.0, "a whole number"),
        ("TRAIN.BATCH_SIZE", True, "a whole number"),
        ("TRAIN.ENABLE", 1, "True or False"),
        ("SOLVER.BASE_LR", float("nan"), "a number"),
        ("OUTPUT_DIR", 8, "text"),
        ("DATA.RESIZE", "240", "a list"),
        ("PLUGINS", [3], "a list"),
        ("TRAIN.DATASET", ["SSv2"], "text"),
        ("RESNET.DEPTH", 51, "one of 14, 18, 34, 50, 101"),
        ("DATA.SAMPLING", "segments", "one of dense, segment"),
    ],
)
def test_wrong_type_or_choice_lists_what_is_allowed(write, key, value, allowed):
    [fault] = faults_of("base.yaml", [key, value])
    assert fault.startswith(f"command line: {key} must be {allowed}") and repr(value) in fault


# ----------------------------------------------------------------------------- reports


def test_all_faults_come_in_one_report_with_their_lines(write):
    write("parent.yaml", "_BASE_: base.yaml\nSOLVER:\n  MAX_EPOC: 3\n")
    path = write(
        "bad.yaml",
        """\
        _BASE_: parent.yaml
        TRAIN:
          BATCHSIZE: 8
          DATASET: SSV2
        RESNET: {DEPTH: fifty}
        ATTENTION:
          NAME: GTA
          LOCATION: [[[0]], [[0]], [[2]], [[]]]
          OPTIONS:
            GROUP: 8
        """,
    )
    faults = faults_of(path, ["NUM_CLASSES", "3", "DATA"])
    expected = [
        "parent.yaml:3: SOLVER.MAX_EPOC is not a key. Did you mean SOLVER.MAX_EPOCH?",
        "command line: NUM_CLASSES is not a key. Did you mean MODEL.NUM_CLASSES?",
        "command line: DATA has no value.",
        "bad.yaml:3: TRAIN.BATCHSIZE is not a key. Did you mean TRAIN.BATCH_SIZE?",
        "bad.yaml:4: TRAIN.DATASET: nothing is registered as 'SSV2'. Did you mean SSv2?",
        "bad.yaml:5: RESNET.DEPTH must be a whole number",
        "bad.yaml:8: ATTENTION.LOCATION names block 2 of res4, and res4 has 1 block: only 0 is allowed.",
        "bad.yaml:10: ATTENTION.OPTIONS.GROUP: GTA has no option GROUP. It accepts",
    ]
    assert len(faults) == len(expected)
    for start in expected:
        assert any(fault.startswith(start) for fault in faults), start


def test_faults_of_a_file_are_in_the_order_of_its_lines(write):
    path = write("bad.yaml", "_BASE_: base.yaml\nTRAIN: {DATASET: SSV2}\nFOO: 1\nSOLVER: {STEPS: 5}\n")
    assert [fault.partition(": ")[0] for fault in faults_of(path)] == ["bad.yaml:2", "bad.yaml:3", "bad.yaml:4"]


def test_a_fault_is_not_explained_twice(write):
    path = write("bad.yaml", "_BASE_: base.yaml\nATTENTION: {NAME: SA, LOCATIONS: [[[0]], [[]], [[]], [[]]]}\n")
    assert faults_of(path) == ["bad.yaml:2: ATTENTION.LOCATIONS is not a key. Did you mean ATTENTION.LOCATION?"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TRAIN:\n\tENABLE: True\n", "bad.yaml:2: this is not YAML"),
        ("TRAIN: [1\n", "bad.yaml:2: this is not YAML"),
        ("- TRAIN\n", "bad.yaml: a config consists of keys and values"),
        ("", "bad.yaml: a config consists of keys and values"),
        ("TRAIN: 3\n", "bad.yaml:1: TRAIN is a section of keys"),
        ("LOG_PERIOD:\n  A: 1\n", "bad.yaml:1: LOG_PERIOD must be a whole number"),
        ("LOG_PERIOD: 1\nLOG_PERIOD: 2\n", "bad.yaml:2: LOG_PERIOD is already set in line 1 of this file"),
    ],
)
def test_malformed_yaml_is_refused(write, text, message):
    assert any(fault.startswith(message) for fault in faults_of(write("bad.yaml", text)))


@pytest.mark.parametrize("content", [b"\x1a\x45\xdf\xa3", b"\xff\xd8\xff"])
def test_a_file_that_is_no_text_is_refused(write, tmp_path, content):
    (tmp_path / "video.yaml").write_bytes(content)
    assert faults_of("video.yaml")[0].startswith("video.yaml: this is not a text file")


def test_python_tags_are_never_executed(write, tmp_path):
    path = write("bad.yaml", f"_BASE_: base.yaml\nOUTPUT_DIR: !!python/object/apply:os.mkdir [{tmp_path}/made]\n")
    [fault] = faults_of(path)
    assert fault.startswith("bad.yaml:2: OUTPUT_DIR:") and "never runs code" in fault
    assert not (tmp_path / "made").exists()


# ----------------------------------------------------------------------------- plugins


def test_failing_plugins_are_named_with_the_error_and_its_line(write):
    file = write("broken.py", "x = 1\nraise RuntimeError('on purpose')\n")
    write("broken_package_for_test/__init__.py", "import no_such_module_anywhere\n")
    taken = write(
        "taken.py",
        """\
        from slowfast_gta import ATTENTION_REGISTRY
        @ATTENTION_REGISTRY.register()
        class GTA: ...
        """,
    )
    path = write(
        "bad.yaml",
        "_BASE_: base.yaml\nPLUGINS: [./broken.py, broken_package_for_test, no_such.module, ./none.py, ./taken.py]\n",
    )
    faults = faults_of(path)
    assert all(fault.startswith("bad.yaml:2: PLUGINS: ") for fault in faults)
    assert f"the plugin {file} could not be imported: RuntimeError in {file}:2: on purpose" in faults[0]
    assert "broken_package_for_test" in faults[1] and "no_such_module_anywhere" in faults[1]
    assert "there is no module no_such.module" in faults[2]
    assert "there is no plugin file" in faults[3]
    assert f"{taken}:" in faults[4] and "already registered" in faults[4]


def test_a_plugin_file_is_run_once_and_is_relative_to_its_yaml(write, tmp_path, monkeypatch):
    write("sub/counted.py", f"with open({str(tmp_path / 'runs')!r}, 'a') as file: file.write('x')\n")
    path = write("sub/a.yaml", "_BASE_: ../base.yaml\nPLUGINS: [./counted.py]\n")
    cfg = load_config(path)
    load_config(path)
    load_config("base.yaml", ["PLUGINS", "[sub/counted.py]"])
    assert (tmp_path / "runs").read_text() == "x"
    assert tuple(cfg.PLUGINS) == (str(tmp_path / "sub" / "counted.py"),)


# ----------------------------------------------------------------------------- docs/config.md


def _blocks(language: str) -> list[str]:
    """The code blocks of docs/config.md in `language`."""
    text = (ROOT / "docs" / "config.md").read_text()
    return [part.split("```")[0] for part in text.split(f"```{language}\n")[1:]]


def test_the_plugin_of_the_docs_works_as_printed(write, tmp_path, monkeypatch):
    import torch

    from slowfast_gta import build_model

    block = next(text for text in _blocks("python") if "class FrameGate" in text)
    config = next(text for text in _blocks("yaml") if "PLUGINS" in text)
    write("my_block.py", block)
    write("my_experiment.yaml", config)
    model = build_model(load_config("my_experiment.yaml", ["RESNET.WIDTH_PER_GROUP", 16])).eval()
    gates = {name: value for name, value in model.state_dict().items() if name.endswith("attention1.gate")}
    assert list(gates) == ["s3.pathway0_attention1.gate", "s4.pathway0_attention1.gate"]
    clip = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        before = model(clip)
        for gate in gates.values():
            gate += torch.linspace(0, 1, 8)[:, None, None]
        assert not torch.equal(model(clip), before)
    assert any("REDUCTION" in fault for fault in faults_of("my_experiment.yaml", ["ATTENTION.OPTIONS.RATIO", 2]))


def test_the_report_of_the_docs_is_what_is_printed(write):
    shown = next(text for text in _blocks("text") if "has 6 faults" in text)
    config = next(text for text in _blocks("yaml") if "BATCHSIZE" in text)
    write("bad.yaml", config)
    with pytest.raises(ConfigError) as caught:
        load_config("bad.yaml", ["SOLVER.MAX_EPOCH", "many"])
    known = str(caught.value)
    for name, line in zip(shown.splitlines(), known.splitlines(), strict=True):
        assert line.startswith(name.removesuffix(" ...")), line
