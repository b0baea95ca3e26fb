"""Weights into a network, with a report of every tensor's fate."""

import logging
from dataclasses import replace
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.class_names import ClassNames, check_classes, difference
from slowfast_gta.errors import WeightsError
from slowfast_gta.models.build import inserted_names
from slowfast_gta.models.weights.fit import fit, time_axes
from slowfast_gta.models.weights.names import is_classifier
from slowfast_gta.models.weights.read import Source, read_weights
from slowfast_gta.models.weights.report import Mismatch, MismatchKind, WeightsReport
from slowfast_gta.models.weights.zoo import find_published

logger = logging.getLogger("slowfast_gta")

_NOT_PERMITTED = {"inflated": MismatchKind.NEEDS_INFLATION, "resampled": MismatchKind.NEEDS_RESAMPLING}


def load_weights(
    model: nn.Module,
    path: str | Path,
    inflate: bool = True,
    fine_tune: bool = True,
    ema: bool = False,
    resample_time: bool = False,
) -> WeightsReport:
    """Load a file's weights and BatchNorm statistics into `model`, and report what became of each.

    path: a checkpoint of PySlowFast's or ours (.pyth), a caffe2 file of the PySlowFast zoo (.pkl), a ResNet of
        torchvision or timm, a checkpoint of TSM or mmaction2; any but .pkl also as .safetensors. Or the name of
        published weights (zoo.ZOO: "torchvision/resnet50") or an https URL, downloaded once.
    inflate: allow 2D kernels to be repeated along time, divided by their number.
    fine_tune: allow inserted attention blocks, and a classifier of another size, to stay as initialised; False where
        the network is used as it is: its new blocks would be the identity, its new classifier random.
    ema: take the averaged weights where a checkpoint of ours has them (EMA.ENABLE).
    resample_time: allow parameters made for another number of frames (T x T matrices, embeddings) to be interpolated.
    Raises WeightsError, and changes nothing, where anything else is missing, or where a shape does not fit.
    """
    return _load(model, read_weights(path, ema), inflate, fine_tune, resample_time)


def load_weights_for(
    cfg: CfgNode, model: nn.Module, path: str | Path, fine_tune: bool, class_names: ClassNames | None = None
) -> WeightsReport:
    """`load_weights` with what `cfg` permits; notes what its shapes cannot show: the order of colours, TSM, classes.

    fine_tune: to train on from them, True; to test with them, False.
    class_names: the data set's; a classifier that is loaded for others is refused, TRAIN.CHECKPOINT_OTHER_CLASSES.
    """
    source = read_weights(path, ema=cfg.EMA.ENABLE and not fine_tune)
    inflate, resample = cfg.TRAIN.CHECKPOINT_INFLATE, cfg.TRAIN.CHECKPOINT_RESAMPLE_TIME
    notes = check_input(cfg, source) + check_range(cfg, path)
    if class_names is not None and _has_classifier_for(model, source):
        source, more = _check_source_classes(source, class_names, cfg.TRAIN.CHECKPOINT_OTHER_CLASSES, fine_tune)
        notes += more
    return _load(model, source, inflate, fine_tune, resample, notes)


def _has_classifier_for(model: nn.Module, source: Source) -> bool:
    """Whether a classifier of the file fits the network."""
    target = model.state_dict()
    heads = {name: value for name, value in source.tensors.items() if is_classifier(name)}
    return any(name in target and value.shape == target[name].shape for name, value in heads.items())


def _check_source_classes(
    source: Source, class_names: ClassNames, policy: str, fine_tune: bool
) -> tuple[Source, list[str]]:
    """The source, without its classifier where that is to be renewed, and notes about its classes."""
    if policy == "renew" and fine_tune:
        theirs = source.class_names
        if reason := "its classes are not known" if theirs is None else difference(theirs, class_names):
            kept = {name: value for name, value in source.tensors.items() if not is_classifier(name)}
            note = f"{reason}; TRAIN.CHECKPOINT_OTHER_CLASSES renew starts with a new classifier."
            return replace(source, tensors=kept), [note]
    note = check_classes(source.class_names, class_names, policy, source.path)
    return source, [note] if note else []


def check_weights(cfg: CfgNode, model: nn.Module, path: str | Path, fine_tune: bool = True) -> WeightsReport:
    """What `load_weights_for` would report, fit or not; `model` stays as it is, and may be on the meta device."""
    source = read_weights(path)
    inflate, resample = cfg.TRAIN.CHECKPOINT_INFLATE, cfg.TRAIN.CHECKPOINT_RESAMPLE_TIME
    report, _ = _match(model, source, inflate, fine_tune, resample)
    report.notes = check_input(cfg, source) + check_range(cfg, path)
    return report


