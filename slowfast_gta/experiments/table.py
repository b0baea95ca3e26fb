"""The YAML of a table: rows of configs, seeds, what is compared, and what the papers have. docs/evidence.md has one.

Every fault names its file and line.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from fvcore.common.config import CfgNode

from slowfast_gta.config.load import load_config
from slowfast_gta.config.read import find_config, shown
from slowfast_gta.errors import ConfigError
from slowfast_gta.plain_yaml import PlainLoader

MOST_SEEDS = 1000
INTERVALS = ("t", "bootstrap")  # over seeds, by Student's t; over videos


@dataclass(frozen=True)
class Row:
    """One network of a table. `settings`: {KEY: value} over the config at `path`, in the order that they are set."""

    name: str
    path: Path
    settings: tuple[Mapping[str, object], ...]
    paper: float | None  # the paper's figure for it, percent
    where: str  # file:line


@dataclass(frozen=True)
class Table:
    """`metrics`: dotted names of results.json's numbers. `claims`: (above, below) by the papers, names of rows.
    `blind`: rows that cannot see the order of frames. `intervals`: of INTERVALS. `learning_rates`: those that each row
    is tried with, by the seeds `choosing`; empty: each row's own alone."""

    title: str
    source: str
    note: str  # what a reader of the results must know
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    reference: str
    claims: tuple[tuple[str, str], ...]
    blind: tuple[str, ...]
    intervals: str
    learning_rates: tuple[float, ...]
    choosing: tuple[int, ...]


def load_table(path: str | Path) -> Table:
    """The table at `path`, here or among the packaged ones. Raises ConfigError with file and line."""
    file = find_config(Path(path))
    top = _Mapping(file, _composed(file), "the table")
    default = top.take("CFG", str, "")
    common = top.take_settings("SET")
    rows = tuple(_rows(top, default, common))
    names = [row.name for row in rows]
    reference = top.take("REFERENCE", str, names[0])
    if reference not in names:
        top.refuse("REFERENCE", f"REFERENCE is {reference!r}; it must be a row: {', '.join(names)}.")
    intervals = top.take("INTERVALS", str, INTERVALS[0])
    if intervals not in INTERVALS:
        top.refuse("INTERVALS", f"INTERVALS is {intervals!r}; it must be one of {', '.join(INTERVALS)}.")
    seeds = _seeds(top, "SEEDS", 3)
    table = Table(
        title=top.take("TITLE", str, file.stem),
        source=top.take("SOURCE", str, ""),
        note=top.take("NOTE", str, ""),
        rows=rows,
        seeds=seeds,
        metrics=tuple(_strings(top, "METRICS", ["top1"])),
        reference=reference,
        claims=tuple(_claims(top, names)),
        blind=tuple(_blind(top, names)),
        intervals=intervals,
        learning_rates=tuple(_rates(top)),
        choosing=_seeds(top, "CHOOSING_SEEDS", [seeds[0]]),
    )
    top.check_all_taken()
    return table


def build_row(row: Row, trust_plugins: bool = False) -> CfgNode:
    """The config of a row, whatever the seed. Raises ConfigError that names the row's file and line."""
    overrides = [item for settings in row.settings for pair in settings.items() for item in pair]
    try:
        return load_config(row.path, overrides, trust_plugins=trust_plugins)
    except ConfigError as fault:
        raise ConfigError(f"{row.where}: row {row.name!r}: {fault}", fault.keys) from None


def _rows(top: "_Mapping", default: str, common: Mapping[str, object]) -> Iterator[Row]:
    node = top.node_of("ROWS")
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        top.refuse("ROWS", "ROWS must be a list of rows, each {NAME: ..., SET: {KEY: value}}.")
    names: set[str] = set()
    configs: dict[str, Path] = {}  # looked for once: the use of a packaged one is logged
    for inner in node.value:
        if not isinstance(inner, yaml.MappingNode):
            top.refuse("ROWS", "a row must have a NAME, for example {NAME: GTA, SET: {ATTENTION.NAME: GTA}}.", inner)
        row = _Mapping(top.path, inner, "a row")
        name, cfg, paper = row.take("NAME", str, ""), row.take("CFG", str, default), row.take("PAPER", float, None)
        if not name or name in names:
            row.refuse("NAME", f"NAME is {name!r}; every row must have its own.")
        if not cfg:
            row.refuse("NAME", f"row {name!r} has no config: give it, or the whole table, a CFG.")
        names.add(name)
        settings = row.take_settings("SET")
        row.check_all_taken()
        try:
            configs[cfg] = configs.get(cfg) or find_config(Path(cfg), top.path.parent)
        except ConfigError as fault:
            row.refuse("CFG", f"row {name!r}: {fault}")
        yield Row(name, configs[cfg], (common, settings), paper, row.where())


def _seeds(top: "_Mapping", key: str, default: object) -> tuple[int, ...]:
    given = top.take(key, (int, list), default)
    try:
        return seeds_of(given, key)
    except ConfigError as fault:
        top.refuse(key, str(fault))


