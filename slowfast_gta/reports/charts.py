"""The charts of a report as Vega-Lite specifications, by Altair. Colours are the page's, which has a light and a dark
form. Fields have fixed names; what a stranger's files hold is only ever a value.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from slowfast_gta.errors import RunError

Spec = dict[str, Any]
EXTRA = "pip install '.[report]' in the folder of the code"
BAR_PX = 16  # as in report.js
_MOST_LABELS = 40  # classes whose names are written at the sides of a matrix


def import_extra(package: str) -> Any:
    """A package of the extra `report`. Raises RunError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise RunError(f"A report needs {package}, which is not installed: {EXTRA}.") from None


def script_bundle() -> str:
    """vega-embed, with Vega and Vega-Lite in it, as one script, for a page without a network."""
    return import_extra("vl_convert").javascript_bundle().replace("</script", "<\\/script")


def curve_chart(points: Sequence[dict], title: str) -> Spec:
    """`points`: {"run", "split", "step", "value"}."""
    alt = import_extra("altair")
    both = alt.Chart(alt.Data(values=list(points))).encode(
        alt.X("step:Q", title="training step"),
        alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
        alt.Color("run:N", title="run", sort=None, legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=3)),
        alt.Detail("split:N"),
        tooltip=["run:N", "split:N", "step:Q", alt.Tooltip("value:Q", format=".5g")],
    )
    # The dashes are of the lines alone: with points on the same mark, Vega-Lite leaves the legend's strokes out.
    strokes = alt.Legend(symbolType="stroke", symbolSize=300, symbolStrokeWidth=2, symbolStrokeColor="#808080")
    lines = both.mark_line().encode(alt.StrokeDash("split:N", title="split", legend=strokes))
    return alt.layer(lines, both.mark_circle(size=14, opacity=1)).properties(width="container", height=220).to_dict()


def interval_chart(rows: Sequence[dict]) -> Spec:
    """`rows`: {"run", "figure", "value", "low", "high"}; percent."""
    alt = import_extra("altair")
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        alt.Y("run:N", title=None, sort=None),
        alt.Color("run:N", legend=None, sort=None),
        tooltip=["run:N", "figure:N", *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("value", "low", "high"))],
    )
    lines = base.mark_rule(strokeWidth=3).encode(
        alt.X("low:Q", title="percent", scale=alt.Scale(zero=False)), alt.X2("high:Q")
    )
    points = base.mark_point(filled=True, size=90).encode(alt.X("value:Q"))
    return (
        alt.layer(lines, points)
        .properties(width=215, height=26 * len({row["run"] for row in rows}))
        .facet(alt.Facet("figure:N", title=None, sort=list(dict.fromkeys(row["figure"] for row in rows))), columns=4)
        .resolve_scale(x="independent")
        .to_dict()
    )


def class_chart(rows: Sequence[dict]) -> Spec:
    """`rows`: {"class", "accuracy", "num_videos", "order"}, of the classes that have videos."""
    alt = import_extra("altair")
    return (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_bar()
        .encode(
            alt.Y("class:N", title=None, sort=alt.EncodingSortField("accuracy", order="descending")),
            alt.X("accuracy:Q", title="accuracy, percent", scale=alt.Scale(domain=[0, 100])),
            tooltip=["class:N", alt.Tooltip("accuracy:Q", format=".1f"), "num_videos:Q"],
        )
        .properties(width="container", height=BAR_PX * len(rows))
        .to_dict()
    )


def confusion_chart(cells: Sequence[dict], class_names: Sequence[str]) -> Spec:
    """`cells`: {"true", "predicted", "i", "j", "count", "percent"}, those that are not 0."""
    alt = import_extra("altair")
    few = len(class_names) <= _MOST_LABELS
    y, x = ("true:N", "predicted:N") if few else ("i:O", "j:O")
    scale = alt.Scale(domain=list(class_names) if few else list(range(len(class_names))))
    axis = alt.Axis(labelLimit=180, labelAngle=-90) if few else None
    return (
        alt.Chart(alt.Data(values=list(cells)))
        .mark_rect()
        .encode(
            alt.X(x, title="predicted", sort=None, scale=scale, axis=axis),
            alt.Y(y, title="true", sort=None, scale=scale, axis=alt.Axis(labelLimit=180) if few else None),
            alt.Color("percent:Q", title="percent of the true class", scale=alt.Scale(domain=[0, 100])),
            tooltip=["true:N", "predicted:N", "count:Q", alt.Tooltip("percent:Q", format=".1f")],
        )
        .properties(width="container", height=18 * len(class_names) if few else 620)
        .to_dict()
    )
