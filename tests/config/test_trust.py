"""PLUGINS are code: those of a run's config are imported only where this user trained it, or says so."""

from pathlib import Path

import pytest

from slowfast_gta.commands import run_command
from slowfast_gta.config.load import load_config, save_config
from slowfast_gta.config.trust import is_trusted, save_trust
from slowfast_gta.errors import ConfigError

SMALL = """\
MODEL: {MODEL_NAME: ResNet, ARCH: 2d, NUM_CLASSES: 4}
RESNET: {DEPTH: 14, WIDTH_PER_GROUP: 16}
DATA: {NUM_FRAMES: 4, TEST_CROP_SIZE: 32, TRAIN_CROP_SIZE: 32}
"""


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """The folder of a stranger's run, whose plug-in leaves a trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / f"plugin_{tmp_path.name}.py").write_text("open(__file__ + '.imported', 'w').close()\n")
    (folder / "config.yaml").write_text(f"{SMALL}PLUGINS: [./plugin_{tmp_path.name}.py]\n")
    return folder


def imported(run: Path) -> bool:
    return any(run.glob("*.imported"))


def test_a_run_s_plugins_are_asked_for(run):
    with pytest.raises(ConfigError) as caught:
        load_config(run / "config.yaml")
    assert caught.value.keys == ("PLUGINS",) and not imported(run)
    load_config(run / "config.yaml", trust_plugins=True)
    assert imported(run)


def test_a_run_of_this_user_is_trusted_until_somebody_changes_it(run):
    save_trust(run / "config.yaml")
    load_config(run / "config.yaml")
    assert imported(run)
    with (run / "config.yaml").open("a") as file:
        file.write("\n")
    assert not is_trusted(run / "config.yaml")
    with pytest.raises(ConfigError):
        load_config(run / "config.yaml")


@pytest.mark.parametrize(
    "files",
    [
        {"mine.yaml": "_BASE_: run/config.yaml\n"},
        {"mine.yaml": "_BASE_: between.yaml\n", "between.yaml": "_BASE_: run/config.yaml\n"},
        {"mine.yaml": "_BASE_: run/sub/config.yaml\n", "run/sub/config.yaml": "_BASE_: ../config.yaml\n"},
        {"mine.yaml": "_BASE_: other/config.yaml\n", "other/config.yaml": "_BASE_: ../named.yaml\n"},
    ],
)
def test_so_they_are_where_a_config_builds_on_one(run, tmp_path, files):
    """Also where the PLUGINS are in another file, that the run's config builds on."""
    (tmp_path / "named.yaml").write_text((run / "config.yaml").read_text().replace("./", "run/"))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config("mine.yaml")
    assert caught.value.keys == ("PLUGINS",) and not imported(run)
    load_config("mine.yaml", trust_plugins=True)
    assert imported(run)


def test_one_s_own_configs_are_not_asked_about(run, tmp_path):
    """Nor a stranger's whose PLUGINS are replaced."""
    mine = tmp_path / "mine.yaml"
    assert load_config(run / "config.yaml", ["PLUGINS", []]).PLUGINS == []
    mine.write_text("_BASE_: run/config.yaml\nPLUGINS: []\n")
    load_config(mine)
    assert not imported(run)
    mine.write_text((run / "config.yaml").read_text().replace("./", "run/"))
    cfg = load_config(mine)
    assert imported(run)
    save_config(cfg, run / "config.yaml")
    with pytest.raises(ConfigError):
        load_config(run / "config.yaml")


@pytest.mark.parametrize(
    "line",
    [
        "run_net TRAIN.ENABLE False TEST.ENABLE False",
        "complexity",
        "check_weights none.pyth",
        "check_data",
        "benchmark model",
        "submit --time 60 --dry-run",
        "prepare_data lists --output lists",
    ],
)
def test_no_command_imports_them(run, line, capsys):
    command, *words = line.split()
    code = run_command(command, [*words, "--cfg", str(run / "config.yaml")])
    assert code == 2 and "--trust-plugins" in capsys.readouterr().err and not imported(run)


def test_nor_a_table_of_compare(run, tmp_path, capsys):
    (tmp_path / "table.yaml").write_text("CFG: run/config.yaml\nROWS: [{NAME: a}]\n")
    assert run_command("compare", ["table.yaml", "--no-run"]) == 2
    assert "--trust-plugins" in capsys.readouterr().err and not imported(run)
    assert run_command("compare", ["table.yaml", "--no-run", "--trust-plugins"]) == 1  # no run is finished
    assert imported(run)


def test_the_given_options_reach_the_job(run, capsys):
    given = ["--cfg", str(run / "config.yaml"), "--time", "60", "--dry-run", "--trust-plugins"]
    assert run_command("submit", given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert imported(run) and any("run_net" in line and "--trust-plugins" in line.split() for line in lines)