def seeds_of(given: object, key: str = "SEEDS") -> tuple[int, ...]:
    """How many seeds, from 1 on, or a list of them. Raises ConfigError."""
    seeds = list(given) if isinstance(given, list) else []
    if isinstance(given, int) and not isinstance(given, bool) and given <= MOST_SEEDS:
        seeds = list(range(1, given + 1))
    whole = all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in seeds)
    if not whole or not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(
            f"{key} is {given}; it must be a number of seeds, 1 to {MOST_SEEDS}, or a list of different whole ones."
        )
    return tuple(seeds)


def _strings(top: "_Mapping", key: str, default: list[str]) -> list[str]:
    values = top.take(key, list, default)
    if not values or not all(isinstance(value, str) for value in values):
        top.refuse(key, f"{key} is {values}; it must be a list of names, for example [top1, pairs.choice].")
    return values


def _claims(top: "_Mapping", names: list[str]) -> Iterator[tuple[str, str]]:
    for claim in top.take("CLAIMS", list, []):
        if not isinstance(claim, list) or len(claim) != 2 or not set(map(str, claim)) <= set(names):
            message = ", ".join(names)
            top.refuse(
                "CLAIMS", f"{claim!r} is not a claim: [A, B] claims that A is above B, both of them rows of: {message}."
            )
        yield str(claim[0]), str(claim[1])


def _blind(top: "_Mapping", names: list[str]) -> Iterator[str]:
    for name in top.take("BLIND", list, []):
        if name not in names:
            top.refuse("BLIND", f"BLIND names {name!r}, which is not a row. Rows are: {', '.join(names)}.")
        yield name


def _rates(top: "_Mapping") -> Iterator[float]:
    rates = top.take("LEARNING_RATES", list, [])
    numbers = [rate for rate in rates if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0]
    if len(numbers) < len(rates) or len(set(numbers)) < len(rates) or len(rates) == 1:
        top.refuse("LEARNING_RATES", f"LEARNING_RATES is {rates}; it must be two or more different numbers above 0.")
    yield from map(float, numbers)


def _composed(path: Path) -> yaml.MappingNode:
    try:
        node = PlainLoader(path.read_text(encoding="utf-8")).get_single_node()
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(fault, "problem", None) or fault
        raise ConfigError(f"{shown(path)}{line}: this is not YAML: {problem}.") from None
    except (OSError, UnicodeDecodeError, RecursionError) as fault:
        raise ConfigError(f"{shown(path)}: the file cannot be read: {fault}.") from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{shown(path)}: a table consists of keys (ROWS, CFG, SEEDS), but there are none here.")
    return node


class _Mapping:
    """A mapping of the file whose keys are taken one by one, so that what is left over is a fault."""

    def __init__(self, path: Path, node: yaml.MappingNode, what: str):
        self.path, self._node, self._what = path, node, what
        self._nodes: dict[str, yaml.Node] = {}
        self._taken: dict[str, None] = {}
        for key_node, value in node.value:
            key = str(key_node.value)
            if key in self._nodes:
                raise ConfigError(f"{self._at(key_node)}: {key} occurs twice in {what}. Keep only one.")
            self._nodes[key] = value

    def where(self) -> str:
        return self._at(self._node)

    def node_of(self, key: str) -> yaml.Node | None:
        self._taken[key] = None
        return self._nodes.get(key)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        """The value of `key`, of this type; a whole number will do for a number."""
        node = self.node_of(key)
        if node is None:
            return default
        value = self._value(node)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if kind is str and isinstance(value, int | float):
            value = str(value)
        if not isinstance(value, kind) or isinstance(value, bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            allowed = " or ".join(
                {str: "text", float: "a number", int: "a whole number", list: "a list"}[k] for k in kinds
            )
            self.refuse(key, f"{key} is {value!r}; it must be {allowed}.")
        return value

    def take_settings(self, key: str) -> dict[str, object]:
        """{KEY: value} as load_config takes them; a section may hold a mapping of its own."""
        node = self.node_of(key)
        value = {} if node is None else self._value(node)
        if not isinstance(value, dict):
            self.refuse(key, f"{key} is {value!r}; it must contain config keys, for example {{SOLVER.MAX_EPOCH: 3}}.")
        return {str(name): item for name, item in value.items()}

    def _value(self, node: yaml.Node) -> Any:
        try:
            return PlainLoader("").construct_document(node)
        except yaml.constructor.ConstructorError as fault:
            raise ConfigError(
                f"{self._at(node)}: {fault.problem}. A table may only contain numbers, text and lists."
            ) from None

    def check_all_taken(self) -> None:
        for key, node in self._nodes.items():
            if key not in self._taken:
                message = ", ".join(self._taken)
                raise ConfigError(
                    f"{self._at(node)}: {key} is not a key of {self._what}. The keys are: {message}.", [key]
                )

    def refuse(self, key: str, text: str, node: yaml.Node | None = None) -> NoReturn:
        raise ConfigError(f"{self._at(node or self._nodes.get(key) or self._node)}: {text}", [key])

    def _at(self, node: yaml.Node) -> str:
        return f"{shown(self.path)}:{node.start_mark.line + 1}"
