"""A network in testing beside what a user would pick instead on a CPU: ONNX Runtime, OpenVINO.

Each is given the network as `tools/export.py` gives it away (BatchNorms folded, ONNX) and the same number of threads.
Pairs are run in turns, one clip a time, and the median of (seconds of the other / seconds of ours) is the speed-up.
"""

import copy
import importlib
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.benchmarks.complexity import build_complexity
from slowfast_gta.benchmarks.network import describe_machine, has_bf16, seconds_of
from slowfast_gta.engine.output import processor_name
from slowfast_gta.errors import ConfigError, RunError
from slowfast_gta.inference.export import OPSET, quiet_exporters
from slowfast_gta.models.build import build_model
from slowfast_gta.models.fold import fold_batch_norms
from slowfast_gta.models.packed import prepack_convs_

Run = Callable[[], Any]
OTHERS = ("onnxruntime", "openvino")
_MATRIX_SIDE, _ALLOWED = 2048, 1e-3


def build_against(cfg: CfgNode, others: Sequence[str], pairs: int = 20, batch_size: int = 1) -> dict[str, Any]:
    """Speed-ups over `others`, seconds of each, and which share of the processor's matrix-product rate ours reaches.

    Raises ConfigError for others that there are not, RunError where one is not installed.
    """
    modules = {name: _imported(name) for name in others}
    _imported("onnx")
    torch.manual_seed(cfg.RNG_SEED)
    folded = fold_batch_norms(build_model(cfg).eval())
    shape = (batch_size, 3, cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE)
    clip = torch.randn(shape)
    ours = {"fp32": _ours(folded, clip, torch.float32)}
    if has_bf16(clip.device):
        ours["bf16"] = _ours(folded, clip, torch.bfloat16)
    forms = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        _write_onnx(folded, clip, path)
        for name, module in modules.items():
            runs = _RUNS[name](module, path, clip.numpy(), "bf16" in ours)
            forms[name] = {"version": module.__version__.split("-")[0]}
            for precision, run in runs.items():
                forms[name][precision] = _compare(run, ours[precision], pairs, exact=precision == "fp32")
    operations = 2e9 * batch_size * build_complexity(cfg)["gmacs"]
    seconds = statistics.median(seconds_of(ours["fp32"]) for _ in range(5))
    rate = matrix_product_rate()
    return {
        "against": forms,
        "ours_fp32_sec": round(seconds, 4),
        "matrix_product_gflops": round(rate / 1e9, 1),
        "matrix_product_gflops_bf16": round(matrix_product_rate(torch.bfloat16) / 1e9, 1) if "bf16" in ours else None,
        "share_of_matrix_product_rate": round(operations / seconds / rate, 3),
        "pairs": pairs,
        "clip": list(shape),
        "processor": processor_name(),
        "machine": describe_machine(clip.device),
    }


def _imported(name: str) -> Any:
    if name not in (*OTHERS, "onnx"):
        raise ConfigError(f"--against {name}: it must be one of {', '.join(OTHERS)}.")
    try:
        return importlib.import_module(name)
    except ImportError:
        extra = "pip install openvino" if name == "openvino" else "pip install '.[export]' in the folder of the code"
        raise RunError(f"--against needs {name}, which is not installed: {extra}.") from None


def _ours(folded: nn.Module, clip: Tensor, dtype: torch.dtype) -> Run:
    model, given = prepack_convs_(copy.deepcopy(folded).to(dtype)), clip.to(dtype)

    @torch.inference_mode()
    def run() -> np.ndarray:
        return model(given).float().numpy()

    return run


def _write_onnx(folded: nn.Module, clip: Tensor, path: Path) -> None:
    with torch.no_grad(), quiet_exporters():
        program = torch.onnx.export(
            folded, (clip,), dynamo=True, opset_version=OPSET, optimize=False, verbose=False, input_names=["clip"]
        )
    assert program is not None
    program.save(str(path))


def _onnxruntime(module: Any, path: Path, clip: np.ndarray, with_bf16: bool) -> dict[str, Run]:
    options = module.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = module.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return {"fp32": lambda: session.run(None, {"clip": clip})[0]}


def _openvino(module: Any, path: Path, clip: np.ndarray, with_bf16: bool) -> dict[str, Run]:
    def compiled(precision: str) -> Run:
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        request = module.Core().compile_model(str(path), "CPU", settings).create_infer_request()
        return lambda: request.infer({0: clip})[0]

    runs = {"fp32": compiled("f32")}
    return runs | ({"bf16": compiled("bf16")} if with_bf16 else {})


_RUNS = {"onnxruntime": _onnxruntime, "openvino": _openvino}


def _compare(other: Run, ours: Run, pairs: int, exact: bool) -> dict[str, float]:
    """Raises RunError where the outputs of the two differ: then their times say nothing."""
    theirs, wanted = np.asarray(other()), ours()
    difference = float(np.abs(theirs - wanted).max() / np.abs(wanted).max())
    if exact and not difference < _ALLOWED:
        raise RunError(f"The output of the other runtime differs from ours by {difference:.2g} of the largest value.")
    times = [(seconds_of(other), seconds_of(ours)) for _ in range(pairs)]
    return {
        "speedup": round(statistics.median(first / second for first, second in times), 3),
        "seconds": round(statistics.median(first for first, _ in times), 4),
        "ours_seconds": round(statistics.median(second for _, second in times), 4),
        "largest_difference": difference,
    }


def matrix_product_rate(dtype: torch.dtype = torch.float32) -> float:
    """Operations (multiplications and additions) a second of a large matrix product in `dtype`."""
    first, second = (torch.randn(_MATRIX_SIDE, _MATRIX_SIDE).to(dtype) for _ in range(2))
    first @ second
    return 2 * _MATRIX_SIDE**3 / statistics.median(seconds_of(lambda: first @ second) for _ in range(5))
