"""Runs that an earlier version of the code was stopped in: what each is, how it resumes, how it must end.

tests/fixtures/runs/ holds them, as tests/fixtures/runs/make.py made them. A case is a folder:
  run.yaml   its config; paths are relative to the folder that a copy of the case lies in, beside videos/
  run/       OUTPUT_DIR as the stopped run left it; checkpoints compressed, in the last stage only the newest; without
             run.lock, which names a machine
  end.json   how an undisturbed run ended: SHA-256 of each part of its last checkpoint and of its scores, its metrics
  end.npz    weights and scores as flat float32 vectors, for machines whose arithmetic rounds in another way
Only what stays is relied on: the command line, config keys, the files of a run folder.
"""

import hashlib
import json
import lzma
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "runs"
COMMIT = "55a7b7a2bc7c"  # whose code made the fixture

# What of a line of metrics.jsonl is compared; the rest is of the clock, or may grow.
_NUMBERS = ("kind", "step", "epoch", "loss", "top1", "top5", "lr", "lr_x10", "grad_norm")


@dataclass(frozen=True)
class Case:
    """One stopped run. `stages`: the folders of its stages below run/; `stop`: the signal that stopped it, once the
    last stage had done `stop_after` steps; `last`: the name of its last checkpoint."""

    name: str
    stop: signal.Signals
    stop_after: int
    last: str
    stages: tuple[str, ...] = ()
    num_processes: int = 1
    cfg: str = "run.yaml"  # what is given to go on

    @property
    def outputs(self) -> tuple[str, ...]:
        """The OUTPUT_DIR of each stage, the last one last."""
        return tuple(f"run/{stage}" for stage in self.stages) or ("run",)


CASES = {
    case.name: case
    for case in (
        # Between two epochs, in the validation: SGD, EMA, dropout, GTA at ten times the rate.
        Case("sgd_gta", signal.SIGTERM, 4, "checkpoint_epoch_00003.pyth", cfg="run/config.yaml"),
        # Killed inside an epoch, metrics ahead of the checkpoint: AdamW, TSM, batches in two parts.
        Case("adamw_tsm", signal.SIGKILL, 7, "checkpoint_epoch_00003.pyth"),
        # Inside the second stage, which learns from the first: W3, AFR, float16 with its scaler.
        Case("stages_w3", signal.SIGINT, 2, "checkpoint_epoch_00002.pyth", ("plain", "mature")),
        # Inside an epoch of two processes with unequal shares: 3D kernels, BatchNorm over both, precise statistics.
        Case("two_processes", signal.SIGTERM, 5, "checkpoint_epoch_00002.pyth", num_processes=2),
    )
}

# ------------------------------------------------------------------------------------------------------ running


def lay_out(case: Case, folder: Path, stopped: bool = True) -> Path:
    """A copy of the case in `folder`, as it was stopped or not begun, with its videos beside it."""
    shutil.copytree(FIXTURE / "videos", folder / "videos")
    shutil.copy(FIXTURE / case.name / "run.yaml", folder)
    if stopped:
        unpack_run(FIXTURE / case.name / "run", folder / "run")
    return folder


def unpack_run(packed: Path, folder: Path) -> None:
    """A stopped OUTPUT_DIR, its checkpoints as they were."""
    shutil.copytree(packed, folder)
    for path in folder.rglob("*.pyth.xz"):
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        path.unlink()


