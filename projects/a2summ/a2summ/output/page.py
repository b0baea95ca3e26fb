"""The summary as one HTML page that needs nothing else: pictures, and a video that is not too large, are inside."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from a2summ.output.texts import clock, write_text

_MAX_VIDEO_BYTES = 32 * 2**20
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }
video, .timeline { max-width: 100%; } .keys { display: flex; flex-wrap: wrap; gap: 8px; }
figure { margin: 0; } figure img { height: 130px; } figcaption, .said { color: #555; font-size: 14px; }
table { border-collapse: collapse; } td { padding: 2px 14px 2px 0; vertical-align: top; }
.note { background: #fff6dd; padding: 6px 12px; border-left: 4px solid #e0b23c; }
"""


def write_page(
    path: Path,
    title: str,
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str],
    video: Path,
    timeline: Path,
    key_frames: Sequence[tuple[Path, float]],
    sentences: Sequence[tuple[float, str, bool]],
) -> None:
    """`facts` are rows of a table; `key_frames` (file, seconds); `sentences` (seconds, text, whether a key sentence).
    All text is escaped."""
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head><body>',
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
        f'<video controls src="{_video_source(video)}"></video>',
        _table(facts),
        f'<h2>Timeline</h2><img class="timeline" alt="Score, shots and sentences over time" src="{_data(timeline)}">',
        '<h2>Key frames</h2><div class="keys">',
        *(
            f'<figure><img alt="Key frame at {clock(seconds)}" src="{_data(file)}">'
            f"<figcaption>{clock(seconds)}</figcaption></figure>"
            for file, seconds in key_frames
        ),
        "</div>",
    ]
    if sentences:
        parts.append("<h2>Sentences</h2><p class='said'>Key sentences in bold.</p><table>")
        for seconds, text, is_key in sentences:
            words = f"<b>{escape(text)}</b>" if is_key else escape(text)
            parts.append(f"<tr><td>{clock(seconds)}</td><td>{words}</td></tr>")
        parts.append("</table>")
    write_text(path, "\n".join([*parts, "</body></html>"]) + "\n")


def _table(facts: Sequence[tuple[str, str]]) -> str:
    rows = (f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts)
    return "<table>" + "".join(rows) + "</table>"


def _data(path: Path) -> str:
    kind = {".png": "image/png", ".jpg": "image/jpeg", ".mp4": "video/mp4"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _video_source(path: Path) -> str:
    """The video itself, or where it is too large for a page the name of the file beside it."""
    return _data(path) if path.stat().st_size <= _MAX_VIDEO_BYTES else escape(path.name)
