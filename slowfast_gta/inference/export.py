"""A trained network as one file for people without this package: ONNX, or torch.export's own format.

What is in the file: uint8 frames in, as decoders give them; normalisation and network; probabilities out. Names of the
classes and everything that must be known of the input are in its metadata. The file is compared with the network on
clips before it gets its name: one that does not compute the same is not left behind.

Legend: B clips, T frames, S crop size, K classes.
"""

import contextlib
import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.engine.device import Normalize, build_normalize
from slowfast_gta.engine.precision import in_precision, precision_dtype
from slowfast_gta.errors import ConfigError, RunError
from slowfast_gta.inference.network import ClassNames, build_loaded_network

FORMATS = ("onnx", "torch")
DYNAMIC = ("batch", "none")
OPSET = 20
INPUT = "frames"
# The largest difference from the network in float32, over the largest of its scores, that is still the same network.
BOUNDS = {"float32": 1e-4, "float16": 5e-2}
EXTRA = "pip install '.[export]' in the folder of the code"

Forward = Callable[[np.ndarray], list[np.ndarray]]
"""uint8 (B, T, S, S, 3) -> the scores (B, K) of each output."""


class ExportedNetwork(nn.Module):
    """uint8 RGB frames (B, T, S, S, 3) -> float32 scores (B, K) of each output, in a tuple."""

    factor: Tensor
    offset: Tensor

    def __init__(self, model: nn.Module, normalize: Normalize, dtype: torch.dtype):
        super().__init__()
        self.model = in_precision(model, dtype)
        self._dtype, self._reverse = dtype, normalize.reverse
        self.register_buffer("factor", normalize.factor.clone())
        self.register_buffer("offset", normalize.offset.clone())

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        clip = frames.permute(0, 4, 1, 2, 3).float() * self.factor + self.offset
        outputs = self.model((clip.flip(1) if self._reverse else clip).to(self._dtype))
        heads = outputs.values() if isinstance(outputs, dict) else (outputs,)
        return tuple(scores.float() for scores in heads)


@dataclass(frozen=True)
class Export:
    """A network that is ready to be written. `metadata`: what the file says of itself, plain values."""

    network: ExportedNetwork
    exact: ExportedNetwork  # the same in float32, what the file is compared with
    clip_shape: tuple[int, int, int, int]  # T, S, S, 3
    output_names: tuple[str, ...]
    metadata: dict[str, Any]
    precision: str


def build_export(cfg: CfgNode, weights: str | Path, precision: str = "float32") -> Export:
    """The network of `cfg` with `weights`, its BatchNorms folded. Raises ConfigError, WeightsError."""
    if precision not in BOUNDS:
        raise ConfigError(f"--precision is {precision}; it must be one of {', '.join(BOUNDS)}.")
    loaded, rounded = (build_loaded_network(cfg, weights) for _ in range(2))
    normalize, side = build_normalize(cfg), cfg.DATA.TEST_CROP_SIZE
    names = loaded.class_names
    return Export(
        ExportedNetwork(rounded.model, normalize, precision_dtype(precision)).eval(),
        ExportedNetwork(loaded.model, normalize, torch.float32).eval(),
        (cfg.DATA.NUM_FRAMES, side, side, 3),
        tuple(names) if isinstance(names, dict) else ("scores",),
        {
            "network": loaded.name,
            "weights_sha256": loaded.weights_digest,
            "precision": precision,
            "class_names": _plain(names),
            "input": {
                "name": INPUT,
                "layout": "batch, frame, height, width, colour",
                "shape": ["batch", cfg.DATA.NUM_FRAMES, side, side, 3],
                "dtype": "uint8",
                "colour": "RGB",
                "normalisation": "inside",
                "resize": list(cfg.DATA.RESIZE) or f"shorter side {side}",
                "crop": f"centre, {side} x {side}",
            },
            "sampling": {
                "kind": cfg.DATA.SAMPLING,
                "num_frames": cfg.DATA.NUM_FRAMES,
                "sampling_rate": cfg.DATA.SAMPLING_RATE,
                "target_fps": cfg.DATA.TARGET_FPS,
            },
            "output": {"softmax": "probabilities", "sigmoid": "probabilities"}.get(cfg.MODEL.HEAD_ACT, "logits"),
        },
        precision,
    )


def _plain(names: ClassNames) -> dict[str, list[str]] | list[str]:
    return {output: list(of_output) for output, of_output in names.items()} if isinstance(names, dict) else list(names)


def check_format(file_format: str, dynamic: str, output: Path) -> None:
    """Raises ConfigError for what cannot be written, RunError where a package that it needs is missing."""
    if file_format not in FORMATS:
        raise ConfigError(f"--format is {file_format}; it must be one of {', '.join(FORMATS)}.")
    if dynamic not in DYNAMIC:
        raise ConfigError(f"--dynamic is {dynamic}; it must be one of {', '.join(DYNAMIC)}.")
    if output.is_dir():
        raise ConfigError(
            f"--output is {output}, which is a folder. Name a file, for example {output / f'network.{file_format}'}."
        )
    if file_format == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            import_extra(package)


