"""The curves of a run."""

import json
import logging

from slowfast_gta.reports import curves
from slowfast_gta.reports.curves import draw_curves, panels_of, save_curves_picture

ROWS = [{"kind": "train", "step": step, "loss": 1 / step, "top1": step, "lr": 0.1, "loss_recent": 1} for step in (1, 2)]
ROWS += [{"kind": "val", "step": 2, "loss": 0.7, "top1": 30.0, "top5": 90.0, "num_videos": 4}]
ROWS += [{"kind": "test", "step": 2, "top1": 40.0}]


def test_what_is_drawn_is_what_was_measured(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert panels_of(ROWS) == ["loss", "top1", "top5", "lr"]
    drawn = {
        axes.get_title(loc="left"): [(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in axes.lines]
        for axes in draw_curves(tmp_path).axes
    }
    assert drawn["loss"] == [((1, 2), (1.0, 0.5)), ((2,), (0.7,))]
    assert drawn["top-1, %"] == [((1, 2), (1, 2)), ((2,), (30.0,))]
    assert save_curves_picture(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw(tmp_path, monkeypatch, caplog):
    assert save_curves_picture(tmp_path) is None, "no metrics.jsonl"
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.setattr(curves, "has_matplotlib", lambda: False)
    with caplog.at_level(logging.WARNING, "slowfast_gta"):
        assert save_curves_picture(tmp_path) is None
    assert "curves.png" in caplog.text and not (tmp_path / "curves.png").exists()
