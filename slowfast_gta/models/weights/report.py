"""What became of each tensor of a file, and whether that is good enough."""

from dataclasses import dataclass, field
from pathlib import Path

from slowfast_gta.class_names import fingerprint

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


@dataclass
class WeightsReport:
    """Names of tensors, sorted into what happened; OUTCOMES says what the words mean.

    Names are the network's; in `unexpected` and `skipped`, where the network has none, the file's.
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
    mismatched: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    class_names: list[str] | dict[str, list[str]] | None = None  # the latter with several outputs

    @property
    def class_fingerprint(self) -> str | None:
        """Of the classes that the file names, if it does."""
        return fingerprint(self.class_names) if self.class_names else None

    @property
    def fits(self) -> bool:
        """Whether the network has all its weights, up to what may be new."""
        return not self.missing and not self.mismatched

    def fault(self) -> str:
        """Why it does not fit, as a sentence."""
        faults = []
        if self.missing:
            faults.append(f"{len(self.missing)} tensors of the network are not in it ({_some(self.missing, 3)})")
        if self.mismatched:
            faults.append(f"{len(self.mismatched)} do not fit ({_some(self.mismatched, 3, '; ')})")
        return (
            f"{self.path} does not match the network: {', and '.join(faults)}. Nothing was loaded. Check that the "
            "config is the one the file was trained with (ARCH, DEPTH, WIDTH_PER_GROUP, NUM_FRAMES, NUM_CLASSES, "
            "ATTENTION)."
        )

    def table(self, num_names: int = 10) -> str:
        """For each outcome that occurs its count, its meaning and its first names, one a line."""
        rows = [self._title()]
        for outcome, meaning in OUTCOMES.items():
            names = getattr(self, outcome)
            if names:
                rows.append(f"  {outcome:<11}{len(names):>5}   {meaning}")
                shown = [] if outcome == "loaded" else names[:num_names]
                rows += [f"{'':21}{name}" for name in shown]
                if len(shown) < len(names) and shown:
                    rows.append(f"{'':21}... and {len(names) - len(shown)} more")
        return "\n".join([*rows, *self._notes()])

    def __str__(self) -> str:
        rows = [self._title()]
        for outcome in OUTCOMES:
            names = getattr(self, outcome)
            if names:
                rows.append(f"  {outcome:<11}{len(names):>5}{'' if outcome == 'loaded' else ': ' + _some(names, 4)}")
        return "\n".join([*rows, *self._notes()])

    def _title(self) -> str:
        classes = f"classes {self.class_fingerprint}" if self.class_names else "classes not named"
        return f"Weights from {self.path} ({self.kind}, input {self.input}, {classes}):"

    def _notes(self) -> list[str]:
        return [f"  note: {note}" for note in self.notes]


def _some(names: list[str], number: int, separator: str = ", ") -> str:
    return separator.join(names[:number]) + (" ..." if len(names) > number else "")
