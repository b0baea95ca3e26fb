"""The numbers of a run, as it goes: metrics.jsonl, TensorBoard, and writers of the user's own.

A writer of one's own (Weights & Biases, a database) is a class in METRICS_WRITER_REGISTRY, in a module of PLUGINS,
named in METRICS_WRITERS. It is made once for a training and once for a test, on the main process only, and has
  __init__(output_dir: Path, config: str)     config is the YAML text of the whole config
  write(kind: str, step: int, values: dict)   kind: train | val | test; step: training steps so far; values: numbers
  close()                                     the last call
An error that it raises is logged, and it is not called again: training continues without it.
"""

import json
import logging
import math
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from fvcore.common.config import CfgNode

from slowfast_gta import distributed
from slowfast_gta.errors import RunError, counted
from slowfast_gta.files import write_whole
from slowfast_gta.registry import Registry

logger = logging.getLogger("slowfast_gta")

METRICS_WRITER_REGISTRY = Registry("METRICS_WRITER")


def build_writer(cfg: CfgNode, after_step: int | None = None) -> "MetricsWriter":
    """The writers that `cfg` names; `after_step`: training resumes from there (None: this is no training)."""
    names = cfg.METRICS_WRITERS if distributed.is_main() else []
    output_dir, text = Path(cfg.OUTPUT_DIR), cfg.dump()
    own = [_make(name, output_dir, text) for name in names]
    writer = MetricsWriter(output_dir, cfg.TENSORBOARD.ENABLE, after_step, own)
    if after_step == 0:
        writer.write_config(text, hparams_from_cfg(cfg))
    return writer


def hparams_from_cfg(cfg: CfgNode) -> dict[str, str | float]:
    """What runs are compared by in TensorBoard's table of hyperparameters."""
    values = {
        "model": cfg.MODEL.ARCH,
        "attention": cfg.ATTENTION.NAME,
        "num_frames": cfg.DATA.NUM_FRAMES,
        "batch_size": cfg.TRAIN.BATCH_SIZE,
        "optimizer": cfg.SOLVER.OPTIMIZING_METHOD,
        "base_lr": cfg.SOLVER.BASE_LR,
        "weight_decay": cfg.SOLVER.WEIGHT_DECAY,
        "max_epoch": cfg.SOLVER.MAX_EPOCH,
        "dropout": cfg.MODEL.DROPOUT_RATE,
        "label_smoothing": cfg.TRAIN.LABEL_SMOOTHING,
        "seed": cfg.RNG_SEED,
    }
    return {name: value if isinstance(value, (int, float)) else str(value) for name, value in values.items()}


def add_picture(cfg: CfgNode, name: str, path: Path) -> None:
    """Show the picture at `path` in TensorBoard's images, where that is on."""
    if not cfg.TENSORBOARD.ENABLE or not path.exists():
        return
    from torch.utils.tensorboard import SummaryWriter

    picture = cv2.imread(str(path))
    if picture is None:
        return
    with SummaryWriter(str(Path(cfg.OUTPUT_DIR) / "tensorboard")) as board:
        board.add_image(name, picture[:, :, ::-1].copy(), dataformats="HWC")


def board_tag(kind: str, name: str) -> str:
    """Where a number stands in TensorBoard: loss, accuracies and rates first, all else in a group of its own."""
    leads = re.fullmatch(r"(.*_)?(loss|top1|top5)|lr(_x.*)?|loss_recent", name) is not None
    return f"{kind}/{name}" if leads else f"{kind}_counters/{name}"


def _make(name: str, output_dir: Path, config: str) -> Any:
    own = METRICS_WRITER_REGISTRY.find(name, "METRICS_WRITERS")
    try:
        return own(output_dir, config)
    except Exception as fault:
        raise RunError(
            f"METRICS_WRITERS: {name} could not be created ({type(fault).__name__}: {fault}). Remove it from "
            "the list to train without it."
        ) from fault


class MetricsWriter:
    """One JSON object a line in metrics.jsonl, and TensorBoard. Quiet on all but the main process."""

    def __init__(self, output_dir: Path, tensorboard: bool, after_step: int | None = None, own: Sequence = ()):
        """`after_step`: rows of later training steps are truncated, since those steps will be re-run."""
        self._path, self._board, self._own = output_dir / "metrics.jsonl", None, list(own)
        if not distributed.is_main():
            return
        self._path.touch()
        if after_step is not None:
            _truncate_after(self._path, after_step)
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            threading.excepthook = _without_disk_faults
            purge = None if after_step is None else after_step + 1
            self._board = SummaryWriter(str(output_dir / "tensorboard"), purge_step=purge)

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """`kind`: train, val or test; `step`: training steps so far."""
        if not distributed.is_main():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:  # each time: the file may be moved, or its folder removed
            file.write(json.dumps({"kind": kind, "step": step, **_valid(values)}, allow_nan=False) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(board_tag(kind, name), value, step)
        self._call_writers("write", kind, step, values)

    def write_config(self, text: str, hparams: dict[str, str | float]) -> None:
        """Show the config, YAML, as TensorBoard's text, and `hparams` in its table beside the validation's numbers."""
        if self._board is None:
            return
        from torch.utils.tensorboard.summary import hparams as summaries_of

        self._board.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))  # indented: code
        for summary in summaries_of(hparams, {"val/top1": 0, "val/loss": 0}):
            self._board.file_writer.add_summary(summary)  # type: ignore[attr-defined]  # torch types it as None

    def rows(self, kind: str) -> list[dict]:
        """What metrics.jsonl has of `kind`, on the main process."""
        return [row for row in read_rows(self._path) if row["kind"] == kind]

    def close(self) -> None:
        """Write what is buffered."""
        if self._board is not None:
            self._board.close()
        self._call_writers("close")

    def _call_writers(self, method: str, *arguments: object) -> None:
        for own in list(self._own):
            try:
                getattr(own, method)(*arguments)
            except Exception as fault:  # somebody else's service; it must not cost a training
                self._own.remove(own)
                call, kind = f"{type(own).__name__}.{method}", type(fault).__name__
                logger.warning("%s: %s: %s. Training continues without it.", call, kind, fault)


def _valid(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no word for NaN and infinity: null."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def read_rows(path: Path) -> list[dict]:
    """Every whole row of a metrics.jsonl; none where it is not there."""
    return [row for row in map(_parse, _lines(path)) if row]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path.exists() else []


def _parse(line: str) -> dict | None:
    """The row of a line; None for one that was not finished."""
    try:
        return json.loads(line) if line.endswith("\n") else None
    except (ValueError, RecursionError):
        return None


def _truncate_after(path: Path, after_step: int) -> None:
    """Leave the rows of training up to `after_step`, and the tests'."""
    lines = _lines(path)
    rows = zip(lines, map(_parse, lines), strict=True)
    kept = [line for line, row in rows if row and (row["kind"] == "test" or row["step"] <= after_step)]
    if len(kept) == len(lines):
        return
    write_whole(path, "".join(kept))
    removed = counted(len(lines) - len(kept), "row")
    logger.info("Truncated %s of %s logged after step %d; those steps will be re-run.", removed, path, after_step)


def _without_disk_faults(fault: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread, and raises its errors in the main thread too: once is enough."""
    if not issubclass(fault.exc_type, OSError):
        threading.__excepthook__(fault)
