"""Videos that could not be read: each logged once, listed once in OUTPUT_DIR/bad_files.txt, and all of them counted."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from slowfast_gta import distributed
from slowfast_gta.errors import counted
from slowfast_gta.files import write_whole
from slowfast_gta.loading.batch import BadVideo

logger = logging.getLogger("slowfast_gta")


class BadFiles:
    """bad_files.txt has a line `path<TAB>reason` for each file, from all epochs, tests and starts of a run.

    The main process writes it, anew as a whole, so that it is never half a file.
    """

    def __init__(self, output_dir: str | Path):
        self._path = Path(output_dir) / "bad_files.txt"
        self._lines: dict[str, str] = {}  # path: its line
        self._untold: dict[str, str] = {}  # of this process, not yet at the main one
        if distributed.is_main() and self._path.exists():
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
            self._lines = {line.partition("\t")[0]: line for line in lines}

    def add(self, videos: Iterable[BadVideo]) -> None:
        """What this process could not read."""
        reasons = {_on_one_line(bad.path): _as_text(" ".join(bad.reason.split())) for bad in videos}
        new = {path: reason for path, reason in reasons.items() if path not in self._lines}
        if not new:
            return
        self._lines |= {path: f"{path}\t{reason}" for path, reason in new.items()}
        if not distributed.is_main():
            self._untold |= new
            return
        for reason in new.values():
            logger.warning("could not be read: %s", reason)
        write_whole(self._path, "".join(f"{line}\n" for line in self._lines.values()))

    def gather(self) -> None:
        """The main process hears what the others could not read. All processes must call it at the same step."""
        untold, self._untold = self._untold, {}
        for part in distributed.gather(untold):
            if distributed.is_main():
                self.add(BadVideo("", reason, path, False) for path, reason in part.items())


def _on_one_line(path: str) -> str:
    """A path may hold tabs, ends of lines and bytes that are no text: those as Python writes them."""
    return path if path.isprintable() else repr(path)[1:-1]


def _as_text(reason: str) -> str:
    """A file's name in it may hold bytes that are no text."""
    return reason.encode("utf-8", "backslashreplace").decode("utf-8")


def format_counts(counts: Mapping[str, float]) -> str | None:
    """What became of the videos that were asked for, `counts` being those of a batch summed up; None if all is well."""
    skipped, replaced, timed_out = (counts.get(f"num_{what}", 0) for what in ("skipped", "replaced", "timed_out"))
    parts = []
    if skipped or replaced or timed_out:
        parts.append(
            f"{counted(counts['num_requested'], 'video')}: {counts.get('num_decoded', 0)} decoded, {skipped} "
            f"skipped, {replaced} replaced by another of the class; {timed_out} timed out; bad_files.txt has "
            "the reasons"
        )
    if repeated_frames := counts.get("repeated_frames", 0):
        frames = counted(repeated_frames, "frame")
        parts.append(f"{frames} could not be decoded; the nearest decoded frame was used")
    return "; ".join(parts) or None
