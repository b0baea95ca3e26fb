"""What finished runs left, as one small record each, which can be kept apart from the run.

A kept record is DIR/<digest of the run>.json: its results, the keys that they depend on, what the network costs. The
digest leaves out what is at its default, so that a new key does not make old results useless: DIR/defaults.json says
what the defaults were.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from slowfast_gta.benchmarks.complexity import FILE as COMPLEXITY
from slowfast_gta.benchmarks.complexity import build_complexity_file
from slowfast_gta.config.settings import flattened
from slowfast_gta.errors import RunError
from slowfast_gta.experiments.marks import load_marks
from slowfast_gta.experiments.plan import PlannedRun, flat_defaults
from slowfast_gta.files import write_whole
from slowfast_gta.plain_yaml import load_yaml

DEFAULTS = "defaults.json"
TIMES = "seconds.json"  # beside the results of a run that compare made: what it took


@dataclass(frozen=True)
class Outcome:
    """`keys`: as a PlannedRun has them. `cost`: {"gmacs", "params_m"}, empty where it was not counted. `seconds`,
    `cpu_seconds`: of the process that finished the run, None where nobody took the time. `validation`: the numbers of
    the last evaluation of the validation split, empty without one. `marks`: as marks.load_marks has them."""

    seed: int
    results: Mapping[str, Any]
    keys: Mapping[str, str]
    cost: Mapping[str, float]
    seconds: float | None
    cpu_seconds: float | None = None
    validation: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    date: str = ""  # on which it ended


def load_outcome(run: PlannedRun, kept: Path | None) -> Outcome | None:
    """That of `run`, from its folder or else from the folder `kept`; None where it is not finished.

    Raises RunError where a kept record is not of this run: a default has changed since.
    """
    if results := _read_json(run.results_folder / "results.json"):
        return _outcome_in(run.results_folder, run.seed, results, run.keys, _cost_from_cfg(run.cfg))
    record = _read_json(kept / f"{run.digest}.json") if kept else None
    if record is None:
        return None
    now, then = flat_defaults(), _read_json(kept / DEFAULTS) if kept else None
    changed = [key for key, was in (then or {}).items() if key not in run.keys and now.get(key, was) != was]
    if changed:
        raise RunError(
            f"The results in {kept} were made when {', '.join(changed)} had other defaults than they have now. "
            "Keep results in another folder (--keep), or set the old value in the table."
        )
    try:
        return Outcome(**record)
    except TypeError:
        raise RunError(f"{kept}/{run.digest}.json is no record that compare --keep wrote. Remove it.") from None


def keep_outcome(run: PlannedRun, outcome: Outcome, kept: Path) -> None:
    """Write the record of `run` into the folder `kept`."""
    kept.mkdir(parents=True, exist_ok=True)
    defaults = flat_defaults() | (_read_json(kept / DEFAULTS) or {})
    write_whole(kept / DEFAULTS, json.dumps(defaults, indent=1) + "\n")
    write_whole(kept / f"{run.digest}.json", json.dumps(asdict(outcome), indent=1) + "\n")


def load_finished(folder: Path) -> Outcome:
    """That of any finished run, from its OUTPUT_DIR: nothing of its config is run or imported. Raises RunError."""
    results = _read_json(folder / "results.json")
    if results is None:
        raise RunError(f"{folder} has no readable results.json: it is not the folder of a tested run.")
    try:
        config = load_yaml((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as fault:
        raise RunError(f"{folder / 'config.yaml'} cannot be read: {fault}.") from None
    if not isinstance(config, dict):
        raise RunError(f"{folder / 'config.yaml'} contains no config.")
    seed = config.get("RNG_SEED", 1)
    if not isinstance(seed, int):
        raise RunError(f"{folder / 'config.yaml'}: RNG_SEED is {seed!r:.40}; it must be a whole number.")
    defaults = flat_defaults()
    flat = {str(key): repr(value) for key, value in flattened(config).items()}
    keys = {key: value for key, value in flat.items() if value != defaults.get(key)}
    return _outcome_in(folder, seed, results, keys, _cost(_read_json(folder / COMPLEXITY)))


def _outcome_in(folder: Path, seed: int, results: dict, keys: Mapping[str, str], cost: Mapping[str, float]) -> Outcome:
    times = _read_json(folder / TIMES) or {}
    return Outcome(
        seed,
        _portable(results),
        keys,
        cost,
        times.get("seconds"),
        times.get("cpu_seconds"),
        _last_validation(folder / "metrics.jsonl"),
        load_marks(folder),
        times.get("date", ""),
    )


def _last_validation(metrics: Path) -> dict[str, float]:
    """{"top1", "loss"} of the last evaluation of the validation split; empty where there is none."""
    try:
        rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, RecursionError):
        return {}
    validations = [row for row in rows if isinstance(row, dict) and row.get("kind") == "val"]
    return {key: validations[-1][key] for key in ("top1", "loss") if key in validations[-1]} if validations else {}


def figure_of(outcome: Outcome, metric: str) -> float:
    """The number of results.json that the dotted name `metric` stands for, as pairs.choice. Raises RunError."""
    value: Any = outcome.results
    for part in metric.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        numbers = ", ".join(key for key, number in flattened(outcome.results).items() if isinstance(number, float))
        raise RunError(f"The results of seed {outcome.seed} have no number {metric}. METRICS may name: {numbers}.")
    return float(value)


def _portable(results: dict) -> dict:
    """Without the path of this machine."""
    checkpoint = results.get("checkpoint")
    return results | ({"checkpoint": Path(checkpoint).name} if isinstance(checkpoint, str) else {})


def _cost_from_cfg(cfg: Any) -> dict[str, float]:
    """What the network costs; nothing where it cannot be counted, as of one of the user's own."""
    folder = Path(cfg.OUTPUT_DIR)
    return _cost(_read_json(folder / COMPLEXITY) or build_complexity_file(cfg, folder))


def _cost(complexity: Mapping | None) -> dict[str, float]:
    return {key: complexity[key] for key in ("gmacs", "params_m") if complexity and key in complexity}


def _read_json(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