def check_range(cfg: CfgNode, reference: str | Path) -> list[str]:
    """A sentence where published weights were trained on numbers of another range than `cfg` gives the network."""
    published = find_published(reference)
    wanted = {"DATA.MEAN": published.mean, "DATA.STD": published.std} if published else {}
    given = {"DATA.MEAN": cfg.DATA.MEAN, "DATA.STD": cfg.DATA.STD}
    others = [f"{key} {list(value)}" for key, value in wanted.items() if value and list(value) != list(given[key])]
    note = f"{reference} was trained with {' and '.join(others)}: set the same, or it gets other inputs."
    return [note] if others else []


def check_input(cfg: CfgNode, source: Source) -> list[str]:
    """Sentences on what no shape can show: the order of colours that `cfg` gives the network, TSM."""
    notes = []
    reverse = cfg.DATA.REVERSE_INPUT_CHANNEL
    gives = "BGR" if reverse else "RGB"
    if source.kind == "caffe2":
        # PySlowFast's readers give RGB for Kinetics, and BGR for SSv2 and Charades, whose YAMLs reverse it to RGB.
        notes.append(
            "a caffe2 file does not say whether it was trained on RGB or BGR; it is assumed to be from the "
            f"PySlowFast zoo, which was trained on RGB. With DATA.REVERSE_INPUT_CHANNEL {reverse} the network "
            f"gets {gives}: set it to "
            + ("False, unless this file was trained on BGR." if reverse else "True if this file was trained on BGR.")
        )
    elif source.input != gives:
        notes.append(
            f"these weights were trained on {source.input}, and DATA.REVERSE_INPUT_CHANNEL {reverse} gives the network "
            f"{gives}: set it to {not reverse}."
        )
    if source.kind == "tsm" and not cfg.TSM.ENABLE:
        notes.append("these weights were trained with TSM, and TSM.ENABLE is False: the network does not shift.")
    return notes


def _load(
    model: nn.Module,
    source: Source,
    inflate: bool,
    fine_tune: bool,
    resample_time: bool,
    notes: list[str] | None = None,
) -> WeightsReport:
    report, fitted = _match(model, source, inflate, fine_tune, resample_time)
    report.notes = notes or []
    if not report.fits:
        logger.info("%s", report)
        raise WeightsError(report.fault())
    model.load_state_dict(fitted, strict=False)
    logger.log(logging.WARNING if report.notes else logging.INFO, "%s", report)
    return report


def _match(
    model: nn.Module, source: Source, inflate: bool, fine_tune: bool, resample_time: bool
) -> tuple[WeightsReport, dict[str, Tensor]]:
    """The report, and the tensors that have the shapes of the network's."""
    report = WeightsReport(
        source.path, source.kind, source.input, skipped=source.skipped, class_names=source.class_names
    )
    target, axes, fitted = model.state_dict(), time_axes(model), {}
    permitted = {"loaded", "reshaped", "inflated" if inflate else "", "resampled" if resample_time else ""}
    for name, value in source.tensors.items():
        if name not in target:
            report.unexpected.append(name)
            continue
        converted = fit(value, target[name], axes.get(name, ()))
        if converted and converted[1] in permitted and converted[0].float().isfinite().all():
            fitted[name], outcome = converted
            getattr(report, outcome).append(name)
        else:
            kind = MismatchKind.SHAPE
            if converted:
                kind = MismatchKind.NOT_FINITE if converted[1] in permitted else _NOT_PERMITTED[converted[1]]
            report.mismatched.append(Mismatch(name, kind, tuple(value.shape), tuple(target[name].shape)))
    new = inserted_names(model) if fine_tune else ()
    for name in target:
        if name not in source.tensors:
            _sort_missing(name, source, fine_tune, new, report)
    if fine_tune:
        _excuse_head(report)
    return report, fitted


def _sort_missing(name: str, source: Source, fine_tune: bool, new: tuple[str, ...], report: WeightsReport) -> None:
    counter = name.endswith("num_batches_tracked")  # absent in older files, and of no influence
    output = name.rpartition(".")[0]  # a classifier that the file has nothing of: of other outputs, or of none
    headless = name.startswith("head.") and not any(n.startswith(f"{output}.") for n in source.tensors)
    expected = counter or (fine_tune and headless) or name.startswith(new)
    (report.new if expected else report.missing).append(name)


def _excuse_head(report: WeightsReport) -> None:
    """A classifier of another size starts anew, weight and bias together."""
    report.renewed = [mismatch for mismatch in report.mismatched if is_classifier(mismatch.name)]
    report.new = [mismatch.name for mismatch in report.renewed] + report.new  # first: only a few names are printed
    report.mismatched = [mismatch for mismatch in report.mismatched if not is_classifier(mismatch.name)]
