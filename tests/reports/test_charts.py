"""Charts of a report, as specifications."""

import pytest

from slowfast_gta.reports.charts import curve_chart


def test_the_legend_of_the_splits_has_strokes():
    """Vega-Lite has drawn them transparent, where points were part of the lines."""
    vega = pytest.importorskip("vl_convert")
    points = [{"run": "a", "split": split, "step": 1, "value": 2.0} for split in ("training", "validation")]
    legends = vega.vegalite_to_vega(curve_chart(points, "loss"))["legends"]
    (strokes,) = (legend for legend in legends if legend["title"] == "split")
    assert "transparent" not in str(strokes) and strokes["symbolStrokeColor"]
