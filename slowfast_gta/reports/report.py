"""One HTML page of one or several runs: everything is inside it, it asks no network for anything, and it runs no script
but its own (a Content-Security-Policy by digest), whatever names and reasons the runs' files hold.
"""

import base64
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slowfast_gta.errors import RunError
from slowfast_gta.files import write_whole
from slowfast_gta.reports import charts, sections
from slowfast_gta.reports.history import RunHistory, load_histories
from slowfast_gta.reports.small_clips import build_small_clip

logger = logging.getLogger("slowfast_gta")

MOST_CLIPS, MOST_MISSING = 50, 500
MOST_CLIP_BYTES, MOST_BYTES = 10_000_000, 20_000_000
NAME = "report.html"
_PAGE = Path(__file__).parent / "page"


def check_extra() -> None:
    """Raises RunError where a package of the extra `report` is missing."""
    for package in ("jinja2", "altair", "vl_convert"):
        charts.import_extra(package)


def write_report(folders: Sequence[Path], output: Path) -> dict[str, Any]:
    """The page of the runs in `folders`. Returns {"output", "bytes", "num_runs", "num_wrong", "num_clips", "notes"}.

    Raises DataError where a folder is no run, RunError where a package is missing.
    """
    check_extra()
    histories = load_histories(folders)
    page = build_page(histories)
    text = _render(page)
    if len(text.encode()) > MOST_BYTES:
        page["notes"].append("The page would have been above 20 MB: its clips were left out.")
        for run in page["runs"]:
            for wrong in run["wrong"]:
                wrong["clip"] |= {"data": "", "fault": "Left out: the page would have been above 20 MB."}
        text = _render(page)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, text)
    wrong = [video for run in page["runs"] for video in run["wrong"]]
    return {
        "output": str(output),
        "bytes": len(text.encode()),
        "num_runs": len(histories),
        "num_wrong": sum(run["num_wrong"] for run in page["runs"]),
        "num_clips": sum(bool(video["clip"]["data"]) for video in wrong),
        "notes": [*page["notes"], *(f"{run['name']}: {note}" for run in page["runs"] for note in run["notes"])],
    }


def write_report_of_run(output_dir: Path) -> None:
    """OUTPUT_DIR/report.html, after a test. Where it cannot be made, one sentence: the run is unaffected."""
    try:
        write_report([output_dir], output_dir / NAME)
    except RunError as fault:
        logger.info("No %s was written. %s TEST.REPORT False switches it off.", NAME, fault)


def build_page(histories: Sequence[RunHistory]) -> dict[str, Any]:
    """What the template shows, plain values; "charts": {id: specification}."""
    charts_of_page: dict[str, Any] = {}
    figures = [row for history in histories for row in sections.figure_rows(history)]
    if figures:
        charts_of_page["figures"] = charts.interval_chart(figures)
    curves = []
    for name, title in sections.CURVES.items():
        if points := sections.curve_points(histories, name):
            charts_of_page[f"curve-{name}"] = charts.curve_chart(points, title)
            curves.append((f"curve-{name}", title))
    budget = _Budget(MOST_CLIP_BYTES)
    share = MOST_CLIPS // max(1, len(histories))
    runs = [_run(number, history, share, budget, charts_of_page) for number, history in enumerate(histories)]
    notes = ["Clips beyond 10 MB were left out."] if budget.was_used_up else []
    differing = sections.differing_settings(histories) if len(histories) > 1 else []
    page = {"runs": runs, "charts": charts_of_page, "curves": curves, "figures": figures, "differing": differing}
    return page | {"notes": notes, "most_confused": sections.MOST_CONFUSED}


class _Budget:
    """How many bytes of clips may still come."""

    def __init__(self, most: int):
        self.left, self.was_used_up = most, False

    def takes(self, size: int) -> bool:
        self.was_used_up |= size > self.left
        self.left -= size if size <= self.left else 0
        return not self.was_used_up


def _run(number: int, history: RunHistory, most_clips: int, budget: _Budget, specs: dict[str, Any]) -> dict[str, Any]:
    """One run's part of the page; its charts go into `specs`."""
    results = history.results
    missing = {str(key): str(reason) for key, reason in dict(results.get("missing") or {}).items()}
    wrong, num_wrong = sections.wrong_videos(history, most_clips)
    return {
        "id": f"run-{number}",
        "name": history.name,
        "folder": str(history.folder),
        "notes": history.notes,
        "results": {key: value for key, value in results.items() if isinstance(value, str | int | float)},
        "rounding": results.get("rounding") or {},
        "environment": results.get("environment") or {},
        "complexity": {key: value for key, value in history.complexity.items() if isinstance(value, str | int | float)},
        "settings": sorted(history.settings.items()),
        "epochs": sections.epoch_rows(history),
        "outputs": [_output(f"run-{number}-{at}", output, specs) for at, output in enumerate(history.outputs)],
        "pairs": sections.pair_rows(history),
        "missing": list(missing.items())[:MOST_MISSING],
        "num_missing": len(missing),
        "num_wrong": num_wrong,
        "wrong": [_wrong(history, index, budget) for index in wrong],
    }


def _output(name: str, output: Any, specs: dict[str, Any]) -> dict[str, Any]:
    rows = sections.class_rows(output)
    cells, num_left_out = sections.confusion_cells(output)
    specs[f"{name}-classes"] = charts.class_chart([row for row in rows if row["accuracy"] is not None])
    specs[f"{name}-confusion"] = charts.confusion_chart(cells, output.class_names)
    return {
        "id": name,
        "name": output.name,
        "classes": rows,
        "confused": sections.most_confused(cells),
        "num_cells_left_out": num_left_out,
    }


def _wrong(history: RunHistory, index: int, budget: _Budget) -> dict[str, Any]:
    video = history.videos[index]
    clip = build_small_clip(video)
    shown = asdict(clip)
    if clip.data and not budget.takes(len(clip.data)):
        shown |= {"data": "", "fault": "Left out: the clips of this page are 10 MB already."}
    return {
        "video_id": video.video_id,
        "path": video.path,
        "clip": shown,
        "answers": sections.predictions_of(history, index),
    }


def _render(page: dict[str, Any]) -> str:
    jinja2 = charts.import_extra("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    scripts = [charts.script_bundle(), (_PAGE / "report.js").read_text(encoding="utf-8")]
    policy = " ".join(["'unsafe-eval'", *map(_digest, scripts)])  # Vega compiles its expressions
    style = (_PAGE / "report.css").read_text(encoding="utf-8")
    text = environment.get_template("report.html.j2").render(page, scripts=scripts, policy=policy, style=style)
    return text.encode(errors="backslashreplace").decode()  # halves of letters (surrogates), which a file cannot hold


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
