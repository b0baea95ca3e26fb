"""Weights into a network, with a report of every tensor's fate."""

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from slowfast_gta.errors import WeightsError
from slowfast_gta.models.weights.read import Source, read_weights

logger = logging.getLogger("slowfast_gta")

_INSERTED = re.compile(r"\.pathway\d+_(attention|nonlocal)\d+\.")


@dataclass
class WeightsReport:
    """What became of each tensor: names, sorted into what happened."""

    path: Path
    kind: str
    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)  # a 2D kernel as a 1 x k x k one
    inflated: list[str] = field(default_factory=list)  # a 2D kernel repeated along time and divided
    new: list[str] = field(default_factory=list)  # not in the file and expected so: inserted blocks, another head
    missing: list[str] = field(default_factory=list)  # not in the file, and not expected so
    unexpected: list[str] = field(default_factory=list)  # in the file, not in the network
    mismatched: list[str] = field(default_factory=list)  # in both with shapes that do not fit
    class_names: list[str] | None = None

    def __str__(self) -> str:
        rows = [f"Weights from {self.path} ({self.kind}):"]
        for what in ("loaded", "reshaped", "inflated", "new", "missing", "unexpected", "mismatched"):
            names = getattr(self, what)
            if names:
                shown = "" if what == "loaded" else ": " + ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
                rows.append(f"  {what:<11}{len(names):>5}{shown}")
        return "\n".join(rows)


def load_weights(
    model: nn.Module, path: str | Path, inflate: bool = True, fine_tune: bool = True, ema: bool = False
) -> WeightsReport:
    """Load a file's weights and BatchNorm statistics into `model`, and say what became of each.

    path: a PySlowFast or own checkpoint (.pyth), or a torchvision ResNet state dict (.pth).
    inflate: allow 2D kernels to be repeated along time, divided by their number.
    fine_tune: allow inserted attention blocks, and a classifier of another size, to stay as initialised; False where
        the network is to answer as it is: its new blocks would be the identity, its new classifier random.
    ema: take the averaged weights where a checkpoint of ours has them (EMA.ENABLE).
    Raises WeightsError, and changes nothing, where anything else is missing, or where a shape does not fit.
    """
    source = read_weights(path, ema)
    target = model.state_dict()
    report = WeightsReport(source.path, source.kind, class_names=source.class_names)
    fitted = {}
    for name, value in source.tensors.items():
        if name not in target:
            report.unexpected.append(name)
        elif (fit := _fit(value, target[name])) is None or (fit[1] == "inflated" and not inflate):
            report.mismatched.append(f"{name} ({_shape(value)} in the file, {_shape(target[name])} in the network)")
        else:
            fitted[name], what = fit
            getattr(report, what).append(name)
    for name in target:
        if name not in source.tensors:
            _sort_missing(name, source, fine_tune, report)
    if fine_tune:
        _excuse_head(report)
    _refuse(report)
    model.load_state_dict(fitted, strict=False)
    logger.info("%s", report)
    return report


def _fit(value: Tensor, like: Tensor) -> tuple[Tensor, str] | None:
    """`value` in the shape of `like`, and how it came to fit; None where it cannot."""
    if value.shape == like.shape:
        return value, "loaded"
    if value.ndim == 4 and like.ndim == 5 and value.shape == like.shape[:2] + like.shape[3:]:
        value = value.unsqueeze(2)
    if value.ndim != 5 or like.ndim != 5 or value.shape[2] != 1 or value.shape[3:] != like.shape[3:]:
        return None
    if value.shape[:2] != like.shape[:2]:
        return None
    frames = like.shape[2]
    return (value, "reshaped") if frames == 1 else (value.expand_as(like) / frames, "inflated")


def _sort_missing(name: str, source: Source, fine_tune: bool, report: WeightsReport) -> None:
    counter = name.endswith("num_batches_tracked")  # absent in older files, and of no influence
    headless = name.startswith("head.") and not any(n.startswith("head.") for n in source.tensors)
    expected = counter or (fine_tune and (headless or _INSERTED.search(name)))
    (report.new if expected else report.missing).append(name)


def _excuse_head(report: WeightsReport) -> None:
    """A classifier of another size starts anew, weight and bias together."""
    head = [entry for entry in report.mismatched if entry.startswith("head.projection.")]
    report.new = head + report.new  # first: of many names only a few are printed
    report.mismatched = [entry for entry in report.mismatched if entry not in head]


def _refuse(report: WeightsReport) -> None:
    """Raises WeightsError unless all that must be there is."""
    if not report.missing and not report.mismatched:
        return
    faults = []
    if report.missing:
        faults.append(
            f"{len(report.missing)} tensors of the network are not in it ({', '.join(report.missing[:3])} ...)"
        )
    if report.mismatched:
        faults.append(f"{len(report.mismatched)} do not fit ({'; '.join(report.mismatched[:3])} ...)")
    raise WeightsError(
        f"{report.path} does not match the network: {', and '.join(faults)}. Nothing was loaded. Check that the config "
        "is the one the file was trained with (ARCH, DEPTH, WIDTH_PER_GROUP, NUM_FRAMES, NUM_CLASSES, ATTENTION)."
    )


def _shape(value: Tensor) -> str:
    return "x".join(str(size) for size in value.shape) or "scalar"
