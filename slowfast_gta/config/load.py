"""From a YAML and KEY, VALUE pairs to a frozen config, or to one report of everything that is wrong with them."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from fvcore.common.config import CfgNode

from slowfast_gta.config.extension import Extra, extended_defaults, extended_types, extension_of
from slowfast_gta.config.paths import resolve_paths
from slowfast_gta.config.plugins import expanded, import_plugin
from slowfast_gta.config.precedence import settle
from slowfast_gta.config.pyslowfast import translated
from slowfast_gta.config.read import find_config, read_file, read_overrides, shown
from slowfast_gta.config.settings import OPTIONS, Fault, Setting, file_and_line, flattened, put_setting, where_set
from slowfast_gta.config.trust import is_trusted
from slowfast_gta.errors import ConfigError, counted
from slowfast_gta.files import write_whole

_NAMES = ("MODEL.MODEL_NAME", "TRAIN.DATASET", "TEST.DATASET", "ATTENTION.NAME")
_logger = logging.getLogger(__name__)


def load_config(
    path: str | Path, overrides: Sequence | Mapping[str, object] = (), extra: Extra = None, trust_plugins: bool = False
) -> CfgNode:
    """The frozen config of one YAML, its `_BASE_` chain included, then of `overrides`.

    path: one that is not there is looked for among the packaged configs.
    overrides: KEY, VALUE, KEY, VALUE ..., or {KEY: VALUE}, where a section may hold a dict of its own.
    extra: sections of a project's own, for this load only: their defaults or, with types and checks, a
        ConfigExtension. A config.yaml that was saved with them is loaded with them.
    trust_plugins: import also the PLUGINS of a run (a config.yaml) that this user has not trained; they are code.
    PLUGINS are imported. Paths become absolute (config/paths.py); what lies there is not looked at. Raises ConfigError:
    one report of all faults, each with its file and line.
    """
    # Not above: they import the networks, hence torch, and --help needs neither. Before the plugins, which may
    # not take a name that is ours.
    from slowfast_gta.config.stages import check_stages, check_with_extension

    file = find_config(expanded(path))
    extension = extension_of(extra)
    cfg = extended_defaults(extension)
    settings, faults = read_file(file, cfg)
    every_file_read = all(fault.key for fault in faults)
    more_settings, more_faults = read_overrides(overrides, cfg)
    settings, notices, absent = translated(list(map(_with_option_in_capitals, settings + more_settings)))
    settings, dropped = settle(settings)
    notices += dropped
    faults += more_faults + absent
    key_types = extended_types(extension)
    set_at: dict[str, str] = {}
    for setting in settings:
        fault = put_setting(cfg, setting, key_types)
        if fault:
            faults.append(fault)
        else:
            set_at[setting.key] = setting.where
    notices += _unused_rates(cfg.SOLVER.STEPS, cfg.SOLVER.LRS, set_at)
    about_paths, wrong_paths = resolve_paths(cfg, file.stem, set_at)
    notices += about_paths
    faults += wrong_paths
    faults += _strangers_plugins(settings, trust_plugins) or _import_plugins(cfg.PLUGINS)
    if every_file_read:
        faults += _unexplained(check_with_extension(cfg, extension), faults)
    if cfg.STAGES and not faults:
        faults += check_stages(cfg, extension)
    for notice in notices:
        _logger.warning("%s", notice)
    if faults:
        raise ConfigError(_report(file, faults, set_at), [key for fault in faults for key in fault.all_keys[:1]])
    cfg.freeze()
    return cfg


def save_config(cfg: CfgNode, path: str | Path) -> None:
    """Write all of `cfg` as YAML; load_config reads it back as an equal config."""
    text = yaml.dump(_plain_dict(cfg), Dumper=_PlainDumper, sort_keys=False, default_flow_style=None, width=120)
    write_whole(path, text)


def flat_from_cfg(cfg: CfgNode) -> dict[str, str]:
    """Every key of `cfg` by its dotted name, with its value as text."""
    return {key: repr(value) for key, value in flattened(_plain_dict(cfg)).items()}


class _PlainDumper(yaml.SafeDumper):
    """Writes a list that is used twice in full each time, not as an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style=not mapping)


def _plain_dict(node: Any) -> Any:
    return {key: _plain_dict(value) for key, value in node.items()} if isinstance(node, dict) else node


def _with_option_in_capitals(setting: Setting) -> Setting:
    """These may be written in small letters, as in the block's code."""
    return setting._replace(key=setting.key.upper()) if setting.key.startswith(f"{OPTIONS}.") else setting


def _strangers_plugins(settings: Sequence[Setting], trusted: bool) -> list[Fault]:
    """A fault where the PLUGINS that would be imported are those of a run that this user has not trained."""
    named = [setting for setting in settings if setting.key == "PLUGINS"][-1:]
    return [
        Fault(
            "PLUGINS",
            f"PLUGINS are code ({setting.value}), and the run of {shown(setting.run_config)} was not trained by "
            "this user on this machine. Read them, and if you trust them, give --trust-plugins "
            "(trust_plugins=True in Python).",
            _NAMES,
        )
        for setting in named
        if setting.value and setting.run_config and not (trusted or is_trusted(setting.run_config))
    ]


def _import_plugins(plugins: Sequence[str]) -> list[Fault]:
    faults = []
    for plugin in plugins:
        try:
            import_plugin(plugin)
        except ConfigError as error:
            faults.append(Fault("PLUGINS", f"PLUGINS: {error}", _NAMES))
    return faults


def _unused_rates(steps: list, rates: list, set_at: dict[str, str]) -> list[str]:
    if not 0 < len(steps) < len(rates):
        return []
    unused = ", ".join(map(str, rates[len(steps) :]))
    where = set_at.get("SOLVER.LRS")
    return [
        f"{where}: SOLVER.LRS has {counted(len(rates), 'value')} for {len(steps)} SOLVER.STEPS; not used: {unused}."
    ]


def _unexplained(all_faults: list[Fault], faults: list[Fault]) -> list[Fault]:
    """The faults `all_faults` between keys, but for those about keys that are faulty by themselves, by `faults`."""
    explained = {key for fault in faults for key in fault.all_keys}
    return [fault for fault in all_faults if not any(fault.is_about(key) for key in explained)]


def _report(path: Path, faults: list[Fault], set_at: Mapping[str, str]) -> str:
    """All faults, those of one file together and in the order of its lines."""
    located = [(where_set(fault, set_at), fault.text) for fault in faults]
    locations = {where: file_and_line(where) for where, _ in located}
    files = [locations[where][0] for where, _ in located]

    def position(location: tuple[str, str]) -> tuple[int, int]:
        file, line = locations[location[0]]
        return files.index(file), line

    lines = dict.fromkeys(f"{where}: {text}" for where, text in sorted(located, key=position))
    return "\n  ".join([f"The config {shown(path)} has {counted(len(lines), 'fault')}:", *lines])
