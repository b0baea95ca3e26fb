"""A table's results as results.md, results.csv and results.html."""

import csv
import html
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from slowfast_gta.experiments.comparison import Comparison, RowResult, TableResult
from slowfast_gta.experiments.statistics import Estimate
from slowfast_gta.files import write_whole

Cells = list[list[str]]  # the first line is the head

_NOTES = (
    "± is half of the 95 % interval of the mean over seeds (Student's t); in brackets is the standard deviation of one "
    "seed. Differences are paired seed by seed; p is two-sided, after Holm's correction over the comparisons of a "
    "metric. “Cannot be told” means p above 0.05: these seeds do not tell the two apart, and may still differ."
)
_ONE_SEED = "There is one seed: no interval and no test, and a difference between rows may be that of two seeds."
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #ccc;"
    "text-align:right}td:first-child,th:first-child{text-align:left}p{max-width:45rem}"
)


def write_pages(result: TableResult, output: Path) -> list[Path]:
    """The three files, in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    contents = {"results.md": as_markdown(result), "results.csv": as_csv(result), "results.html": as_html(result)}
    for name, content in contents.items():
        write_whole(output / name, content)
    return [output / name for name in contents]


def as_markdown(result: TableResult) -> str:
    parts = [f"# {result.title}", *_told(result), _markdown_table(row_cells(result))]
    if result.comparisons:
        parts += ["## Differences", _markdown_table(comparison_cells(result.comparisons))]
    return "\n\n".join(parts) + "\n"


def as_html(result: TableResult) -> str:
    title = html.escape(result.title)
    body = [f"<h1>{title}</h1>", *(f"<p>{html.escape(text)}</p>" for text in _told(result))]
    body.append(_html_table(row_cells(result)))
    if result.comparisons:
        body += ["<h2>Differences</h2>", _html_table(comparison_cells(result.comparisons))]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def as_csv(result: TableResult) -> str:
    """One line for each row and metric, numbers in full."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = "row metric mean standard_deviation interval_half seeds missing_seeds paper gmacs params_m seconds videos"
    writer.writerow(head.split())
    for row in result.rows:
        for metric, found in row.figures.items():
            values = [found.mean, found.deviation, found.half, _joined(row.seeds), _joined(row.missing)]
            values += [row.paper, row.gmacs, row.params_m, row.seconds, row.num_videos]
            writer.writerow([row.name, metric, *("" if value is None else value for value in values)])
    return file.getvalue()


def row_cells(result: TableResult) -> Cells:
    has_paper = any(row.paper is not None for row in result.rows)
    head = ["", *(f"{metric}, %" for metric in result.metrics), *["the paper's, %"] * has_paper]
    head += ["seeds", "M parameters", "G multiply-adds", "seconds"]
    return [head, *(_row_line(row, result.metrics, has_paper) for row in result.rows)]


def _row_line(row: RowResult, metrics: Sequence[str], has_paper: bool) -> list[str]:
    figures = [_shown(row.figures[metric]) if metric in row.figures else "not run" for metric in metrics]
    seeds = f"{len(row.seeds)}" + (f" (missing: {_joined(row.missing)})" if row.missing else "")
    paper = ["–" if row.paper is None else f"{row.paper:g}"] * has_paper
    return [row.name, *figures, *paper, seeds, _number(row.params_m, 3), _number(row.gmacs, 3), _number(row.seconds, 0)]


def comparison_cells(comparisons: Sequence[Comparison]) -> Cells:
    has_claims = any(one.claimed for one in comparisons)
    has_paper = any(one.paper is not None for one in comparisons)
    head = ["", "metric", "difference", "p (Holm)", "these seeds"]
    head += ["the paper's difference"] * has_paper + ["the paper's claim"] * has_claims
    return [head, *(_comparison_line(one, has_paper, has_claims) for one in comparisons)]


def _comparison_line(one: Comparison, has_paper: bool, has_claims: bool) -> list[str]:
    difference = "–" if one.difference is None else _shown(one.difference.estimate, signed=True)
    p = "–" if one.adjusted is None else "< 0.0001" if one.adjusted < 1e-4 else f"{one.adjusted:.4f}"
    line = [f"{one.first} over {one.second}", one.metric, difference, p, one.verdict]
    line += ["–" if one.paper is None else f"{one.paper:+g}"] * has_paper
    return line + [one.agreement or "–"] * has_claims


def _told(result: TableResult) -> Iterator[str]:
    if result.source:
        yield f"The paper's figures: {result.source} They are of other data, and only orderings can be compared."
    if len(result.seeds) == 1:
        yield _ONE_SEED
    if unfinished := [row.name for row in result.rows if row.missing]:
        yield f"NOT COMPLETE: seeds are missing of {', '.join(unfinished)}."
    if counts := sorted({row.num_videos for row in result.rows if row.num_videos is not None}):
        yield f"Tested on {' or '.join(map(str, counts))} videos. {_NOTES}"


def _shown(found: Estimate, signed: bool = False) -> str:
    mean = f"{found.mean:+.2f}" if signed else f"{found.mean:.2f}"
    if found.half is None or found.deviation is None:
        return f"{mean} (one seed)"
    return f"{mean} ± {found.half:.2f} ({found.deviation:.2f})"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _joined(values: Sequence[int]) -> str:
    return " ".join(map(str, values))


def _markdown_table(cells: Cells) -> str:
    lines = [[cell.replace("|", "\\|") for cell in line] for line in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]])


def _html_table(cells: Cells) -> str:
    head, *lines = cells
    rows = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    rows += ["".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in lines]
    return "<table>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</table>"
