"""One key with its value, what may be wrong with it, and how it gets into a config."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fvcore.common.config import CfgNode

from slowfast_gta.config.plugins import plugin_name
from slowfast_gta.config.values import CORE, KeyTypes, fitted_value, option_value
from slowfast_gta.errors import ConfigError

COMMAND_LINE = "command line"
OPTIONS = "ATTENTION.OPTIONS"
STAGES = "STAGES"


class Setting(NamedTuple):
    """One key, a value that it is given, and where."""

    key: str  # TRAIN.BATCH_SIZE
    value: object
    where: str  # configs/a.yaml:12, or "command line"
    folder: Path  # what relative plugin files are relative to
    run_config: Path | None = None  # of a run, where it is in one or in what one builds on


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and the keys (or sections) that it is about.

    key: the one to blame, by its dotted name; "" where a whole file cannot be read.
    text: a sentence.
    keys: the others that it is about. While one of all these is faulty by itself, this message may be wrong.
    where: the file and line, or "command line", where the reader knows them; else they are those that set the keys.
    """

    key: str
    text: str
    keys: tuple[str, ...] = ()
    where: str = ""

    @property
    def all_keys(self) -> tuple[str, ...]:
        """`key` and `keys`; none for a file that cannot be read."""
        return (self.key, *self.keys) if self.key else ()

    def is_about(self, key: str) -> bool:
        """Whether it is about `key`, a key or a section."""
        return any(_is_in(own, key) for own in self.all_keys)


def where_set(fault: Fault, set_at: Mapping[str, str]) -> str:
    """The file:line of `fault`, by {key: where it was set}: of the first of its keys that was set anywhere.

    A section stands where the first of its keys does; what a stage does not set itself, where the stage is named.
    """
    if fault.where:
        return fault.where
    for key in fault.all_keys:
        if setters := [at for other, at in set_at.items() if _is_in(other, key)]:
            return set_at.get(key, setters[0])
    above = fault.key
    while above := above.rpartition(".")[0]:
        if above in set_at:
            return set_at[above]
    return "defaults"


def file_and_line(where: str) -> tuple[str, int]:
    """("configs/a.yaml", 12) of configs/a.yaml:12; line 0 of what has none, as the command line."""
    file, _, line = where.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (where, 0)


def _is_in(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")


def put_setting(cfg: CfgNode, setting: Setting, key_types: KeyTypes = CORE) -> Fault | None:
    """Puts one setting into `cfg`, or says what is wrong with it."""
    try:
        return _put(cfg, setting, key_types)
    except ConfigError as error:  # a plugin's path
        return Fault(setting.key, f"{setting.key}: {error}", where=setting.where)
    except RecursionError:
        return Fault(
            setting.key, f"{setting.key}: its value is nested too deeply, or contains itself.", where=setting.where
        )


def _put(cfg: CfgNode, setting: Setting, key_types: KeyTypes) -> Fault | None:
    key, value, where, folder, _ = setting
    *sections, name = key.split(".")
    if key.startswith(f"{OPTIONS}."):
        cfg.ATTENTION.OPTIONS[key.removeprefix(f"{OPTIONS}.").upper()] = option_value(value, where == COMMAND_LINE)
        return None
    if key.startswith(f"{STAGES}."):
        return _put_into_stage(cfg, setting)
    node = cfg
    for section in sections:
        node = node.get(section) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or name not in node:
        near = near_keys(key, cfg)
        hint = f" Did you mean {' or '.join(near)}?" if near else " slowfast_gta/config/defaults.py has them all."
        return Fault(key, f"{key} is not a key.{hint}", tuple(near), where)
    if isinstance(node[name], CfgNode):
        text = f"{key} is a section of keys ({key}.{next(iter(node[name]), 'KEY')}), not {value!r}."
        return Fault(key, text, where=where)
    try:
        fitted: Any = fitted_value(key, value, node[name], key_types)
    except ValueError as error:
        return Fault(key, str(error), where=where)
    node[name] = [plugin_name(item, folder) for item in fitted] if key == "PLUGINS" else fitted
    return None


def _put_into_stage(cfg: CfgNode, setting: Setting) -> Fault | None:
    """STAGES.name.KEY, or STAGES.name with a mapping of sections and keys: kept as they are, by their dotted names."""
    _, name, *rest = setting.key.split(".", 2)
    if not rest and not isinstance(setting.value, dict | None):
        text = f"STAGES.{name} must contain keys, for example START_FROM or SOLVER, not {setting.value!r}."
        return Fault(setting.key, text, (STAGES,), setting.where)
    keys = {rest[0]: setting.value} if rest else setting.value
    stage = cfg.STAGES.setdefault(name, CfgNode())
    stage.update(flattened(keys if isinstance(keys, dict) else {}))
    if rest == [OPTIONS] and setting.value == {}:
        stage[OPTIONS] = {}  # the stage does without those of the whole config
    return None


def flattened(keys: Mapping, prefix: str = "") -> dict[str, object]:
    """{dotted name: value} of nested sections."""
    flat: dict[str, object] = {}
    for key, value in keys.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def near_keys(key: str, root: CfgNode) -> list[str]:
    """The keys that `key` may have been meant for: the same word in other sections, else the nearest spelling."""
    known = dotted_keys(root)
    word = key.upper()
    same = [name for name in known if name.rpartition(".")[2] == word.rpartition(".")[2]]
    if word in same:
        return [word]
    near = difflib.get_close_matches(word, [*known, *(name for name in root if isinstance(root[name], CfgNode))], n=1)
    return near if near and near[0].partition(".")[0] == word.partition(".")[0] else same[:3] or near


def dotted_keys(node: CfgNode, prefix: str = "") -> list[str]:
    """Every key below `node`, but for sections, by its dotted name."""
    keys: list[str] = []
    for name, value in node.items():
        keys += dotted_keys(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else [prefix + name]
    return keys
