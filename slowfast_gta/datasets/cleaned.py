"""Annotation files without some of their videos, in the format that they have; and the mark that says so.

A folder of such lists holds cleaned.json. Whatever is measured on them is not the data set's own number, so the mark
goes into the log and into results.json.
"""

import json
import shutil
from collections.abc import Mapping, Set
from pathlib import Path

from slowfast_gta.datasets.records import LeftOut, read_text
from slowfast_gta.errors import DataError, counted
from slowfast_gta.files import write_whole

MARK = "cleaned.json"
_NUMBERS = ("num_videos", "num_left", "share_left")  # of a split, in the mark


def read_mark(folder: Path) -> dict | None:
    """{"from": folder of the whole lists, "splits": {split: {"num_videos", "num_left", "share_left"}}} where the lists
    in `folder` are cleaned ones; None where they are as published. Raises DataError where the mark cannot be read."""
    path = Path(folder, MARK)
    if not path.exists():
        return None
    try:
        mark = json.loads(read_text(path, "the mark of cleaned lists"))
        splits = {split: {key: part[key] for key in _NUMBERS} for split, part in mark["splits"].items()}
        return {"from": str(mark["from"]), "splits": splits}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DataError(f"{path} was not written by check_data --write-clean. Write the lists again.") from None


def write_mark(folder: Path, source: Path, num_videos: Mapping[str, int], left_out: LeftOut) -> dict:
    """Mark the lists in `folder` as those of `source` without the videos `left_out`. Returns the mark."""
    splits = {}
    for split, count in num_videos.items():
        left = count - len(left_out.get(split, ()))
        splits[split] = {"num_videos": count, "num_left": left, "share_left": round(left / count, 6) if count else 0.0}
    mark = {"from": str(source), "splits": splits}
    listed = {split: sorted(ids) for split, ids in left_out.items()}
    write_whole(folder / MARK, json.dumps(mark | {"left_out": listed}, indent=1) + "\n")
    return mark


def describe_mark(mark: Mapping) -> str:
    """What share of which split is left."""
    parts = [
        f"{split} {part['num_left']:,} of {counted(part['num_videos'], 'video', ',')} "
        f"({100 * part['share_left']:.2f} %)"
        for split, part in mark["splits"].items()
    ]
    return f"cleaned lists, from {mark['from']}: {', '.join(parts)}"


def copy_without_lines(source: Path, target: Path, numbers: Set[int]) -> None:
    """`source` without the lines of these numbers, the first being 1; all others byte for byte."""
    lines = source.read_bytes().split(b"\n")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, b"\n".join(line for number, line in enumerate(lines, start=1) if number not in numbers))


def copy_files(paths: list[Path], source: Path, target: Path) -> None:
    """The files `paths` of the folder `source`, as they are, into `target`."""
    for path in paths:
        there = target / path.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, there)


def line_of(where: str) -> int:
    """The number in file:line."""
    return int(where.rpartition(":")[2])
