"""Changing the block is one key, and the command line wins over every file, in every stage."""

import pytest

from slowfast_gta.config.load import load_config
from slowfast_gta.config.stages import build_stages
from slowfast_gta.errors import ConfigError

NETWORK = "MODEL: {MODEL_NAME: ResNet, ARCH: 2d}\nSOLVER: {WARMUP_EPOCHS: 0.0}\n"
BLOCK = "ATTENTION: {NAME: GTA, LOCATION: [[[]], [[1]], [[1]], [[]]], OPTIONS: {HEADS: ccmh, GROUPS: 8}}\n"
PLACES = [[[]], [[1]], [[1]], [[]]]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files by name into the working directory: gta.yaml and staged.yaml are there."""
    monkeypatch.chdir(tmp_path)

    def _write(**files: str) -> None:
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)

    _write(gta=NETWORK + BLOCK)
    _write(
        staged="_BASE_: gta.yaml\nSTAGES:\n  backbone: {ATTENTION: {NAME: none}}\n"
        "  tuned: {START_FROM: backbone, SOLVER: {MAX_EPOCH: 40}, ATTENTION: {OPTIONS: {GROUPS: 4}}}\n"
    )
    return _write


def attention(*overrides, file: str = "gta.yaml") -> tuple[str, list, dict]:
    node = load_config(file, overrides).ATTENTION
    return node.NAME, node.LOCATION, dict(node.OPTIONS)


@pytest.mark.parametrize("name", ["NL", "TA", "SA", "CBAM"])
def test_another_block_comes_without_the_options_of_the_first(write, name, caplog):
    assert attention("ATTENTION.NAME", name) == (name, PLACES, {})
    [line] = caplog.text.splitlines()
    assert all(word in line for word in ("ATTENTION.NAME", name, "GTA", "OPTIONS.HEADS", "OPTIONS.GROUPS"))


def test_none_needs_no_place(write):
    assert attention("ATTENTION.NAME", "none") == ("none", [[[]], [[]], [[]], [[]]], {})


def test_the_same_name_again_changes_nothing(write, caplog):
    assert attention("ATTENTION.NAME", "GTA") == ("GTA", PLACES, {"HEADS": "ccmh", "GROUPS": 8})
    assert not caplog.text


def test_options_beside_the_new_name_count_and_are_checked(write):
    assert attention("ATTENTION.OPTIONS.POOL", "after", "ATTENTION.NAME", "NL")[2] == {"POOL": "after"}
    with pytest.raises(ConfigError) as refused:
        attention("ATTENTION.NAME", "NL", "ATTENTION.OPTIONS.GROUPS", 4)
    assert refused.value.keys == ("ATTENTION.OPTIONS.GROUPS",)
    write(nl="_BASE_: gta.yaml\nATTENTION: {OPTIONS: {GROUPS: 4}, NAME: NL}\n")
    with pytest.raises(ConfigError) as refused:
        attention(file="nl.yaml")
    assert refused.value.keys == ("ATTENTION.OPTIONS.GROUPS",)


def test_a_place_beside_none_stays_an_error(write):
    with pytest.raises(ConfigError):
        attention("ATTENTION.NAME", "none", "ATTENTION.LOCATION", PLACES)


def test_a_file_over_another_one(write):
    write(nl="_BASE_: gta.yaml\nATTENTION: {NAME: NL}\n", back="_BASE_: nl.yaml\nATTENTION: {NAME: GTA}\n")
    assert attention(file="nl.yaml") == ("NL", PLACES, {})
    assert attention(file="back.yaml") == ("GTA", PLACES, {})


def test_options_written_before_any_block_stay(write):
    write(options=NETWORK + "ATTENTION: {OPTIONS: {POOL: after}}\n")
    write(nl=f"_BASE_: options.yaml\nATTENTION: {{NAME: NL, LOCATION: {PLACES}}}\n")
    assert attention(file="nl.yaml") == ("NL", PLACES, {"POOL": "after"})


@pytest.mark.parametrize("empty", ["{}", {}])
def test_options_can_be_cleared(write, empty):
    assert attention("ATTENTION.OPTIONS", empty) == ("GTA", PLACES, {})
    assert attention("ATTENTION.OPTIONS", empty, "ATTENTION.OPTIONS.GROUPS", 2)[2] == {"GROUPS": 2}
    write(cleared="_BASE_: gta.yaml\nATTENTION: {OPTIONS: {}}\n")
    assert attention(file="cleared.yaml")[2] == {}


@pytest.mark.parametrize("some", ["{groups: 4}", "{GROUPS: 4}", {"groups": 4}])
def test_options_can_be_given_together(write, some):
    assert attention("ATTENTION.OPTIONS", some)[2] == {"HEADS": "ccmh", "GROUPS": 4}


def test_a_refinement_is_removed_with_its_block(write, caplog):
    write(w3="_BASE_: gta.yaml\nATTENTION: {NAME: W3, REFINE: AFR}\n")
    assert load_config("w3.yaml").ATTENTION.REFINE == "AFR"
    assert load_config("w3.yaml", ["ATTENTION.NAME", "NL"]).ATTENTION.REFINE == "none"
    assert "ATTENTION.REFINE" in caplog.text.splitlines()[-1]


# ---------------------------------------------------------------------------------------------------- in stages


def stages(*overrides):
    return {stage.name: stage.cfg for stage in build_stages(load_config("staged.yaml", overrides))}


def test_stages_as_they_are(write):
    found = stages()
    assert found["backbone"].ATTENTION.NAME == "none" and found["backbone"].SOLVER.MAX_EPOCH == 300
    assert dict(found["tuned"].ATTENTION.OPTIONS) == {"HEADS": "ccmh", "GROUPS": 4}


def test_the_command_line_reaches_every_stage(write, caplog):
    assert {cfg.SOLVER.MAX_EPOCH for cfg in stages("SOLVER.MAX_EPOCH", 2).values()} == {2}
    [line] = caplog.text.splitlines()
    assert all(word in line for word in ("SOLVER.MAX_EPOCH", "tuned", "40"))


def test_one_stage_alone(write):
    for overrides in (
        ["STAGES.tuned.SOLVER.MAX_EPOCH", 7],
        ["STAGES.tuned.SOLVER.MAX_EPOCH", 7, "SOLVER.MAX_EPOCH", 2],
    ):
        found = stages(*overrides)
        assert found["tuned"].SOLVER.MAX_EPOCH == 7
        assert (2 if len(overrides) > 2 else 300) == found["backbone"].SOLVER.MAX_EPOCH


def test_the_block_of_one_stage(write):
    found = stages("STAGES.tuned.ATTENTION.NAME", "NL")["tuned"].ATTENTION
    assert (found.NAME, found.LOCATION, dict(found.OPTIONS)) == ("NL", PLACES, {})
    with pytest.raises(ConfigError) as refused:
        stages("STAGES.tuned.ATTENTION.NAME", "NL", "STAGES.tuned.ATTENTION.OPTIONS.GROUPS", 4)
    assert refused.value.keys == ("STAGES.tuned.ATTENTION.OPTIONS.GROUPS",)


def test_the_block_of_all_stages(write):
    found = stages("ATTENTION.NAME", "NL")
    assert [(cfg.ATTENTION.NAME, *cfg.ATTENTION.OPTIONS) for cfg in found.values()] == [("none",), ("NL",)]


def test_the_options_of_a_stage_cleared(write, tmp_path):
    from slowfast_gta.config.load import save_config

    cfg = load_config("staged.yaml", ["STAGES.tuned.ATTENTION.OPTIONS", "{}"])
    save_config(cfg, tmp_path / "saved.yaml")
    for same in (cfg, load_config("saved.yaml")):
        assert dict(build_stages(same)[1].cfg.ATTENTION.OPTIONS) == {}
    assert dict(stages("ATTENTION.OPTIONS", "{}")["tuned"].ATTENTION.OPTIONS) == {}


def test_stages_from_python(write):
    mine = {"STAGES": {"tuned": {"ATTENTION": {"NAME": "TA"}, "SOLVER": {"MAX_EPOCH": 5}}}}
    found = {stage.name: stage.cfg for stage in build_stages(load_config("staged.yaml", mine))}
    assert found["tuned"].ATTENTION.NAME == "TA" and found["tuned"].SOLVER.MAX_EPOCH == 5
    assert dict(found["tuned"].ATTENTION.OPTIONS) == {}


@pytest.mark.parametrize("name", ["sgd", "SGD", "Adam", "adamw", "AdamW"])
def test_optimisers_in_any_case(write, name):
    assert name.lower() == load_config("gta.yaml", ["SOLVER.OPTIMIZING_METHOD", name]).SOLVER.OPTIMIZING_METHOD
