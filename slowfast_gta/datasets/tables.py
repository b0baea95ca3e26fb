"""Annotation files that are csv: lines of fields, with quotes round what holds a comma."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from slowfast_gta.datasets.records import check_unique, read_text
from slowfast_gta.errors import DataError


def read_fields(path: Path, what: str) -> Iterator[tuple[str, list[str]]]:
    """(file:line, its fields) of all lines that are not blank. Raises DataError, which says `what` it was to be.

    A quote that is not closed would make one field of all lines up to the next quote, so a field ends with its line.
    """
    reader = csv.reader(io.StringIO(read_text(path, what)))
    number = 1
    try:
        for fields in reader:
            if reader.line_num > number:
                raise DataError(f"{path}:{number}: a quote is not closed in this line. Close it, or remove it.")
            if fields:
                yield f"{path}:{number}", fields
            number = reader.line_num + 1
    except csv.Error as fault:
        raise DataError(f"{path}:{number}: this is not a line of CSV ({fault}); is a quote not closed?") from None


def read_rows(path: Path, what: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(file:line, {column: field}) of a table whose first line names its columns. Raises DataError unless it and every
    line have `columns`."""
    lines = read_fields(path, what)
    _, head = next(lines, ("", []))
    if absent := [column for column in columns if column not in head]:
        raise DataError(f"{path}:1: the columns {', '.join(absent)} are missing from the header of the list.")
    for where, fields in lines:
        row = dict(zip(head, fields, strict=False))
        if any(column not in row for column in columns):
            raise DataError(f"{where}: the line has fewer fields than the header of the list.")
        yield where, row


def read_class_names(path: Path) -> list[str]:
    """The lines of a file with one class a line. Raises DataError where there is none, or one comes twice."""
    lines = enumerate(read_text(path, "the list of classes").split("\n"), start=1)
    names = [(f"{path}:{number}", name) for number, line in lines if (name := class_name_of(line))]
    if not names:
        raise DataError(f"{path}: the list of classes is empty.")
    check_unique(names, "class")
    return [name for _, name in names]


def class_name_of(line: str) -> str:
    """The class of a line of a list of classes, without the quotes that csv has put round it; "" where there is none.

    str.strip() would also take what may stand in a name, as a no-break space.
    """
    name = line.strip(" \t\r\n")
    if len(name) > 1 and name[0] == name[-1] == '"' and len(fields := split_csv(name, ",")) == 1:
        return fields[0]
    return name


def split_csv(line: str, separator: str) -> list[str]:
    """The fields of a line of csv; [] where it is none."""
    try:
        (fields,) = csv.reader([line], delimiter=separator, strict=True)
    except (csv.Error, ValueError):
        return []
    return fields
