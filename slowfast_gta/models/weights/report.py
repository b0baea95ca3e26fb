"""What became of each tensor of a file, and whether that is good enough."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from slowfast_gta.class_names import ClassNames, fingerprint
from slowfast_gta.errors import counted

OUTCOMES = {
    "loaded": "as they are",
    "reshaped": "the same numbers in another shape: a 2D kernel as a 1 x k x k one, a matrix as a 1 x 1 x 1 one",
    "inflated": "2D kernels repeated along time and divided",
    "resampled": "made for another number of frames, interpolated along time",
    "new": "not in the file and expected so: they stay as initialised",
    "missing": "not in the file, and not expected so",
    "unexpected": "in the file, not in the network",
    "mismatched": "in both with shapes that do not fit",
    "skipped": "in the file for training only: momentum, learning rate, parts of a Sub-BN",
}


class MismatchKind(Enum):
    """Why a tensor of the file cannot go into the network's of that name."""

    SHAPE = "shape"
    NOT_FINITE = "not finite"
    NEEDS_INFLATION = "needs inflation"
    NEEDS_RESAMPLING = "needs resampling"


_PERMITTED_BY = {
    MismatchKind.NEEDS_INFLATION: "TRAIN.CHECKPOINT_INFLATE",
    MismatchKind.NEEDS_RESAMPLING: "TRAIN.CHECKPOINT_RESAMPLE_TIME",
}


@dataclass(frozen=True)
class Mismatch:
    """A tensor that file and network both have and that was not loaded."""

    name: str
    kind: MismatchKind
    shape_in_file: tuple[int, ...]
    shape_in_network: tuple[int, ...]

    def __str__(self) -> str:
        if self.kind is MismatchKind.NOT_FINITE:
            return f"{self.name} (numbers in it are not finite)"
        hint = f"; {_PERMITTED_BY[self.kind]} True allows that" if self.kind in _PERMITTED_BY else ""
        shapes = f"{_size(self.shape_in_file)} in the file, {_size(self.shape_in_network)} in the network"
        return f"{self.name} ({shapes}{hint})"


@dataclass
class WeightsReport:
    """Names of tensors, sorted into what happened; OUTCOMES says what the words mean.

    Names are the network's; in `unexpected` and `skipped`, where the network has none, the file's.
    renewed: of `new`, those that the file has and that do not fit: a classifier of another size.
    kind: whose file it is. input: the order of colours it was trained on. notes: sentences on what no shape can show.
    """

    path: Path
    kind: str
    input: str = "RGB"
    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    inflated: list[str] = field(default_factory=list)
    resampled: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[Mismatch] = field(default_factory=list)
    renewed: list[Mismatch] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    class_names: ClassNames | None = None  # the latter with several outputs

    @property
    def class_fingerprint(self) -> str | None:
        """Of the classes that the file names, if it does."""
        return fingerprint(self.class_names) if self.class_names else None

    @property
    def fits(self) -> bool:
        """Whether the network has all its weights, up to what may be new."""
        return not self.missing and not self.mismatched

    def rows(self, outcome: str) -> list[str]:
        """The tensors of one of OUTCOMES for people: names, with shapes where they differ; BatchNorm's
        counters come last."""
        renewed = {mismatch.name: str(mismatch) for mismatch in self.renewed}
        entries = sorted(map(str, getattr(self, outcome)), key=_is_counter)  # the rest in the order it has
        return [renewed.get(entry, entry) for entry in entries]

    def fault(self) -> str:
        """Why it does not fit, as a sentence."""
        faults = []
        if self.missing:
            faults.append(
                f"it lacks {counted(len(self.missing), 'tensor')} of the network ({_some(self.rows('missing'), 3)})"
            )
        if self.mismatched:
            faults.append(
                f"tensors that do not fit: {len(self.mismatched)} ({_some(self.rows('mismatched'), 3, '; ')})"
            )
        return (
            f"{self.path} does not match the network: {', and '.join(faults)}. Nothing was loaded. Check that the "
            "config is the one the file was trained with (ARCH, DEPTH, WIDTH_PER_GROUP, NUM_FRAMES, NUM_CLASSES, "
            "ATTENTION)."
        )

    def table(self, num_names: int = 10) -> str:
        """For each outcome that occurs its count, its meaning and its first names, one a line."""
        rows = [self._title()]
        for outcome, meaning in OUTCOMES.items():
            if names := self.rows(outcome):
                rows.append(f"  {outcome:<11}{len(names):>5}   {meaning}")
                shown = [] if outcome == "loaded" else names[:num_names]
                rows += [f"{'':21}{name}" for name in shown]
                if len(shown) < len(names) and shown:
                    rows.append(f"{'':21}... and {len(names) - len(shown)} more")
        return "\n".join([*rows, *self._notes()])

    def __str__(self) -> str:
        rows = [self._title()]
        for outcome in OUTCOMES:
            if names := self.rows(outcome):
                rows.append(f"  {outcome:<11}{len(names):>5}{'' if outcome == 'loaded' else ': ' + _some(names, 4)}")
        return "\n".join([*rows, *self._notes()])

    def _title(self) -> str:
        classes = f"classes {self.class_fingerprint}" if self.class_names else "classes not named"
        return f"Weights from {self.path} ({self.kind}, input {self.input}, {classes}):"

    def _notes(self) -> list[str]:
        return [f"  note: {note}" for note in self.notes]


def _is_counter(name: str) -> bool:
    """Whether it only counts batches: of no interest beside weights, which come first."""
    return name.endswith("num_batches_tracked")


def _some(names: list[str], number: int, separator: str = ", ") -> str:
    return separator.join(names[:number]) + (" ..." if len(names) > number else "")


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
