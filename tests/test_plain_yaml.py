"""YAML of strangers: what the safe loader fails at, or swells on, is one kind of error; all else is read as before."""

import pytest
import yaml

from slowfast_gta.plain_yaml import MOST_REPEATED, PlainLoader, load_yaml


def laughs(levels: int, wide: int = 9, join: str = "[{}]") -> str:
    """Each level names the one before `wide` times."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        aliases = join.format(", ".join([f"*a{level - 1}"] * wide))
        lines.append(f"a{level}: &a{level} {aliases}")
    return "\n".join(lines)


ATTACKS = {
    "a thousand million laughs": laughs(10),
    "laughs by merging": laughs(10, join="{{<<: [{}]}}"),
    "laughs in flow": "[" + "&a [1], " + "&b [*a, *a], &c [*b, *b], " + ", ".join(["*c"] * MOST_REPEATED) + "]",
    "an alias in its own list": "a: &a [*a]",
    "an alias in its own mapping": "a: &a {b: *a}",
    "merged into itself": "a: &a\n  <<: *a",
    "an empty whole number": 'a: !!int ""',
    "an empty number": 'a: !!float ""',
    "no truth": "a: !!bool maybe",
    "no time": "a: !!timestamp yesterday",
    "a day that there is not": "a: 2001-99-99",
    "more digits than Python reads": "a: " + "9" * 5000,
    "half a character": 'a: "\\ud800"',
    "half a character as a key": '"\\udbff": a',
    "a list as a key": "? [a]\n: b",
    "nested deep": "a: " + "[" * 20_000,
    "python name": "a: !!python/name:os.system",
    "python object": "a: !!python/object/apply:os.system [true]",
    "python object as a key": "!!python/object/apply:os.system [true]: a",
    "python module": "!!python/module:os ''",
    "a tuple": "a: !!python/tuple [1]",
    "binary that is none": "a: !!binary é",
    "two documents": "a: 1\n---\nb: 2",
    "bytes that are no text": b"a: \xff\xfe\xfd",
    "a byte 0": "a: \0",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_one_kind_of_error(name):
    with pytest.raises(yaml.YAMLError):
        load_yaml(ATTACKS[name])


@pytest.mark.parametrize(
    "text",
    [
        "a: {b: [1, 2.5, 1e3, 0x10, 1_000, 1:30, null, ~, true, 'x', 2001-01-01, !!str 3]}",
        "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]",
        "a: &a 3\n" + "\n".join(f"k{number}: *a" for number in range(500)),
        "",
        "- 1\n- !!set {a}\n- !!omap [a: 1]\n- !!binary aGk=",
        laughs(4),
    ],
)
def test_all_else_is_what_the_safe_loader_reads(text):
    assert load_yaml(text) == yaml.safe_load(text)
    assert load_yaml(text.encode()) == yaml.safe_load(text)


def test_one_object_for_one_name():
    found = load_yaml("a: &a [1]\nb: *a")
    assert found["a"] is found["b"]


def test_a_node_is_read_by_a_loader_of_its_own():
    node = PlainLoader("a: !!int ''").get_single_node()
    with pytest.raises(yaml.constructor.ConstructorError):
        PlainLoader("").construct_document(node)
