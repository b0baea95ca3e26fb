"""How every picture of the project looks: fonts that have the letters needed, colours, colour bars, files.

matplotlib is an extra (pip install 'slowfast_gta[pictures]') and imported here alone, when something is drawn; always
on a canvas in memory (Agg), so that no screen is needed and nothing of the user's matplotlib settings counts.
"""

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_gta.errors import ConfigError
from slowfast_gta.files import write_whole

logger = logging.getLogger("slowfast_gta")

SEQUENTIAL, DIVERGING, OVERLAY = "Blues", "RdBu_r", "viridis"  # told apart with any kind of colour vision
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's
DASHES = ("-", "--", "-.", ":")
INK, MUTED = "#222222", "#666666"
_DPI = 130
_SIZE = 9.0
_BASE_FONT = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic and more
# Asked first for what it lacks; any other installed font that has the letter comes behind them.
_PREFERRED = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Noto Sans", "Arial Unicode MS"),
)

Figure = Any
Axes = Any


def has_matplotlib() -> bool:
    """Whether pictures can be drawn here."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def check_matplotlib(what: str = "Pictures") -> None:
    """Raises ConfigError, a sentence about `what`, where matplotlib is not installed."""
    if not has_matplotlib():
        raise ConfigError(f"{what}: matplotlib is not installed. Install it: pip install 'slowfast_gta[pictures]'.")


def not_drawn(what: str) -> str:
    """The message about a picture that a run would have left."""
    return f"{what} is not drawn: matplotlib is not installed (pip install 'slowfast_gta[pictures]')."


@contextlib.contextmanager
def new_figure(width: float, height: float, texts: Iterable[str] = ()) -> Iterator[Figure]:
    """An empty figure of `width` x `height` inches that will show `texts`: fonts are chosen for their letters.

    What is put into it inside the `with` has the style. Raises ConfigError where matplotlib is not installed.
    """
    check_matplotlib()
    _quiet()
    from matplotlib import rc_context, rcParamsDefault
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    chosen = _settings(texts)
    with rc_context(rcParamsDefault | chosen):
        figure = NewFigure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        figure.slowfast_settings = chosen  # type: ignore[attr-defined]  # it is drawn later, in the same style
        yield figure


def _settings(texts: Iterable[str]) -> dict[str, Any]:
    """matplotlib's settings for a figure that shows `texts`."""
    return {
        "backend": "agg",
        "font.family": [_BASE_FONT, *fonts_for("".join(texts))],
        "font.size": _SIZE,
        "axes.titlesize": _SIZE,
        "axes.labelsize": _SIZE,
        "xtick.labelsize": _SIZE - 1,
        "ytick.labelsize": _SIZE - 1,
        "legend.fontsize": _SIZE - 1,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.unicode_minus": True,
        "svg.fonttype": "path",  # the same letters wherever it is opened
        "svg.hashsalt": "slowfast_gta",  # equal pictures are equal files
        "text.parse_math": False,  # a class may be called $5
    }


@cache
def fonts_for(text: str) -> tuple[str, ...]:
    """Installed fonts, beside the first one, that have the letters of `text` which it lacks; in order.

    Letters that no font here has are logged: they are drawn as boxes.
    """
    missing = {ord(letter) for letter in text if not letter.isspace()} - _letters_of(_path_of(_BASE_FONT))
    fonts = []
    for name, path in _fonts().items():
        if not missing:
            break
        if has := missing & _letters_of(path):
            missing -= has
            fonts.append(name)
    if missing:
        example = "".join(map(chr, sorted(missing)[:5]))
        logger.warning(
            "Characters in a picture that no font on this machine has: %d (%s ...); they are drawn as boxes. "
            "For Chinese, Japanese and Korean: apt install fonts-noto-cjk.",
            len(missing),
            example,
        )
    return tuple(fonts)


def _fonts() -> dict[str, str]:
    """Name -> file of the installed fonts, the preferred ones first."""
    from matplotlib.font_manager import fontManager

    fonts: dict[str, str] = {}
    for entry in fontManager.ttflist:
        if entry.style == "normal" and "last resort" not in entry.name.lower():  # whose letters are boxes
            fonts.setdefault(entry.name, entry.fname)
    return {name: fonts[name] for name in (*_PREFERRED, *sorted(fonts)) if name in fonts}


def _path_of(name: str) -> str:
    from matplotlib.font_manager import findfont

    return findfont(name)


@cache
def _letters_of(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (RuntimeError, OSError):  # a damaged font file is none
        return frozenset()


@cache
def _quiet() -> None:
    """What matplotlib logs of caches and missing letters does not concern the user, or is logged above."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


# ------------------------------------------------------------------------------------------------- parts of a figure


def draw_matrix(
    axes: Axes,
    matrix: np.ndarray,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    signed: bool = False,
    most: float | None = None,
    numbers: str = "",
) -> Any:
    """`matrix` (R, C) as coloured cells; from 0, or `signed` from -most to most. NaN is grey.

    most: the value of the last colour; the largest absolute value, if None. numbers: a format, "{:.2f}", for cells.
    Returns what `colour_bar` takes.
    """
    from matplotlib import colormaps

    largest = most if most is not None else float(np.nanmax(np.abs(matrix), initial=0.0)) or 1.0
    colours = colormaps[DIVERGING if signed else SEQUENTIAL].with_extremes(bad="#cccccc")
    drawn = axes.imshow(
        matrix, cmap=colours, vmin=-largest if signed else 0, vmax=largest, interpolation="nearest", aspect="auto"
    )
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    axes.tick_params(length=0)
    if numbers:
        for row, column in np.argwhere(np.nan_to_num(matrix)):  # a 0 has no colour, and needs no number
            value = matrix[row, column]
            colour = "white" if abs(value) > 0.6 * largest else "black"
            axes.text(column, row, numbers.format(value), ha="center", va="center", color=colour, fontsize=_SIZE - 2)
    return drawn


def colour_bar(figure: Figure, drawn: Any, axes: Any, label: str) -> None:
    """The colours of `drawn` with their values, beside `axes`."""
    bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.015)
    bar.set_label(label)
    bar.outline.set_visible(False)


def shortened(text: str, length: int = 44) -> str:
    """At most `length` letters of it."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


# -------------------------------------------------------------------------------------------------------------- files


def picture_bytes(figure: Figure, file_format: str = "png") -> bytes:
    """The file of a figure; equal figures give equal bytes."""
    from matplotlib import rc_context, rcParamsDefault

    content = io.BytesIO()
    metadata = {"Software": None} if file_format == "png" else {"Date": None, "Creator": "slowfast_gta"}
    with rc_context(rcParamsDefault | figure.slowfast_settings):
        figure.savefig(content, format=file_format, metadata=metadata)
    return content.getvalue()


def save_picture(path: str | Path, figure: Figure) -> None:
    """Write a figure as .png or .svg, as `path` says, whole or not at all. Raises OSError where it cannot."""
    write_whole(path, picture_bytes(figure, Path(path).suffix.removeprefix(".")))
