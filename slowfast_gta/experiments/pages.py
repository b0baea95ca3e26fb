"""A table's results as results.md, results.csv and results.html."""

import csv
import html
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from slowfast_gta.errors import ConfigError
from slowfast_gta.experiments.comparison import Comparison, RowResult, TableResult
from slowfast_gta.experiments.statistics import NUM_DRAWS, Estimate
from slowfast_gta.files import write_whole

PAGE_BEGIN, PAGE_END = "<!-- results: begin -->", "<!-- results: end -->"
Cells = list[list[str]]  # the first line is the head

_NOTES = {
    "t": "± is half of the 95 % interval of the mean over seeds (Student's t); in brackets: the standard deviation of "
    "one seed. Differences are paired seed by seed; p is two-sided, of Student's t, after Holm's correction over the "
    "comparisons of a metric. “Not significant” means p above 0.05: these seeds do not tell the two apart, and may "
    "still differ. How another test set would move the figures is not in these intervals.",
    "bootstrap": f"The 95 % intervals are those of a bootstrap over videos ({NUM_DRAWS} draws); in brackets is the "
    "standard deviation of one seed. Differences are paired video by video, of the mean over seeds; p is two-sided, "
    "after Holm's correction over the comparisons of a metric. “Not significant” means p above 0.05. How another "
    "training (seed) would move the figures is not in these intervals.",
}
_ONE_SEED = {
    "t": "There is one seed: no interval and no test, and a difference between rows may be that of two seeds.",
    "bootstrap": "There is one seed: a difference between rows is one of these trainings, and may be that of seeds.",
}
_ORDER = (
    "Each test clip is scored forwards and backwards. “Both ways” counts both inside the pair: a network that is blind "
    "to order gives them the same scores (to 1e-5), one of the two is right, and it stands at exactly 50 %. “As they "
    "are” counts the clips forwards, with the 95 % binomial interval (Wilson's) of that many videos."
)
_COLUMNS = (
    "row recipe learning_rate metric mean standard_deviation interval interval_low interval_high seeds missing_seeds "
    "paper gmacs params_m seconds cpu_seconds videos"
)
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #ccc;"
    "text-align:right}td:first-child,th:first-child{text-align:left}p{max-width:45rem}"
)


def write_pages(results: Sequence[TableResult], output: Path) -> list[Path]:
    """The three files, in `output`. `results`: of one table, first with one recipe for all rows."""
    output.mkdir(parents=True, exist_ok=True)
    contents = {"results.md": as_markdown(results), "results.csv": as_csv(results), "results.html": as_html(results)}
    for name, content in contents.items():
        write_whole(output / name, content)
    return [output / name for name in contents]


def as_markdown(results: Sequence[TableResult], level: int = 1, with_seeds: bool = True) -> str:
    """`level`: of the title's heading. `with_seeds`: also the cells of each seed."""
    parts = [f"{'#' * level} {results[0].title}"]
    for result in results:
        recipe = _heading(result, results)
        parts += [f"{'#' * (level + 1)} {recipe}"] * bool(recipe)
        for heading, content in _sections(result, with_seeds):
            parts += [f"{'#' * (level + 1 + bool(recipe))} {heading}"] * bool(heading)
            parts += [part if isinstance(part, str) else _markdown_table(part) for part in content]
    return "\n\n".join(parts) + "\n"


def write_into_page(tables: Sequence[Sequence[TableResult]], page: Path) -> None:
    """Into `page`, between PAGE_BEGIN and PAGE_END, the results of `tables`, on what machine and when; nothing else of
    it changes. Raises ConfigError where it has no such lines."""
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"--page {page} cannot be read: {fault}.") from None
    # Whole lines: the page's prose may name them.
    match = re.search(rf"^{PAGE_BEGIN}$.*?^{PAGE_END}$", text, re.DOTALL | re.MULTILINE)
    if match is None:
        raise ConfigError(f"--page {page} has no lines {PAGE_BEGIN} and {PAGE_END}, between which results are written.")
    made = sorted({line for table in tables for result in table for line in result.machines})
    parts = ["\n".join(["Made on:", "", *(f"- {line}" for line in made)])] * bool(made)
    parts += [as_markdown(table, level=3, with_seeds=False).rstrip() for table in tables]
    written = "\n\n".join([PAGE_BEGIN, *parts, PAGE_END])
    write_whole(page, text[: match.start()] + written + text[match.end() :])


