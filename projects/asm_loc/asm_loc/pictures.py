"""What a tested run shows: detections as JSON and CSV, tables of average precision, a picture and a page per video.

Pictures are SVG, written here: true instances, CAS, foreground attention, proposals and detections on one time axis.
"""

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slowfast_gta.files import write_whole
from slowfast_gta.plain_arrays import load_npz

from .average_precision import APResult
from .detections import average_precision_csv, detections_csv, to_activitynet, to_json
from .evaluation import Signals
from .segments import Segments

WIDTH, MARGIN, BAND, CURVE, GAP = 1100, 250, 14, 56, 14  # pixels
LONGEST_NAME = 36  # letters that the margin has room for
COLOURS = ("#0b6e99", "#b5541c", "#4d7c0f", "#7a3e9d", "#a61b3c", "#8a6d00")
MAX_BANDS = 8  # segments that overlap are drawn below each other, at most so deep
MAX_DETECTIONS = 60  # of a picture, the best
MAX_ROWS = 200  # of a table


def save_pages(output_dir: Path) -> None:
    """Everything above, from results.json and scores.npz of `output_dir`."""
    results = json.loads((output_dir / "results.json").read_text(encoding="utf-8"))
    arrays = load_npz(output_dir / "scores.npz")
    names, classes = arrays["video_id"].tolist(), results["classes"]
    detections, truth = (_segments(arrays, kind, names) for kind in ("detection", "truth"))
    document = to_activitynet(detections, classes, "features as in config.yaml")
    write_whole(output_dir / "detections.json", to_json(document))
    write_whole(output_dir / "detections.csv", detections_csv(detections, classes))
    counts = (arrays["ap_num_instances"], arrays["ap_num_predictions"], 0)
    result = APResult(arrays["ap_classes"], tuple(arrays["tiou"].tolist()), arrays["ap"], *counts)
    write_whole(output_dir / "average_precision.csv", average_precision_csv(result, classes))
    folder = output_dir / "videos"
    for number, name in enumerate(names):
        signals = _signals(arrays, number)
        if signals is not None:
            folder.mkdir(exist_ok=True)
            picture = draw_video(name, classes, truth[name], signals, detections[name])
            file = re.sub(r"[^\w.-]+", "_", name)
            write_whole(folder / f"{file}.svg", picture)
            write_whole(folder / f"{file}.html", page_of_video(name, classes, picture, truth[name], detections[name]))


def _segments(arrays: dict[str, np.ndarray], kind: str, names: list[str]) -> dict[str, Segments]:
    columns = [arrays[f"{kind}_{part}"] for part in ("label", "start", "end", "score")]
    together, video = Segments(*columns), arrays[f"{kind}_video"]
    return {name: together[video == number] for number, name in enumerate(names)}


def _signals(arrays: dict[str, np.ndarray], number: int) -> Signals | None:
    if f"signal_{number}_edges" not in arrays:
        return None
    parts = [arrays[f"signal_{number}_{part}"] for part in ("edges", "attention", "classes", "cas")]
    return Signals(*parts, Segments.from_rows(arrays[f"signal_{number}_proposals"].tolist()))


# ------------------------------------------------------------------------------------------------------ the picture


