"""Is a GPU right? Blocks and networks against the CPU's float64, stalls of a step, the same bits, several processes."""

import copy
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slowfast_gta import distributed
from slowfast_gta.benchmarks.gpu_cases import (
    GTA,
    NL,
    R2D,
    SLOWFAST,
    TSM,
    Setting,
    build_float_learner,
    difference,
    state_of,
)
from slowfast_gta.engine.device import set_deterministic
from slowfast_gta.errors import RunError
from slowfast_gta.models.attention import ATTENTION_REGISTRY, build_attention
from slowfast_gta.models.fold import fold_batch_norms

# Relative differences from float64 that a precision may have: in an output of a block; bf16 has 8 bits, TF32 10.
_LIMITS = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 5e-2, "fp16": 1e-2}
_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def in_precision(word: str, device: torch.device) -> Iterator[None]:
    """fp32, tf32, or autocast to bf16 or fp16."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if word == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = word == "tf32"
    try:
        with torch.autocast(device.type, dtype=_AMP.get(word), enabled=word in _AMP):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def compare_blocks(setting: Setting) -> dict[str, Any]:
    """Every registered block, forward and backward, in four precisions against the CPU's float64."""
    report: dict[str, Any] = {"wrong": []}
    for name in ATTENTION_REGISTRY.known():
        torch.manual_seed(0)
        block = build_attention(name, 64, 8, (14, 14)).double()
        for norm in block.modules():
            if getattr(norm, "zero_init", False):
                nn.init.ones_(norm.weight)  # type: ignore[arg-type]
        x = torch.randn(2, 8, 14, 14, 64, dtype=torch.float64).permute(0, 4, 1, 2, 3)
        wanted = _output_and_gradient(block, x, torch.device("cpu"), "", torch.float64)
        for word, limit in _LIMITS.items():
            pair = _output_and_gradient(block, x, setting.device, word, torch.float32)
            off = [difference(first, other) for first, other in zip(pair, wanted, strict=True)]
            report[f"{name} {word}"] = [f"{value:.0e}" for value in off]
            if not off[0] <= limit:
                report["wrong"].append(f"{name} in {word} is off by {off[0]:.1e}, more than {limit:.0e}")
    return report


def _output_and_gradient(
    block: nn.Module, x: Tensor, device: torch.device, word: str, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    block = copy.deepcopy(block).to(device, dtype)
    leaf = x.to(device, dtype, copy=True).requires_grad_()
    with in_precision(word, device):
        out = block(leaf)
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out))
    assert leaf.grad is not None
    return out, leaf.grad


def compare_networks(setting: Setting) -> dict[str, Any]:
    """Three steps of small networks and the scores after them, against the CPU's float32."""
    report: dict[str, Any] = {"wrong": []}
    for name in (R2D, GTA, SLOWFAST, NL, TSM):
        losses, scores = _three_steps(setting, name, torch.device("cpu"), "fp32")
        for word in ("fp32", "tf32", "bf16"):
            other_losses, other_scores = _three_steps(setting, name, setting.device, word)
            off = [abs(first - other) for first, other in zip(other_losses, losses, strict=True)]
            report[f"{name} {word}"] = {"losses": off, "scores": difference(other_scores, scores)}
            if word == "fp32" and not off[0] < 1e-4:
                report["wrong"].append(f"the first loss of {name} is off by {off[0]:.1e}")
    return report


def _three_steps(setting: Setting, name: str, device: torch.device, word: str) -> tuple[list[float], Tensor]:
    cfg = setting.config(name, "MODEL.DROPOUT_RATE", 0.0, "TRAIN.MIXED_PRECISION", word == "bf16", small=True)
    learner = build_float_learner(cfg, device)
    batch = setting.build_batch(cfg, 4)
    with in_precision("tf32" if word == "tf32" else "fp32", device):
        losses = [learner.step(batch.to(device), 0.02).loss for _ in range(3)]
        network = fold_batch_norms(copy.deepcopy(learner.network).cpu()).to(device)
        with torch.no_grad():
            return losses, network(setting.build_clips(cfg, 2).to(device))


def find_stalls(setting: Setting) -> dict[str, Any]:
    """Where the host waits for the GPU in a step, by torch's own watch; with --only, after a warm-up step."""
    report: dict[str, Any] = {"wrong": []}
    for name, extra in ((GTA, ()), (GTA, ("EMA.ENABLE", True, "SOLVER.CLIP_GRAD_L2NORM", 20.0)), (SLOWFAST, ())):
        cfg = setting.config(name, "TRAIN.MIXED_PRECISION", True, *extra)
        learner = build_float_learner(cfg, setting.device)
        batch = setting.build_batch(cfg, 2).to(setting.device)
        learner.step(batch, 1e-4)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if setting.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("warn")
            outcome = learner.begin(batch, 1e-4)
            if setting.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        learner.result(outcome)
        lines = [
            f"{Path(warning.filename).name}:{warning.lineno}"
            for warning in caught
            if "synchroniz" in str(warning.message)
        ]
        label = " ".join([name, *map(str, extra)])
        report[label] = lines
        report["wrong"] += [f"{label} waits at {line}" for line in lines]
    return report


