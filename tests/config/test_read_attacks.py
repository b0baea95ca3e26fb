"""YAML configs that attack: refused in a sentence that names the file, whatever is in them; nothing runs or swells."""

import pytest

from slowfast_gta import load_config
from slowfast_gta.errors import ConfigError


def laughs(levels: int = 9) -> str:
    """A list that names the one before nine times, and so on."""
    parts = [f"&b{level} [{', '.join([f'*b{level - 1}'] * 9 if level else ['1'] * 9)}]" for level in range(levels)]
    return f"[{', '.join(parts)}]"


ATTACKS = {
    "laughs": f"DATA:\n  MEAN: {laughs()}",
    "laughs in an option": f"ATTENTION:\n  OPTIONS:\n    x: {laughs()}",
    "laughs in a text": f'DATA:\n  MEAN: "{laughs()}"',
    "a list in itself": "DATA:\n  MEAN: &a [*a]",
    "a section merged into itself": "TRAIN: &a\n  <<: *a",
    "a number merged": "<<: 3",
    "a list of numbers merged": "TRAIN:\n  <<: [1, 2]",
    "an empty number": 'RNG_SEED: !!int ""',
    "an empty number in a text": "RNG_SEED: \"!!int ''\"",
    "no truth": "TRAIN:\n  ENABLE: !!bool maybe",
    "no day": "RNG_SEED: 2001-99-99",
    "a number of 5000 digits": "RNG_SEED: " + "9" * 5000,
    "a number of 400 digits": "SOLVER:\n  BASE_LR: " + "9" * 400,
    "half a letter": 'OUTPUT_DIR: "\\ud800"',
    "a base without an end": "_BASE_: /dev/zero",
    "a base that is a folder": "_BASE_: /",
    "a base with a byte 0": '_BASE_: "a\\0b"',
    "a tag of its own": '%TAG ! tag:yaml.org,2002:python/\n---\nRNG_SEED: !object/apply:os.system ["true"]',
    "code as a key": "!!python/object/apply:os.system [true]: 1",
    "code in a list": "DATA:\n  MEAN: [!!python/name:os.system '']",
    "sums in a text": 'RNG_SEED: "9**9**9"',
}


@pytest.mark.parametrize("name", ATTACKS)
def test_refused_in_a_sentence(tmp_path, name):
    (tmp_path / "c.yaml").write_text(ATTACKS[name])
    with pytest.raises(ConfigError, match=r"c\.yaml") as caught:
        load_config(tmp_path / "c.yaml")
    assert len(str(caught.value)) < 10_000


def test_a_merge_that_is_none_is_a_fault_of_its_section(tmp_path):
    """Alone: its other keys were not read, and what follows of that is no fault of the file's."""
    (tmp_path / "a.yaml").write_text(
        "_BASE_: configs/Kinetics/SLOWFAST_8x8_R50.yaml\nSLOWFAST: {ALPHA: 7}\nDATA:\n  <<: 3\n  NUM_FRAMES: 28\n"
    )
    with pytest.raises(ConfigError, match=r"a\.yaml:4: DATA\.<<: ") as caught:
        load_config(tmp_path / "a.yaml")
    assert caught.value.keys == ("DATA",)
