"""YAML files as a flat list of settings, each of which remembers the file and line it came from.

A file may build on others: `_BASE_: base.yaml` (or a list of files), relative to the file that says so.
"""

import difflib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from fvcore.common.config import CfgNode

from slowfast_gta.config.plugins import expanded
from slowfast_gta.config.settings import COMMAND_LINE, OPTIONS, STAGES, Fault, Setting
from slowfast_gta.config.trust import RUN_CONFIG
from slowfast_gta.errors import ConfigError
from slowfast_gta.plain_yaml import PlainLoader

_BASE = "_BASE_"
_logger = logging.getLogger(__name__)


def packaged_configs() -> Path:
    """The folder of the configs that come with slowfast_gta: inside the installed package, or the repository's."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def find_config(name: Path, folder: Path = Path()) -> Path:
    """`name` in `folder`, else the packaged config of that name, logged as a warning.

    Raises ConfigError, with near names, for a config that is nowhere.
    """
    path = folder / name
    if path.is_dir():
        raise ConfigError(f"{name} is a folder. Name a .yaml file in it.")
    if path.exists():
        return path
    packaged = packaged_configs()
    if not name.is_absolute():
        inside = packaged.joinpath(*(name.parts[1:] if name.parts[0] == "configs" else name.parts))
        if inside.is_file():
            _logger.warning("%s is not in %s: using the packaged %s.", name, folder.resolve(), inside)
            return inside
    known = [*path.parent.glob("*.y*ml"), *packaged.rglob("*.yaml")]
    files = {candidate.name: shown(candidate) for candidate in reversed(known)}
    near = [files[near] for near in difflib.get_close_matches(path.name, files, n=3, cutoff=0.6)]
    hint = f" Near names: {', '.join(near)}." if near else ""
    raise ConfigError(f"There is no config {name} in {folder.resolve()}, nor in {packaged}.{hint}")


def shown(path: Path) -> str:
    """`path` as people like to read it: relative where it lies below the current folder."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links the user did not name
    cwd = Path.cwd()
    return str(absolute.relative_to(cwd)) if absolute.is_relative_to(cwd) else str(absolute)


def read_file(path: Path, schema: CfgNode, chain: tuple[Path, ...] = ()) -> tuple[list[Setting], list[Fault]]:
    """The settings of `path` and, before them, of the files it builds on. `chain` are the files that led here."""
    try:
        loader = PlainLoader(path.read_text(encoding="utf-8"))
        top = loader.get_single_node()
    except yaml.YAMLError as error:
        return [], [_syntax_fault(path, error)]
    except OSError as error:
        return [], [_unreadable(path, f"the file cannot be read: {error.strerror}.")]
    except RecursionError:
        return [], [_unreadable(path, "its brackets are nested too deeply to be read.")]
    except UnicodeDecodeError as error:
        return [], [_unreadable(path, f"this is not a text file: byte {error.start} is not UTF-8.")]
    if not isinstance(top, yaml.MappingNode):
        return [], [
            _unreadable(path, "a config consists of keys and values (TRAIN: and so on), but there are none here.")
        ]
    faults: list[Fault] = []
    own = list(_walk(loader, top, schema, "", path, faults, schema))
    settings: list[Setting] = []
    for base in (setting for setting in own if setting.key == _BASE):
        for inherited in _base_files(base, faults):
            if inherited.resolve() in (link.resolve() for link in (*chain, path)):
                circle = " -> ".join(shown(link) for link in (*chain, path, inherited))
                faults.append(Fault("", f"{_BASE} goes in a circle: {circle}.", where=base.where))
                continue
            base_settings, base_faults = read_file(inherited, schema, (*chain, path))
            settings += base_settings
            faults += base_faults
    settings += [setting for setting in own if setting.key != _BASE]
    if path.name == RUN_CONFIG:
        settings = [setting._replace(run_config=setting.run_config or path) for setting in settings]
    return settings, faults


