"""From a YAML and KEY, VALUE pairs to a frozen config, or to one report of everything that is wrong with them."""

import difflib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from fvcore.common.config import CfgNode

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.plugins import import_plugin, plugin_name
from slowfast_gta.config.pyslowfast import translated
from slowfast_gta.config.read import COMMAND_LINE, Fault, Setting, find_config, read_file, read_overrides, shown
from slowfast_gta.config.values import fitted_value, option_value
from slowfast_gta.errors import ConfigError
from slowfast_gta.files import write_whole

_OPTIONS = "ATTENTION.OPTIONS."
_STAGES = "STAGES."
_NAMES = ("MODEL.MODEL_NAME", "TRAIN.DATASET", "TEST.DATASET", "ATTENTION.NAME")
_LINE = re.compile(r"(.*?)(?::(\d+))?")  # configs/a.yaml:12
_logger = logging.getLogger(__name__)


def load_config(path: str | Path, overrides: Sequence = ()) -> CfgNode:
    """The frozen config of one YAML, its `_BASE_` chain included, then of `overrides` (KEY, VALUE, KEY, VALUE ...).

    A path that is not there is looked for among the packaged configs. PLUGINS are imported. Data paths are
    not looked at. Raises ConfigError: one report of all faults, each with its file and line.
    """
    # Not above: it imports the networks, hence torch, and --help needs neither. Before the plugins, which may
    # not take a name that is ours.
    from slowfast_gta.config.check import check_config

    found = find_config(Path(path).expanduser())
    cfg = get_defaults()
    settings, faults = read_file(found, cfg)
    more_settings, more_faults = read_overrides(overrides, cfg)
    settings, notices, absent = translated(settings + more_settings)
    every_file_read = all(fault.keys for fault in faults)
    faults += more_faults + absent
    set_at: dict[str, str] = {}
    for setting in settings:
        if setting.key.startswith(_OPTIONS):  # these may be written in small letters, as in the block's code
            setting = setting._replace(key=_OPTIONS + setting.key.removeprefix(_OPTIONS).upper())
        fault = load_setting(cfg, setting)
        if fault:
            faults.append(fault)
        else:
            set_at[setting.key] = setting.where
    notices += _unused_rates(cfg.SOLVER.STEPS, cfg.SOLVER.LRS, set_at)
    for plugin in cfg.PLUGINS:
        try:
            import_plugin(plugin)
        except ConfigError as error:
            faults.append(Fault(set_at["PLUGINS"], f"PLUGINS: {error}", _NAMES))
    if every_file_read:
        faults += _cross_faults(check_config(cfg), faults, set_at)
    if cfg.STAGES and not faults:
        faults += _stage_faults(cfg, set_at)
    for notice in notices:
        _logger.warning("%s", notice)
    if faults:
        raise ConfigError(_report(found, faults))
    cfg.freeze()
    return cfg


def save_config(cfg: CfgNode, path: str | Path) -> None:
    """Write all of `cfg` as YAML; load_config reads it back as an equal config."""
    text = yaml.dump(_plain_dict(cfg), Dumper=_PlainDumper, sort_keys=False, default_flow_style=None, width=120)
    write_whole(path, text)


def load_flat(cfg: CfgNode) -> dict[str, str]:
    """Every key of `cfg` by its dotted name, with its value as text."""
    return {key: repr(value) for key, value in _flattened(_plain_dict(cfg)).items()}