class _Picture:
    """SVG that grows downwards, over the seconds [start, end]."""

    def __init__(self, start: float, end: float, classes: list[str], shown: Sequence[int]) -> None:
        self.start, self.end, self.classes = start, max(end, start + 1e-9), classes
        self.colour = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(shown)}
        self.parts: list[str] = []
        self.y = GAP

    def x(self, seconds: np.ndarray) -> np.ndarray:
        return MARGIN + (np.asarray(seconds) - self.start) / (self.end - self.start) * (WIDTH - MARGIN - GAP)

    def title(self, text: str, height: float, colour: str = "#000") -> None:
        """What stands left of a row; the whole of a long name is its tooltip."""
        short = text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."
        self.parts.append(
            f'<text x="{GAP}" y="{self.y + min(height, 24) / 2 + 4:.0f}" fill="{colour}">{html.escape(short)}'
            f"<title>{html.escape(text)}</title></text>"
        )

    def bands(self, name: str, segments: Segments) -> None:
        """Segments as bars, those that overlap below each other, best first."""
        segments, free = segments.best_first()[np.arange(min(len(segments), MAX_DETECTIONS))], []
        self.title(name, BAND)
        for label, start, end, score in segments.to_rows():
            fits = (r for r, taken in enumerate(free) if all(end <= a or start >= b for a, b in taken))
            row = next(fits, len(free))
            if row == MAX_BANDS:
                continue
            if row == len(free):
                free.append([])
            free[row].append((start, end))
            left, right = self.x(start), self.x(end)
            what = f"{self.classes[int(label)]} {start:.2f} to {end:.2f} s, score {score:.3f}"
            self.parts.append(
                f'<rect x="{left:.1f}" y="{self.y + row * BAND}" '
                f'width="{max(right - left, 1):.1f}" height="{BAND - 3}" '
                f'fill="{self.colour.get(label, "#666")}"><title>{html.escape(what)}</title></rect>'
            )
        self.y += max(len(free), 1) * BAND + GAP

    def curve(self, name: str, edges: np.ndarray, values: np.ndarray, colour: str) -> None:
        """Values in [0, 1], constant between edges; lines at 0 and 1."""
        self.title(name, CURVE, colour)
        bottom = self.y + CURVE
        for value, y in ((1, self.y), (0, bottom)):
            self.parts.append(f'<path d="M{MARGIN} {y}H{WIDTH - GAP}" stroke="#ddd"/>')
            self.parts.append(f'<text x="{MARGIN - 6}" y="{y + 4}" text-anchor="end" fill="#777">{value}</text>')
        x, y = np.repeat(self.x(edges), 2)[1:-1], np.repeat(bottom - CURVE * values, 2)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        self.parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        self.y += CURVE + GAP

    def axis(self) -> None:
        """About ten marks, in seconds."""
        step = 10 ** np.floor(np.log10((self.end - self.start) / 2))
        step *= next(f for f in (1, 2, 5, 10) if (self.end - self.start) / (step * f) <= 12)
        for seconds in np.arange(np.ceil(self.start / step) * step, self.end + step / 1e6, step):
            self.parts.append(
                f'<text x="{self.x(seconds):.1f}" y="{self.y + 12}" text-anchor="middle">{seconds:g} s</text>'
            )
        self.y += 20

    def svg(self) -> str:
        size = f'width="{WIDTH}" height="{self.y}" font-family="sans-serif" font-size="12"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
        return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *self.parts, "</svg>"])


def draw_video(name: str, classes: list[str], truth: Segments | None, signals: Signals, detections: Segments) -> str:
    """SVG of one video; `truth` None: nobody knows."""
    shown = [int(c) for c in signals.classes]
    picture = _Picture(float(signals.edges[0]), float(signals.edges[-1]), classes, shown)
    picture.title(name, BAND)
    picture.y += BAND + GAP
    if truth is not None:
        picture.bands("true instances", truth)
    for label, cas in zip(shown, signals.cas, strict=True):
        picture.curve(classes[label], signals.edges, cas, picture.colour[label])
    picture.curve("foreground attention", signals.edges, signals.attention, "#333")
    picture.bands("proposals", signals.proposals)
    picture.bands("detections", detections)
    picture.axis()
    return picture.svg()


_LEGEND = (
    "Curves: the class activation sequence (CAS) of each class that is true or was detected, in its colour, and the "
    "foreground attention. Bars: of those that overlap, the better ones above; point at one for its class and score."
)


def page_of_video(name: str, classes: list[str], picture: str, truth: Segments | None, detections: Segments) -> str:
    """An HTML page: the picture, and both lists as tables."""
    tables = _table("Detections", classes, detections.best_first())
    if truth is not None:
        tables += _table("True instances", classes, truth[np.argsort(truth.start, kind="stable")], with_score=False)
    style = (
        "body{font-family:sans-serif;margin:20px}p{max-width:70em;color:#555}td,th{padding:2px 10px;text-align:left}"
    )
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(name)}</title><style>{style}</style>"
    return f"{head}{picture}<p>{_LEGEND}</p>{tables}"


def _table(title: str, classes: list[str], segments: Segments, with_score: bool = True) -> str:
    """The first MAX_ROWS of `segments`, and how many more there are."""
    rows = []
    for label, start, end, score in segments[np.arange(min(len(segments), MAX_ROWS))].to_rows():
        last = f"<td>{score:.3f}" if with_score else ""
        rows.append(f"<tr><td>{html.escape(classes[int(label)])}<td>{start:.2f}<td>{end:.2f}{last}</tr>")
    more = f"<p>{len(segments) - MAX_ROWS} more in detections.csv.</p>" if len(segments) > MAX_ROWS else ""
    head = "<tr><th>class<th>start (s)<th>end (s)" + "<th>score" * with_score
    return f"<h2>{title}</h2><table>{head}</tr>{''.join(rows)}</table>{more}"