def read_overrides(overrides: Sequence | Mapping[str, object], schema: CfgNode) -> tuple[list[Setting], list[Fault]]:
    """KEY, VALUE, KEY, VALUE, ... or {KEY: VALUE} as settings. A section (TRAIN) may be given a dict."""
    if isinstance(overrides, Mapping):
        overrides = [item for pair in overrides.items() for item in pair]
    settings: list[Setting] = []
    faults: list[Fault] = []
    for index in range(0, len(overrides), 2):
        key, *value = overrides[index : index + 2]
        if not isinstance(key, str):
            faults.append(Fault("", f"overrides are KEY, VALUE pairs, but {key!r} is not a key.", where=COMMAND_LINE))
        elif not value:
            faults.append(Fault(key, f"{key} has no value. Overrides are KEY VALUE pairs.", where=COMMAND_LINE))
        else:
            settings += _flat(key, value[0], schema)
    return settings, faults


def _flat(key: str, value: object, schema: CfgNode) -> Iterator[Setting]:
    node = schema
    for part in key.split("."):
        node = node.get(part) if isinstance(node, CfgNode) else None
    if isinstance(node, CfgNode) and isinstance(value, dict) and (value or key != OPTIONS):
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}", inner, schema)
    else:
        yield Setting(key, value, COMMAND_LINE, Path.cwd())


def _walk(
    loader: PlainLoader,
    node: yaml.MappingNode,
    schema: CfgNode,
    prefix: str,
    path: Path,
    faults: list[Fault],
    root: CfgNode,
) -> Iterator[Setting]:
    """The settings of one mapping, descending where `schema` has a section of that name; a stage's is all of `root`."""
    lines: dict[str, int] = {}
    for key_node, _ in node.value:
        name, line = str(key_node.value), key_node.start_mark.line + 1
        if name in lines and name != "<<":
            text = f"{prefix}{name} is already set in line {lines[name]} of this file. Keep only one."
            faults.append(Fault(prefix + name, text, where=f"{shown(path)}:{line}"))
        lines[name] = line
    try:
        loader.flatten_mapping(node)
    except yaml.constructor.ConstructorError as error:
        text = f"{prefix}<<: {error.problem}. It takes in the keys of another part of this file: <<: *NAME."
        faults.append(Fault(prefix.rstrip("."), text, where=f"{shown(path)}:{node.start_mark.line + 1}"))
        return
    for key_node, value_node in node.value:
        name = str(key_node.value)
        key, where = prefix + name, f"{shown(path)}:{key_node.start_mark.line + 1}"
        section = schema.get(name)
        if prefix == f"{STAGES}." and isinstance(value_node, yaml.MappingNode):
            yield Setting(key, {}, where, path.parent)  # a stage is there even where it says nothing
            section = root
        if isinstance(section, CfgNode) and isinstance(value_node, yaml.MappingNode):
            if not value_node.value and key.endswith(OPTIONS):
                yield Setting(key, {}, where, path.parent)  # none of those that a file before this one has
            yield from _walk(loader, value_node, section, f"{key}.", path, faults, root)
            continue
        try:
            value = loader.construct_object(value_node, deep=True)
        except yaml.constructor.ConstructorError as error:
            text = (
                f"{key}: {error.problem}. A config may only contain plain numbers, text and lists, and never runs code."
            )
            faults.append(Fault(key, text, where=f"{shown(path)}:{value_node.start_mark.line + 1}"))
            continue
        if not (isinstance(section, CfgNode) and value is None):  # a section whose lines are all commented out
            yield Setting(key, value, where, path.parent)


def _base_files(base: Setting, faults: list[Fault]) -> Iterator[Path]:
    names = base.value if isinstance(base.value, list) else [base.value]
    for name in names:
        if not isinstance(name, str):
            faults.append(Fault("", f"{_BASE} names a file or a list of files, not {name!r}.", where=base.where))
            continue
        try:
            inherited = find_config(expanded(name), base.folder)
            if not inherited.is_file():  # a device or a pipe, which may have no end
                raise ConfigError(f"{name} is no file.")
            yield inherited
        except ConfigError as error:
            faults.append(Fault("", f"{_BASE}: {error}", where=base.where))


def _syntax_fault(path: Path, error: yaml.YAMLError) -> Fault:
    if isinstance(error, yaml.reader.ReaderError):
        return _unreadable(path, f"this is not a text file: character {error.position} cannot occur in text.")
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    return _unreadable(path, f"this is not YAML: {problem or error}.", mark.line + 1 if mark else None)


def _unreadable(path: Path, text: str, line: int | None = None) -> Fault:
    return Fault("", text, where=f"{shown(path)}:{line}" if line else shown(path))
