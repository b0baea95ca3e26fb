"""The summary as one HTML page that needs nothing else: pictures, and a video that is not too large, are inside."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from a2summ.output.texts import clock, write_file

_MAX_VIDEO_BYTES = 32 * 2**20
_KEY_HEIGHT_PX = 130
_STYLE = f"""
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }}
video, .timeline {{ max-width: 100%; }} .keys {{ display: flex; flex-wrap: wrap; gap: 8px; }}
figure {{ margin: 0; }} figure img {{ height: {_KEY_HEIGHT_PX}px; }}
figcaption, .said {{ color: #555; font-size: 14px; }}
table {{ border-collapse: collapse; }} td {{ padding: 2px 14px 2px 0; vertical-align: top; }}
.note {{ background: #fff6dd; padding: 6px 12px; border-left: 4px solid #e0b23c; }}
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
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
        f'<video controls src="{_video_source(video)}"></video>',
        _table(facts),
        f'<h2>Timeline</h2><img class="timeline" alt="Score, shots and sentences over time" src="{_data(timeline)}">',
        '<h2>Key frames</h2><div class="keys">',
        *(
            f'<figure><img alt="Key frame at {clock(seconds)}" src="{_thumbnail(file)}">'
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
    write_file(path, "\n".join([*parts, "</body></html>"]) + "\n")


def _table(facts: Sequence[tuple[str, str]]) -> str:
    rows = (f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts)
    return "<table>" + "".join(rows) + "</table>"


def _data(path: Path) -> str:
    kind = {".png": "image/png", ".mp4": "video/mp4"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _thumbnail(path: Path) -> str:
    """A picture at twice the height that the page shows it in, so that a page with many stays small."""
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    scale = min(1.0, 2 * _KEY_HEIGHT_PX / picture.shape[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"


def _video_source(path: Path) -> str:
    """The video itself, or where it is too large for a page the name of the file beside it."""
    return _data(path) if path.stat().st_size <= _MAX_VIDEO_BYTES else escape(path.name)
