"""The benchmark beside other runtimes: it compares what answers the same. No time is asserted."""

import importlib.util
import json

import numpy as np
import pytest
from miniatures import ROOT

from slowfast_gta.benchmarks import against
from slowfast_gta.commands import run_command
from slowfast_gta.errors import RunError

SMALL = ["RESNET.DEPTH", "14", "RESNET.WIDTH_PER_GROUP", "8", "DATA.TRAIN_CROP_SIZE", "32", "DATA.TEST_CROP_SIZE", "32"]
CFG = ["--cfg", str(ROOT / "configs" / "SSv1" / "R2D50.yaml"), *SMALL, "DATA.NUM_FRAMES", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("name", against.OTHERS)
def test_it_is_compared_with_what_is_installed(name, capsys):
    if any(importlib.util.find_spec(package) is None for package in (name, "onnxscript")):
        pytest.skip(f"{name} or onnxscript is not installed")
    assert run_command("benchmark", ["model", *CFG, "--against", name, "--pairs", "2", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["against"][name]["fp32"]["largest_difference"] < 1e-3 and results["pairs"] == 2
    assert results["matrix_product_gflops"] > 0 and results["share_of_matrix_product_rate"] > 0
    assert ("bf16" in results["against"][name]) <= (results["matrix_product_gflops_bf16"] is not None)


def test_what_answers_otherwise_is_not_timed():
    with pytest.raises(RunError, match=r"\bdiffers\b.* by 1 of\b"):
        against._compare(lambda: np.zeros(3), lambda: np.ones(3), 1, exact=True)
    found = against._compare(lambda: np.ones(3), lambda: np.ones(3), 3, exact=True)
    assert found["largest_difference"] == 0 and found["speedup"] > 0


def test_wrong_words_are_refused(capsys, monkeypatch):
    def none(name, *rest, real=against.importlib.import_module):
        if name in ("openvino", "onnxruntime"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(against.importlib, "import_module", none)
    for words, code in (
        (["model", *CFG, "--against", "tensorrt"], 2),
        (["model", *CFG, "--against", "openvino"], 1),
        (["loader", "--against", "onnxruntime"], 2),
    ):
        assert run_command("benchmark", words) == code
        message = capsys.readouterr().err
        assert message.startswith("error: ") and "Traceback" not in message