def start(case: Case, folder: Path, cfg: str, code: Path = ROOT) -> list[subprocess.Popen]:
    """The processes of the run, in `folder`, by the run_net.py of the checkout `code`."""
    line = [sys.executable, str(code / "tools" / "run_net.py"), "--cfg", cfg]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(code)}
    if case.num_processes > 1:
        with socket.socket() as probe:
            probe.bind(("", 0))
            line += ["--init_method", f"tcp://127.0.0.1:{probe.getsockname()[1]}"]
        line += ["--num_shards", str(case.num_processes), "--shard_id"]
    ends = [[str(rank)] if case.num_processes > 1 else [] for rank in range(case.num_processes)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return [subprocess.Popen([*line, *end], cwd=folder, env=environment, **options) for end in ends]


def finish(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """(exit code, stderr) of each."""
    outputs = [process.communicate(timeout=170)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, outputs, strict=True)]


def complete(case: Case, folder: Path, cfg: str, code: Path = ROOT) -> str:
    """Run to the end, which must be a good one; what the main process said."""
    ended = finish(start(case, folder, cfg, code))
    assert all(code == 0 for code, _ in ended), ended
    return ended[0][1]


def unpack_old_code(folder: Path) -> Path | None:
    """The code that made the fixture, out of this repository's history; None where that does not go back so far."""
    archive = folder / "old.tar"
    asked = ["git", "-C", str(ROOT), "archive", "--output", str(archive), COMMIT, "slowfast_gta", "tools", "configs"]
    try:
        if subprocess.run(asked, capture_output=True, timeout=60).returncode:
            return None
    except OSError:  # no git here
        return None
    shutil.unpack_archive(archive, folder / "old", filter="data")
    return folder / "old"


# ------------------------------------------------------------------------------------------------------ the end


@dataclass(frozen=True)
class End:
    """How a run ended. parts: {name: tensors, in order}; rows: lines of metrics.jsonl of every stage."""

    parts: dict[str, list[tuple[str, np.ndarray]]]
    rows: list[dict]
    top1: float

    def digests(self) -> dict[str, str]:
        """{part: SHA-256 of its tensors' names, types, shapes and bytes}."""
        return {name: _digest(arrays) for name, arrays in self.parts.items()}

    def vectors(self) -> dict[str, np.ndarray]:
        """{part: all its numbers, float32 (N,)} of the network and its answers."""
        return {
            name: np.concatenate([array.ravel().astype(np.float32) for _, array in arrays])
            for name, arrays in self.parts.items()
            if name in ("model_state", "scores")
        }


def read_end(case: Case, folder: Path) -> End:
    """What the run in `folder` left in its last stage, and the metrics of all."""
    output = folder / case.outputs[-1]
    content = torch.load(output / "checkpoints" / case.last, map_location="cpu", weights_only=True)
    names = ("model_state", "ema_state", "optimizer_state", "scaler_state")
    parts = {name: list(_arrays(_kept(name, content[name]))) for name in names if content.get(name)}
    with np.load(output / "scores.npz") as file:
        parts["scores"] = [("scores", file["scores"]), ("label", file["label"])]
    rows = [row for stage in case.outputs for row in _rows(folder / stage)]
    return End(parts, rows, json.loads((output / "results.json").read_text())["top1"])


def _kept(name: str, state: dict) -> dict:
    """Of an optimiser its moments, and each group's members and rate; the rest of a group is the config's."""
    if name != "optimizer_state":
        return state
    groups = [{key: group[key] for key in ("params", "lr")} for group in state["param_groups"]]
    return {"state": state["state"], "param_groups": groups}


def _arrays(value: object, where: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every number in `value` with the names that lead to it, in the order of these names."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _arrays(value[key], f"{where}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _arrays(item, f"{where}/{index}")
    else:
        yield where, np.asarray(value)


def _rows(output: Path) -> list[dict]:
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in _NUMBERS if key in row} for row in rows]


def _digest(arrays: list[tuple[str, np.ndarray]]) -> str:
    found = hashlib.sha256()
    for where, array in arrays:
        found.update(f"{where} {array.dtype} {array.shape}\n".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def machine() -> dict[str, str]:
    """What decides how sums are rounded and videos decoded: where all of it is the same, so are the bits."""
    words = ("vendor_id", "cpu family", "model", "model name")
    cpu = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in cpu.read_text().splitlines()] if cpu.exists() else []
    found = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    return {
        "cpu": ", ".join(found.get(word, "") for word in words) or platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "av": av.__version__,
        "opencv": cv2.__version__,
        "python": platform.python_version(),
    }
