"""The runs that tables take: one for each (config, seed), made once however many rows and tables name it.

A run's folder is named by a digest of its resolved config, seed included.
"""

import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.load import flat_from_cfg
from slowfast_gta.config.paths import is_path
from slowfast_gta.errors import ConfigError
from slowfast_gta.experiments.table import Table, build_row

# Where a run writes, and nothing that it computes.
_OF_NO_RUN = ("OUTPUT_DIR", "LOG_PERIOD", "LOG_MODEL_INFO", "TENSORBOARD.ENABLE", "TEST.REPORT", "METRICS_WRITERS")


@dataclass(frozen=True)
class PlannedRun:
    """One run. `keys`: what its results depend on, {KEY: value as text}, without those at their defaults. `rate`: its
    SOLVER.BASE_LR."""

    row: str
    seed: int
    digest: str
    cfg: CfgNode
    keys: Mapping[str, str]
    rate: float

    @property
    def folder(self) -> Path:
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def results_folder(self) -> Path:
        """Where it leaves its results: of a training in stages, the last one's."""
        return self.folder / list(self.cfg.STAGES)[-1] if self.cfg.STAGES else self.folder


def build_plan(
    table: Table,
    seeds: Sequence[int],
    runs_dir: Path,
    rates: Mapping[str, Sequence[float]] | None = None,
    trust_plugins: bool = False,
) -> list[PlannedRun]:
    """The runs of `table`, row by row. `rates`: {row: learning rates instead of its own}, of these rows only.

    Raises ConfigError for a row that cannot be run, or is another one again.
    """
    planned: list[PlannedRun] = []
    rows: dict[str, str] = {}
    for row in table.rows:
        if rates is not None and row.name not in rates:
            continue
        cfg_of_row = build_row(row, trust_plugins)
        for rate in rates[row.name] if rates is not None else [cfg_of_row.SOLVER.BASE_LR]:
            for seed in seeds:
                run = _planned_from_cfg(cfg_of_row, row.name, seed, rate, runs_dir)
                if (other := rows.setdefault(run.digest, row.name)) != row.name:
                    raise ConfigError(
                        f"{row.where}: row {row.name!r} has the same config as row {other!r}. Remove one."
                    )
                planned.append(run)
    return planned


def _planned_from_cfg(cfg_of_row: CfgNode, row: str, seed: int, rate: float, runs_dir: Path) -> PlannedRun:
    cfg = cfg_of_row.clone()
    cfg.defrost()
    cfg.RNG_SEED, cfg.SOLVER.BASE_LR = seed, rate
    keys = keys_from_cfg(cfg)
    digest = digest_of(keys)
    cfg.OUTPUT_DIR = str(runs_dir / digest)
    cfg.freeze()
    return PlannedRun(row, seed, digest, cfg, keys, float(rate))


def unique_runs(plans: Sequence[Sequence[PlannedRun]]) -> list[PlannedRun]:
    """Each run of several tables once, the first seed of all rows before the second."""
    runs = {run.digest: run for plan in plans for run in plan}
    return sorted(runs.values(), key=lambda run: run.seed)


@functools.cache
def flat_defaults() -> dict[str, str]:
    """{KEY: its default as text}."""
    return flat_from_cfg(get_defaults())


def keys_from_cfg(cfg: CfgNode) -> dict[str, str]:
    """What results depend on: {KEY: value as text}, but for defaults; paths below the current folder relative to it."""
    defaults = flat_defaults()
    keys = {}
    for key, value in flat_from_cfg(cfg).items():
        if key in _OF_NO_RUN or value == defaults.get(key):
            continue
        keys[key] = f"{os.path.relpath(value[1:-1])!r}" if is_path(key) and value.startswith("'/") else value
    return keys


def digest_of(keys: Mapping[str, str]) -> str:
    """16 letters that stand for `keys`."""
    return hashlib.sha256(repr(sorted(keys.items())).encode()).hexdigest()[:16]