def as_html(results: Sequence[TableResult]) -> str:
    title = html.escape(results[0].title)
    body = [f"<h1>{title}</h1>"]
    for result in results:
        body += [f"<h2>{html.escape(heading)}</h2>" for heading in [_heading(result, results)] if heading]
        for heading, content in _sections(result, True):
            body += [f"<h3>{html.escape(heading)}</h3>"] * bool(heading)
            body += [f"<p>{html.escape(part)}</p>" if isinstance(part, str) else _html_table(part) for part in content]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def as_csv(results: Sequence[TableResult]) -> str:
    """One line for each row and metric, numbers in full."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS.split())
    for result, row in [(table, row) for table in results for row in table.rows]:
        recipe = "chosen_rate" if result.chosen_rates else "one"
        for metric, figure in row.figures.items():
            values = [row.name, recipe, row.choice and row.choice.rate, metric, figure.mean, figure.deviation]
            values += [result.intervals, figure.low, figure.high, _joined(row.seeds), _joined(row.missing)]
            values += [row.paper, row.gmacs, row.params_m, row.seconds, row.cpu_seconds, row.num_videos]
            writer.writerow(["" if value is None else value for value in values])
    return file.getvalue()


def _heading(result: TableResult, results: Sequence[TableResult]) -> str:
    if len(results) == 1:
        return ""
    return "The learning rate of each row chosen by validation" if result.chosen_rates else "One recipe for all rows"


def _sections(result: TableResult, with_seeds: bool) -> Iterator[tuple[str, list[str | Cells]]]:
    """(heading, [text or cells])."""
    yield "", [*_remarks(result), row_cells(result)]
    if result.comparisons:
        yield "Differences", [comparison_cells(result.comparisons, result.intervals == "t")]
    if any(row.order for row in result.rows):
        cells: list[str | Cells] = [order_cells(result)] if with_seeds else []
        yield "Inside pairs, seed by seed", [_ORDER, *_order_remarks(result), *cells]


def row_cells(result: TableResult) -> Cells:
    has_paper = any(row.paper is not None for row in result.rows)
    head = ["", *(f"{metric}, %" for metric in result.metrics), *["the paper's, %"] * has_paper]
    head += ["learning rate", "validation top-1, %, by rate"] * result.chosen_rates
    head += ["seeds", "M parameters", "G multiply-adds", "seconds"]
    return [head, *(_row_line(row, result, has_paper) for row in result.rows)]


def _row_line(row: RowResult, result: TableResult, has_paper: bool) -> list[str]:
    metrics, t = result.metrics, result.intervals == "t"
    figures = [_shown(row.figures[metric], t) if metric in row.figures else "not run" for metric in metrics]
    seeds = f"{len(row.seeds)}" + (f" (missing: {_joined(row.missing)})" if row.missing else "")
    paper = ["–" if row.paper is None else f"{row.paper:g}"] * has_paper
    rates = ["–", "–"] * (result.chosen_rates and row.choice is None)
    if row.choice:
        by_rate = ", ".join(f"{rate:g}: {top1:.1f}" for rate, top1 in row.choice.validation.items())
        rates = [f"{row.choice.rate:g}", by_rate]
    costs = [_number(row.params_m, 3), _number(row.gmacs, 3), _number(row.seconds, 0)]
    return [row.name, *figures, *paper, *rates, seeds, *costs]


def comparison_cells(comparisons: Sequence[Comparison], by_t: bool = True) -> Cells:
    has_claims = any(comparison.claimed for comparison in comparisons)
    has_paper = any(comparison.paper is not None for comparison in comparisons)
    head = ["", "metric", "difference", "p (Holm)", "these seeds" if by_t else "these videos"]
    head += ["the paper's difference"] * has_paper + ["the paper's claim"] * has_claims
    return [head, *(_comparison_line(comparison, has_paper, has_claims, by_t) for comparison in comparisons)]


def _comparison_line(comparison: Comparison, has_paper: bool, has_claims: bool, by_t: bool) -> list[str]:
    difference = "–" if comparison.difference is None else _shown(comparison.difference.estimate, by_t, signed=True)
    p = (
        "–"
        if comparison.adjusted is None
        else "< 0.0001"
        if comparison.adjusted < 1e-4
        else f"{comparison.adjusted:.4f}"
    )
    line = [f"{comparison.first} over {comparison.second}", comparison.metric, difference, p, comparison.verdict]
    line += ["–" if comparison.paper is None else f"{comparison.paper:+g}"] * has_paper
    return line + [comparison.agreement or "–"] * has_claims


def order_cells(result: TableResult) -> Cells:
    head = ["", "seed", "both ways, %", "as they are, %", "largest difference of scores", "blind"]
    return [
        head,
        *(
            [
                row.name,
                f"{control.seed}",
                f"{control.both_ways:.2f}",
                f"{control.choice:.2f} ({control.low:.1f} to {control.high:.1f}, of {control.num_videos})",
                f"{control.largest_difference:.1e}",
                "yes" if control.blind else "no",
            ]
            for row in result.rows
            for control in row.order
        ),
    ]


def _order_remarks(result: TableResult) -> Iterator[str]:
    tested = [row for row in result.rows if row.name in result.blind and row.order]
    exact = [row.name for row in tested if row.name not in result.not_blind]
    if exact:
        yield f"Blind to order by construction, and exactly so in every seed: {', '.join(exact)}."
    if result.not_blind:
        yield f"NOT AS IT MUST BE: {', '.join(result.not_blind)} should be blind to order, and in some seed is not."


def _remarks(result: TableResult) -> Iterator[str]:
    if result.source:
        yield f"The paper's figures: {result.source} They are of other data, and only orderings can be compared."
    if result.note:
        yield result.note
    if result.chosen_rates:
        seeds = sorted({seed for row in result.rows if row.choice for seed in row.choice.seeds})
        yield (
            f"Each row has the learning rate with the highest validation top-1, of seeds {_joined(seeds) or '–'}; the "
            "test videos had no part in it. The chosen rate was then run with all seeds."
        )
    if len(result.seeds) == 1:
        yield _ONE_SEED[result.intervals]
    if unfinished := [row.name for row in result.rows if row.missing]:
        yield f"NOT COMPLETE: seeds are missing of {', '.join(unfinished)}."
    if counts := sorted({row.num_videos for row in result.rows if row.num_videos is not None}):
        yield f"Tested on {' or '.join(map(str, counts))} videos. {_NOTES[result.intervals]}"


def _shown(estimate: Estimate, by_t: bool, signed: bool = False) -> str:
    mean = f"{estimate.mean:+.2f}" if signed else f"{estimate.mean:.2f}"
    deviation = "one seed" if estimate.deviation is None else f"{estimate.deviation:.2f}"
    if estimate.low is None or estimate.high is None:
        return f"{mean} ({deviation})"
    if by_t:
        return f"{mean} ± {(estimate.high - estimate.low) / 2:.2f} ({deviation})"
    return f"{mean}, {estimate.low:.2f} to {estimate.high:.2f} ({deviation})"


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
