"""Lower precisions in testing: what they change is found once, stored, and refused where it cannot be computed."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slowfast_gta.engine.precision import PRECISIONS, Rounding, check_precision, precision_dtype
from slowfast_gta.errors import ConfigError, RunError


def test_what_changed_is_counted_over_all_outputs():
    exact = torch.tensor([[0.9, 0.1, 0.2, 0.8], [0.4, 0.6, 0.7, 0.3], [0.5, 0.5, 0.6, 0.4]])
    rounded = exact.clone()
    rounded[1, 2:] = torch.tensor([0.25, 0.75])
    rounded[2, 0] = 0.51
    rounding = Rounding("bfloat16", nn.Identity(), [2, 2])
    assert not rounding.is_done and isinstance(rounding.exact_on(nn.Linear(1, 1)), nn.Identity)
    rounding.compare(exact, rounded)
    assert rounding.is_done and rounding.change == {
        "precision": "bfloat16",
        "num_clips": 3,
        "largest_change": pytest.approx(0.45),
        "num_changed_answers": 1,
    }


def test_a_precision_that_cannot_be_computed_is_refused(monkeypatch):
    for name in PRECISIONS:
        check_precision(name, torch.device("cpu"))
    with pytest.raises(ConfigError, match="float8"):
        precision_dtype("float8")

    def refuse(*_):
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(F, "conv3d", refuse)
    with pytest.raises(RunError, match=r"TEST\.PRECISION"):
        check_precision("float16", torch.device("cpu"))


def test_a_test_reports_what_its_precision_changed(run_tiny, tmp_path):
    """Validation stays in float32; results.json has both, and the scores are those of the lower precision."""
    assert run_tiny("TEST.PRECISION", "bfloat16", "SOLVER.MAX_EPOCH", 1)[0] == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["precision"] == "bfloat16" and results["rounding"]["precision"] == "bfloat16"
    assert 0 < results["rounding"]["largest_change"] < 0.05 and results["rounding"]["num_clips"] > 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows][-2:] == ["val", "test"]
    assert run_tiny("TEST.PRECISION", "float32", "TRAIN.ENABLE", False)[0] == 0
    exact = json.loads((tmp_path / "run" / "results.json").read_text())
    assert exact["precision"] == "float32" and "rounding" not in exact


def test_a_misspelled_name_and_a_wrong_word_are_refused(run_tiny):
    code, _, err = run_tiny("TEST.PRECISON", "bfloat16")
    assert code == 2 and "TEST.PRECISION" in err
    code, _, err = run_tiny("TEST.PRECISION", "bf16")
    assert code == 2 and "bfloat16" in err