class _PlainDumper(yaml.SafeDumper):
    """Writes a list that stands in two places twice, not as an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping, flow_style=None) -> yaml.Node:
        return super().represent_mapping(tag, mapping, flow_style=not mapping)


def _plain_dict(node: object) -> object:
    return {key: _plain_dict(value) for key, value in node.items()} if isinstance(node, dict) else node


def load_setting(cfg: CfgNode, setting: Setting) -> Fault | None:
    """Puts one setting into `cfg`, or says what is wrong with it."""
    key, value, where, folder = setting
    if key.startswith(_OPTIONS):
        cfg.ATTENTION.OPTIONS[key.removeprefix(_OPTIONS).upper()] = option_value(value, where == COMMAND_LINE)
        return None
    if key.startswith(_STAGES):
        return _set_in_stage(cfg, setting)
    *sections, name = key.split(".")
    node = cfg
    for section in sections:
        node = node.get(section) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or name not in node:
        near = _near_key(key, cfg)
        hint = f" Did you mean {' or '.join(near)}?" if near else " slowfast_gta/config/defaults.py has them all."
        return Fault(where, f"{key} is not a key.{hint}", (key, *near))
    if isinstance(node[name], CfgNode):
        return Fault(
            where, f"{key} is a section of keys ({key}.{next(iter(node[name]), 'KEY')}), not {value!r}.", (key,)
        )
    try:
        value = fitted_value(key, value, node[name])
    except ValueError as error:
        return Fault(where, str(error), (key,))
    node[name] = [plugin_name(item, folder) for item in value] if key == "PLUGINS" else value
    return None


def _set_in_stage(cfg: CfgNode, setting: Setting) -> Fault | None:
    """STAGES.name.KEY, or STAGES.name with a mapping of sections and keys: kept as they are, by their dotted names."""
    name, _, key = setting.key.removeprefix(_STAGES).partition(".")
    keys = {key: setting.value} if key else setting.value
    if not isinstance(keys, dict | None):
        return Fault(
            setting.where, f"STAGES.{name} must hold keys, as START_FROM or SOLVER, not {keys!r}.", ("STAGES",)
        )
    cfg.STAGES.setdefault(name, CfgNode()).update(_flattened(keys or {}))
    return None


def _flattened(keys: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in keys.items():
        flat |= _flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _stage_faults(cfg: CfgNode, set_at: dict[str, str]) -> list[Fault]:
    """What is wrong in the configs of the stages, at the line that names the stage."""
    from slowfast_gta.config.stages import load_stages

    try:
        load_stages(cfg)
    except ConfigError as error:
        lines = str(error).splitlines()
        return [
            Fault(next((at for key, at in set_at.items() if line.startswith(key + ":")), "STAGES"), line)
            for line in lines
        ]
    return []


def _near_key(key: str, root: CfgNode) -> list[str]:
    """The keys that `key` may have been meant for: the same word in other sections, else the nearest spelling."""
    known = _dotted_keys(root)
    word = key.upper()
    same = [name for name in known if name.rpartition(".")[2] == word.rpartition(".")[2]]
    if word in same:
        return [word]
    near = difflib.get_close_matches(word, [*known, *(name for name in root if isinstance(root[name], CfgNode))], n=1)
    return near if near and near[0].partition(".")[0] == word.partition(".")[0] else same[:3] or near


def _dotted_keys(node: CfgNode, prefix: str = "") -> list[str]:
    keys = []
    for name, value in node.items():
        keys += _dotted_keys(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else [prefix + name]
    return keys


def _unused_rates(steps: list, rates: list, set_at: dict[str, str]) -> list[str]:
    if not 0 < len(steps) < len(rates):
        return []
    unused = ", ".join(map(str, rates[len(steps) :]))
    where = set_at.get("SOLVER.LRS")
    return [f"{where}: SOLVER.LRS has {len(rates)} values for {len(steps)} SOLVER.STEPS; not used: {unused}."]


def _cross_faults(texts: list[str], faults: list[Fault], set_at: dict[str, str]) -> list[Fault]:
    """check_config's faults with the place that set the first key they name, but for those explained by `faults`."""
    explained = {key for fault in faults for key in fault.keys}
    found = []
    for text in texts:
        words = [word.strip(".,:;()[]'") for word in text.split()]
        if not any(word == key or word.startswith(f"{key}.") for word in words for key in explained):
            found.append(Fault(_place(words, set_at), text))
    return found


def _place(words: list[str], set_at: dict[str, str]) -> str:
    """Where the first key among `words` was set; a block's options are blamed before the choice of the block."""
    options = [key for key in set_at if key.startswith(_OPTIONS)]
    for word in words:
        if word in set_at:
            return set_at[word]
        if f"{word}." == _OPTIONS:
            named = [key for key in options if key.removeprefix(_OPTIONS) in words]
            return set_at[(named or options or ["ATTENTION.NAME"])[0]]
    return "defaults"


def _report(path: Path, faults: list[Fault]) -> str:
    """All faults, those of one file together and in the order of its lines."""
    files = [_LINE.fullmatch(fault.where)[1] for fault in faults]

    def position(fault: Fault) -> tuple[int, int]:
        file, line = _LINE.fullmatch(fault.where).groups()
        return files.index(file), int(line or 0)

    lines = [f"{fault.where}: {fault.text}" for fault in sorted(faults, key=position)]
    lines = list(dict.fromkeys(lines))
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    return "\n  ".join([f"The config {shown(path)} has {count}:", *lines])
