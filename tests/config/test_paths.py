"""Every path of a config means one place, from the moment when it is loaded."""

import pytest

from slowfast_gta.config.load import load_config, save_config
from slowfast_gta.config.paths import resolved_path, same_path
from slowfast_gta.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working directory and a home folder, with a config that says nothing."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "mine.yaml").write_text("MODEL: {MODEL_NAME: ResNet, ARCH: 2d}\n")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


KEYS = ["OUTPUT_DIR", "DATA.PATH_TO_DATA_DIR", "DATA.PATH_PREFIX", "TRAIN.CHECKPOINT_FILE_PATH"]
KEYS += ["TRAIN.TEACHER_FILE_PATH", "TEST.CHECKPOINT_FILE_PATH"]


def value_of(cfg, key: str) -> str:
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("~/a", "home/a"),
        ("~", "home"),
        ("a/../b/", "work/b"),
        ("b", "work/b"),
        ("b c$", "work/b c$"),
        ("./~", "work/~"),
    ],
)
def test_a_path_is_resolved_once(here, key, value, expected):
    for cfg in (load_config(here / "mine.yaml", [key, value]), load_config(here / "mine.yaml", {key: value})):
        assert value_of(cfg, key) == str(here / expected)
    (here / "it.yaml").write_text(f"_BASE_: mine.yaml\n{key.replace('.', ': {')}: {value!r}{'}' * ('.' in key)}\n")
    assert value_of(load_config(here / "it.yaml"), key) == str(here / expected)


def test_a_saved_config_names_the_same_folders_from_everywhere(here, monkeypatch):
    cfg = load_config(here / "mine.yaml", ["OUTPUT_DIR", "run", "DATA.PATH_PREFIX", "~/videos"])
    save_config(cfg, here / "saved.yaml")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", "/elsewhere")
    assert load_config(here / "saved.yaml") == cfg


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["$HOME/a", "a/${SCRATCH}/b", "~nobody_of_this_name/a", "a\0b"])
def test_what_has_no_meaning_is_refused(here, key, value):
    with pytest.raises(ConfigError) as refused:
        load_config(here / "mine.yaml", {key: value})
    assert refused.value.keys == (key,)


def test_links_stay(here):
    (here / "work" / "link").symlink_to(here / "home")
    assert resolved_path("link/run") == str(here / "work" / "link" / "run")


def test_empty_paths_stay_empty_but_output_dir(here):
    cfg = load_config(here / "mine.yaml")
    assert cfg.DATA.PATH_TO_DATA_DIR == cfg.TRAIN.CHECKPOINT_FILE_PATH == ""
    assert str(here / "work" / "runs" / "mine") == cfg.OUTPUT_DIR


def test_pyslowfasts_dot_is_the_default_and_logged(here, caplog):
    (here / "theirs.yaml").write_text("_BASE_: mine.yaml\nOUTPUT_DIR: .\n")
    assert str(here / "work" / "runs" / "theirs") == load_config(here / "theirs.yaml").OUTPUT_DIR
    assert "runs/theirs" in caplog.text
    assert str(here / "work") == load_config(here / "theirs.yaml", ["OUTPUT_DIR", "."]).OUTPUT_DIR


def test_an_older_run_in_the_working_directory_resumes_there(here, caplog):
    (here / "theirs.yaml").write_text("_BASE_: mine.yaml\nOUTPUT_DIR: .\n")
    (here / "work" / "checkpoints").mkdir()
    (here / "work" / "checkpoints" / "checkpoint_epoch_00001.pyth").touch()
    assert str(here / "work") == load_config(here / "theirs.yaml").OUTPUT_DIR
    assert "resumes here" in caplog.text


@pytest.mark.parametrize("key", KEYS[3:])
def test_urls_and_registered_names_are_no_paths(here, key, caplog):
    for value in ("https://a.b/c.pth", "torchvision/resnet50"):
        assert value_of(load_config(here / "mine.yaml", [key, value]), key) == value
    (here / "work" / "torchvision").mkdir()
    (here / "work" / "torchvision" / "resnet50").touch()
    cfg = load_config(here / "mine.yaml", [key, "torchvision/resnet50"])
    assert value_of(cfg, key) == str(here / "work" / "torchvision" / "resnet50")
    assert key in caplog.text


def test_the_paths_of_stages(here):
    (here / "zoo.pyth").touch()
    (here / "home" / "teacher.pyth").touch()
    (here / "staged.yaml").write_text(
        "_BASE_: mine.yaml\nSTAGES:\n"
        "  a: {WEIGHTS: ../zoo.pyth}\n"
        "  b: {START_FROM: a, TEACHER: ~/teacher.pyth, DATA: {PATH_PREFIX: v}}\n"
    )
    cfg = load_config(here / "staged.yaml")
    assert cfg.STAGES.a == {"WEIGHTS": str(here / "zoo.pyth")}
    assert cfg.STAGES.b.START_FROM == "a"
    assert str(here / "home" / "teacher.pyth") == cfg.STAGES.b.TEACHER
    assert cfg.STAGES.b["DATA.PATH_PREFIX"] == str(here / "work" / "v")


def test_an_older_runs_relative_path_is_the_same_path(here):
    assert same_path("run", str(here / "work" / "run"))
    assert same_path("lists/x", "/moved/lists/x")
    assert not same_path("run", "/moved/other")
    assert not same_path("/a/run", "/b/run")
    assert same_path("", "")
    assert not same_path("", str(here))