def import_extra(package: str) -> Any:
    """A package of the extra `export`. Raises RunError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise RunError(f"--format onnx needs {package}, which is not installed: {EXTRA}.") from None


def export_to_file(
    export: Export, clips: np.ndarray, output: Path, file_format: str = "onnx", dynamic: str = "batch"
) -> dict[str, Any]:
    """Write `output`, compared on `clips`, uint8 (N, T, S, S, 3), one by one and (dynamic batch) all together.

    Returns {"largest_difference", "bound", "num_clips", "bytes"}; the difference is over the largest score. Raises
    RunError where it is above the bound: then no file is left, and what was at `output` stays.
    """
    check_format(file_format, dynamic, output)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f"{output.name}.tmp")
    write, load = {"onnx": (_write_onnx, load_onnx), "torch": (_write_torch, load_torch)}[file_format]
    try:
        with quiet_exporters(), torch.no_grad():
            write(export, _program(export, clips, dynamic), temporary)
        batches = [clip[None] for clip in clips] + ([clips] if dynamic == "batch" and len(clips) > 1 else [])
        difference = largest_difference(export.exact, load(temporary), batches)
        bound = BOUNDS[export.precision]
        if not difference <= bound:
            raise RunError(
                f"The exported network differs from the original: the largest difference is {difference:.2g} of "
                f"the largest score, but {bound:g} is allowed in {export.precision}. No file was written. "
                + ("Try --precision float32." if export.precision != "float32" else "This is a bug: please report it.")
            )
        size = temporary.stat().st_size
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return {"largest_difference": float(difference), "bound": bound, "num_clips": len(clips), "bytes": size}


@torch.no_grad()
def largest_difference(exact: nn.Module, forward: Forward, batches: Sequence[np.ndarray]) -> float:
    """Between the scores of both, over the largest of `exact`; inf where one is not finite."""
    difference = largest = 0.0
    for batch in batches:
        for wanted, actual in zip(exact(torch.from_numpy(batch)), forward(batch), strict=True):
            reference = wanted.numpy()
            if reference.shape != actual.shape or not np.isfinite(actual).all():
                return float("inf")
            difference = max(difference, float(np.abs(reference - actual).max()))
            largest = max(largest, float(np.abs(reference).max()))
    return difference / max(largest, 1e-12)


def _program(export: Export, clips: np.ndarray, dynamic: str) -> torch.export.ExportedProgram:
    count = 2 if dynamic == "batch" else 1  # an example of one would make a batch of one the only one
    example = torch.from_numpy(np.ascontiguousarray(np.resize(clips, (count, *export.clip_shape))))
    shapes = {INPUT: {0: torch.export.Dim("batch", min=1)}} if dynamic == "batch" else None
    program = torch.export.export(export.network, (example,), dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine: the file is for others
    return program


def _write_torch(export: Export, program: torch.export.ExportedProgram, path: Path) -> None:
    text = json.dumps(export.metadata, ensure_ascii=False)
    with path.open("wb") as file:  # a path would have to end in .pt2
        torch.export.save(program, file, extra_files={"metadata.json": text})


def _write_onnx(export: Export, program: torch.export.ExportedProgram, path: Path) -> None:
    onnx = import_extra("onnx")
    # Runtimes simplify graphs themselves, in a fraction of the time that the exporter's own passes take.
    written = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        optimize=False,
        verbose=False,
        input_names=[INPUT],
        output_names=list(export.output_names),
    )
    assert written is not None
    model = written.model_proto
    _without_traces(model.graph)
    _name_batches(model.graph)
    for name, value in export.metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _without_traces(graph: Any) -> None:
    """Leave out what the exporter notes at each node for its own developers: most of a small file, with paths of this
    machine."""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]


def _name_batches(graph: Any) -> None:
    """Call the one axis that is free "batch", and not by a number of the exporter's."""
    for value in (*graph.input, *graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_param:
            first.dim_param = "batch"
    del graph.value_info[:]  # what lies between is inferred; the names in it would be the old ones


def load_onnx(path: Path, num_threads: int = 0) -> Forward:
    """The network of an ONNX file in ONNX Runtime on the CPU. `num_threads`: 0 for its own choice."""
    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda frames: session.run(None, {INPUT: frames})


def load_torch(path: Path) -> Forward:
    """The network of a file of torch.export."""
    with path.open("rb") as file:
        network = torch.export.load(file).module()
    return lambda frames: [output.detach().numpy() for output in network(torch.from_numpy(frames))]


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Without what the exporters tell their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
