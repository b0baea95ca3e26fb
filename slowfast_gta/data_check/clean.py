"""A way out of a broken copy: the lists of a data set without the videos that the check has found to be at fault."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.config.load import save_config
from slowfast_gta.data_check.rules import KINDS, Finding, Records
from slowfast_gta.datasets.cleaned import MARK, describe_mark, write_mark
from slowfast_gta.datasets.records import VideoDataset
from slowfast_gta.errors import DataError


@dataclass(frozen=True)
class Cleaned:
    """What was written, and how much of each split is left."""

    folder: Path
    mark: dict
    unsolved: dict[str, int]  # kinds of faults that leaving videos out does not mend: their number

    @property
    def config(self) -> Path:
        """The YAML that reads the lists."""
        return self.folder / "clean.yaml"

    def __str__(self) -> str:
        left = "".join(f" Left unchanged, of the kind '{kind}': {count}." for kind, count in self.unsolved.items())
        return f"{self.folder}: {describe_mark(self.mark)}.{left} The config that reads them: {self.config}."


def check_target(output: Path, lists: str | Path) -> None:
    """Raises DataError unless the folder is new, empty, or one of an earlier call, and not that of the `lists`."""
    if output.resolve() == Path(lists).resolve():
        raise DataError(
            f"{output} is the folder that the lists are read from. Name another folder for the cleaned ones."
        )
    if output.exists() and not output.is_dir():
        raise DataError(f"{output} is not a folder. Name a new one for the cleaned lists.")
    if output.is_dir() and any(output.iterdir()) and not (output / MARK).exists():
        raise DataError(f"{output} is not empty and contains no cleaned lists. Name a new folder.")


def left_out_by(findings: Sequence[Finding], splits: Records) -> dict[str, set[str]]:
    """{"train" | "val" | "test": ids of the videos that are at fault}."""
    left_out: dict[str, set[str]] = {split: set() for name in splits for split in name.split(", ")}
    for finding in findings:
        for name, video_id in finding.videos if KINDS[finding.kind].is_fault else ():
            for split in name.split(", "):  # "val, test": one list for both
                left_out[split].add(video_id)
    return left_out


def build_clean(
    cfg: CfgNode, datasets: Mapping[str, VideoDataset], splits: Records, findings: Sequence[Finding], output: Path
) -> Cleaned:
    """Write into `output` the lists of `cfg`'s data set without what was found, and a YAML that reads them.

    Raises DataError where a list could not be read in the first place, where the splits are of several data sets, or
    where nothing would be left of one.
    """
    if broken := [finding for finding in findings if finding.kind == "list"]:
        raise DataError(
            f"No cleaned lists are written, since a list cannot be read: {broken[0].message} Correct it first."
        )
    if len({type(dataset) for dataset in datasets.values()}) != 1:
        raise DataError("No cleaned lists are written: TRAIN.DATASET and TEST.DATASET differ. Set both to the same.")
    dataset, left_out = next(iter(datasets.values())), left_out_by(findings, splits)
    check_target(output, dataset.data_dir)
    counts = {split: len(records) for name, records in splits.items() for split in name.split(", ")}
    if empty := [split for split, count in counts.items() if count and len(left_out[split]) >= count]:
        raise DataError(f"No cleaned lists are written: nothing would be left of {' and '.join(empty)}.")
    try:
        output.mkdir(parents=True, exist_ok=True)
        dataset.write_without(output, left_out)
        mark = write_mark(output, dataset.data_dir.resolve(), counts, left_out)
        unsolved = Counter(item.kind for item in findings if KINDS[item.kind].is_fault and not item.videos)
        cleaned = Cleaned(output, mark, dict(unsolved))
        save_config(_build_config(cfg, dataset, output), cleaned.config)
    except OSError as fault:
        raise DataError(
            f"{fault.filename or output}: the cleaned lists cannot be written ({fault.strerror})."
        ) from None
    return cleaned


def _build_config(cfg: CfgNode, dataset: VideoDataset, output: Path) -> CfgNode:
    """`cfg` for the lists in `output`."""
    cleaned = cfg.clone()
    cleaned.defrost()
    cleaned.DATA.PATH_TO_DATA_DIR = str(output.resolve())
    linked = any(path.is_symlink() for path in output.iterdir())  # to the videos, beside the lists
    cleaned.DATA.PATH_PREFIX = "" if linked else str(dataset.videos_root().resolve())
    if dataset.creates_itself:  # it would make the whole lists again
        name = next(base.__name__ for base in type(dataset).__mro__ if not getattr(base, "creates_itself", False))
        cleaned.TRAIN.DATASET = cleaned.TEST.DATASET = name
    if cleaned.DATA.LIST_FORMAT == "folders":
        cleaned.DATA.LIST_FORMAT = "pyslowfast"
    cleaned.OUTPUT_DIR = str(Path("runs", output.resolve().name))
    cleaned.freeze()
    return cleaned
