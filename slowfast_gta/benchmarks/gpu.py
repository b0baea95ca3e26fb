"""What only a GPU can show, in five minutes: parts in the order of their value, each with a limit of its own.

Each part is written to gpu.jsonl as it ends, so that a machine that is taken away has left what it showed. On a CPU the
same code runs at small size: it shows that the parts work, and its figures mean nothing (`"dry_run": true`).
"""

import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast_gta.benchmarks import gpu_checks, gpu_speed
from slowfast_gta.benchmarks.gpu_cases import Setting
from slowfast_gta.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """One thing to be shown. Its findings have "wrong", a list, where it can find something wrong."""

    name: str
    limit_sec: float
    find: Callable[[Setting], dict[str, Any]]


PARTS = (
    Part("machine", 25, gpu_speed.find_ceilings),
    Part("blocks", 45, gpu_checks.compare_blocks),
    Part("networks", 40, gpu_checks.compare_networks),
    Part("training", 90, gpu_speed.time_training),
    Part("stalls", 25, gpu_checks.find_stalls),
    Part("same_bits", 40, gpu_checks.compare_runs),
    Part("float16", 20, gpu_checks.watch_float16),
    Part("switches", 40, gpu_speed.time_switches),
    Part("testing", 40, gpu_speed.time_testing),
    Part("memory", 15, gpu_speed.measure_memory),
    Part("processes", 60, gpu_checks.join_processes),
    Part("videos", 60, gpu_checks.train_on_videos),
    Part("compile", 110, gpu_speed.time_compiled),
)


class _TimeUpError(Exception):
    pass


def choose_parts(only: Sequence[str]) -> list[Part]:
    """Those named, or all. Raises ConfigError for a name that is none."""
    known = [part.name for part in PARTS]
    if unknown := [name for name in only if name not in known]:
        raise ConfigError(f"--only has no part {', '.join(unknown)}; the parts are {', '.join(known)}.")
    return [part for part in PARTS if not only or part.name in only]


def build_gpu_report(cfg: CfgNode, output: Path, only: Sequence[str] = (), limit_sec: float = 300) -> dict[str, Any]:
    """Run the parts, on cfg.NUM_GPUS's device; {"parts": {name: findings}, "wrong": [...], "dry_run"}."""
    setting = Setting.from_cfg(cfg, output)
    output.mkdir(parents=True, exist_ok=True)
    parts, begin = choose_parts(only), time.monotonic()
    report: dict[str, Any] = {"dry_run": setting.small, "parts": {}, "wrong": []}
    for part in parts:
        left = limit_sec - (time.monotonic() - begin)
        outcome, seconds = _run(part, setting, left)
        report["parts"][part.name] = outcome
        report["wrong"] += [f"{part.name}: {fault}" for fault in outcome.get("wrong", [])]
        line = {"part": part.name, "seconds": round(seconds, 1), "dry_run": setting.small, "found": outcome}
        with (output / "gpu.jsonl").open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()
    return report


def _run(part: Part, setting: Setting, left_sec: float) -> tuple[dict[str, Any], float]:
    """What it found, or why it found nothing; and the seconds it took."""
    if left_sec < 5:
        return {"not_run": "the time limit of all parts was reached; --only runs this part alone"}, 0.0
    begin, limit = time.monotonic(), min(part.limit_sec * (10 if setting.small else 1), left_sec)
    try:
        with _limited_to(limit):
            report = part.find(setting)
    except _TimeUpError:
        report = {"not_run": f"not done within {limit:.0f} s"}
    except Exception as fault:  # one part's bug must not cost the others
        message = f"{type(fault).__name__}: {str(fault)[:300]}"
        report = {"wrong": [message], "traceback": traceback.format_exc()[-1500:]}
    return report, time.monotonic() - begin


@contextmanager
def _limited_to(seconds: float) -> Iterator[None]:
    """Raises _TimeUpError inside `with` when the time is over."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TimeUpError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