def compare_runs(setting: Setting) -> dict[str, Any]:
    """Five steps twice, and as two and three with a state between them: with DETERMINISTIC the same bits."""
    report: dict[str, Any] = {"wrong": []}
    for name, amp in ((R2D, True), (GTA, True), (GTA, False), (NL, True)):
        side = 64 if setting.small else 112
        options = ("DETERMINISTIC", True, "TRAIN.MIXED_PRECISION", amp, "DATA.TRAIN_CROP_SIZE", side)
        cfg = setting.config(name, *options)
        set_deterministic(cfg)
        runs = [_five_steps(setting, cfg, resume_at) for resume_at in (None, None, 2)]
        same = [all(map(torch.equal, runs[0], other)) for other in runs[1:]]
        label = f"{name} {'bf16' if amp else 'fp32'}"
        report[label] = {"twice": same[0], "resumed": same[1]}
        if not all(same):
            report["wrong"].append(f"{label} is not the same bits ({report[label]})")
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    return report


def _five_steps(setting: Setting, cfg: Any, resume_at: int | None) -> list[Tensor]:
    learner = build_float_learner(cfg, setting.device)
    batch = setting.build_batch(cfg, 4).to(setting.device)
    for step in range(5):
        if step == resume_at:
            state = copy.deepcopy(learner.state())
            learner = build_float_learner(cfg, setting.device)
            learner.restore_state(state)
        torch.manual_seed(step)
        learner.step(batch, 0.01)
    return state_of(learner.network)


def watch_float16(setting: Setting) -> dict[str, Any]:
    """Losses, norms and the scale over five steps in float16."""
    report: dict[str, Any] = {"wrong": []}
    for name in (R2D, GTA):
        cfg = setting.config(name, "TRAIN.MIXED_PRECISION", True, "TRAIN.AMP_DTYPE", "float16")
        learner = build_float_learner(cfg, setting.device)
        batch = setting.build_batch(cfg, setting.size(8)).to(setting.device)
        steps = [learner.step(batch, 0.01) for _ in range(5)]
        report[name] = [[round(step.loss, 3), step.grad_norm, step.overflowed, step.skipped] for step in steps]
        if any(step.skipped for step in steps):
            report["wrong"].append(f"{name}: a loss in float16 is non-finite")
    return report


def join_processes(setting: Setting) -> dict[str, Any]:
    """gloo with two processes on the one GPU, as one process on the whole batch; NCCL with two must be refused."""
    report: dict[str, Any] = {"wrong": []}
    on_gpu = setting.device.type == "cuda"
    norms: dict[int, list[float]] = {}
    for count in (1, 2):
        result = setting.output / f"norms_of_{count}.json"
        terms = distributed.LaunchConfig("gloo", on_gpu, setting.output, timeout_sec=40)
        distributed.launch(_train_shared, (setting, result), distributed.LaunchContext(), count, terms)
        norms[count] = json.loads(result.read_text())
        result.unlink()
    report["gradient norms of gloo with 1, 2"] = list(norms.values())
    apart = [abs(first - two) / first for first, two in zip(norms[1], norms[2], strict=True)]
    if apart[0] > 1e-4 or max(apart) > 1e-2:  # what rounding makes of 1e-5 grows with each step
        report["wrong"].append("two processes over gloo do not train as one")
    if on_gpu and torch.cuda.device_count() == 1:
        try:
            terms = distributed.LaunchConfig("nccl", True, setting.output, timeout_sec=20)
            distributed.launch(
                _train_shared, (setting, setting.output / "x.json"), distributed.LaunchContext(), 2, terms
            )
            report["wrong"].append("NCCL with two processes on one GPU was not refused")
        except RunError as fault:
            report["nccl with 2 on one GPU"] = str(fault)
    return report


def _train_shared(setting: Setting, result: Path) -> None:
    """Three steps on this process's part of four clips, BatchNorm over all."""
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    cfg = setting.config(R2D, "MODEL.DROPOUT_RATE", 0.0, "BN.NORM_TYPE", "sync_batchnorm", small=True)
    torch.manual_seed(0)  # weights and clips are the same on whatever process
    learner = build_float_learner(cfg, setting.device)
    share = setting.build_batch(cfg, 4).split(world_size)[rank].to(setting.device)
    norms = [learner.step(share, 0.01).grad_norm for _ in range(3)]
    if rank == 0:
        result.write_text(json.dumps(norms))


def train_on_videos(setting: Setting) -> dict[str, Any]:
    """A short training and test from encoded videos, by the command that people run."""
    folder = setting.output / "videos"
    few = 16 if setting.small else 256
    options = ["SYNTHETIC.NUM_TRAIN", few, "SYNTHETIC.NUM_VAL", few // 2, "SOLVER.MAX_EPOCH", 1, "TRAIN.BATCH_SIZE", 8]
    options += ["SOLVER.WARMUP_EPOCHS", 0, "DATA.PATH_TO_DATA_DIR", folder / "data", "OUTPUT_DIR", folder / "run"]
    options += ["NUM_GPUS", int(setting.device.type == "cuda"), "TRAIN.AUTO_RESUME", False, "TENSORBOARD.ENABLE", False]
    options += ["TRAIN.MIXED_PRECISION", setting.device.type == "cuda"]
    command = [sys.executable, "-m", "slowfast_gta", "run_net", "--cfg", "configs/Synthetic/R2D_GTA.yaml"]
    done = subprocess.run([*command, *map(str, options)], capture_output=True, text=True)
    if done.returncode:
        return {"wrong": [f"run_net ended with {done.returncode}: {done.stderr[-600:]}"]}
    results = json.loads((folder / "run" / "results.json").read_text())
    speed = re.findall(r"([\d.]+) clips/s, (\d+) % of the time waiting", done.stdout + done.stderr)
    return {"top1": results["top1"], "clips_per_sec, percent waiting": speed, "wrong": []}
