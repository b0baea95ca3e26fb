"""How fast is a GPU? Its ceilings; training and testing beside them and beside the plain form; single switches."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast_gta.benchmarks.gpu_cases import (
    GTA,
    NL,
    R2D,
    SLOWFAST,
    TSM,
    Setting,
    build_float_learner,
    difference,
    milliseconds,
)
from slowfast_gta.benchmarks.network import PlainForm, describe_machine
from slowfast_gta.benchmarks.step_costs import build_step_costs
from slowfast_gta.engine.device import peak_memory_gib
from slowfast_gta.models.attention import build_attention
from slowfast_gta.models.build import build_model
from slowfast_gta.models.fold import fold_batch_norms
from slowfast_gta.models.layers import BatchNorm3d
from slowfast_gta.models.packed import prepack_convs_


def find_ceilings(setting: Setting) -> dict[str, Any]:
    """GB/s of a copy on the device and onto it, TFLOP/s of a product in bf16."""
    device = setting.device
    num_bytes, side = (2**20, 256) if setting.small else (2**30, 8192)
    source, target = (torch.empty(num_bytes, dtype=torch.uint8, device=device) for _ in range(2))
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    report: dict[str, Any] = {"machine": describe_machine(device), "torch": torch.__version__}
    report["copy_gb_s"] = round(2 * num_bytes / milliseconds(lambda: target.copy_(source), device) / 1e6, 1)
    report["bf16_tflop_s"] = round(2 * side**3 / milliseconds(lambda: matrix @ matrix, device) / 1e9, 1)
    if device.type == "cuda":
        host = torch.empty(num_bytes // 4, dtype=torch.uint8).pin_memory()
        onto = target[: len(host)]
        report["host_gb_s"] = round(
            len(host) / milliseconds(lambda: onto.copy_(host, non_blocking=True), device) / 1e6, 1
        )
        report["cudnn"] = torch.backends.cudnn.version()
    return report


def time_training(setting: Setting) -> dict[str, Any]:
    """Clips/s and memory in bf16; the share of what the card's bandwidth allows; beside the plain form in fp16."""
    report: dict[str, Any] = {}
    bandwidth = find_ceilings(setting)["copy_gb_s"]
    for name, batch_size in ((R2D, 64), (GTA, 64), (SLOWFAST, 32), (NL, 32), (TSM, 32)):
        report[name] = _training(setting, name, batch_size)
        if not setting.small:
            costs = build_step_costs(setting.config(name))
            report[name]["share_of_memory_floor"] = round(report[name]["clips_s"] * costs["gb_a_clip"] / bandwidth, 3)
    report[f"{GTA}, fp32 or TF32"] = _training(setting, GTA, 32, "TRAIN.MIXED_PRECISION", False)
    plain = ("TRAIN.AMP_DTYPE", "float16")
    report[f"{R2D}, plain Conv3d, fp16"] = _training(setting, R2D, 32, *plain, wrap=PlainForm)
    if importlib.util.find_spec("torchvision") and not setting.small:
        report["torchvision's resnet50 on as many frames, bf16"] = _torchvision(setting)
    return report


def _training(
    setting: Setting, name: str, batch_size: int, *options: Any, wrap: Callable[[nn.Module], nn.Module] | None = None
) -> dict[str, float]:
    cfg = setting.config(name, "TRAIN.MIXED_PRECISION", True, *options)
    learner = build_float_learner(cfg, setting.device)
    if wrap is not None:
        learner.model = wrap(learner.model)
        learner.network = getattr(learner.model, "network", learner.network)
    batch = setting.build_batch(cfg, setting.size(batch_size)).to(setting.device)
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    took = milliseconds(lambda: learner.begin(batch, 1e-4), setting.device)
    rate = 1e3 * batch.num_samples / took
    return {"clips_s": round(rate, 1), "ms": round(took, 2), "peak_gib": peak_memory_gib(setting.device)}


def _torchvision(setting: Setting) -> dict[str, float]:
    """Their ResNet-50, channels_last, on the frames of the clips: R2D without time."""
    from torchvision.models import resnet50  # type: ignore[import-not-found]  # never a dependency

    count, network = 32, resnet50(num_classes=174).to(setting.device, memory_format=torch.channels_last)
    images = torch.randn(8 * count, 3, 224, 224, device=setting.device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(count, dtype=torch.long, device=setting.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            logits = network(images).unflatten(0, (count, 8)).mean(1)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    took = milliseconds(step, setting.device)
    return {"clips_s": round(1e3 * count / took, 1), "ms": round(took, 2)}


def time_switches(setting: Setting) -> dict[str, Any]:
    """GTA's training step with one thing changed: cuDNN's search for algorithms, BatchNorm of five axes."""
    report: dict[str, Any] = {"as it is": _training(setting, GTA, 32)}
    searches = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = not searches
    report[f"cudnn.benchmark {not searches}"] = _training(setting, GTA, 32)
    torch.backends.cudnn.benchmark = searches
    report["BatchNorm of 5 axes"] = _training(setting, GTA, 32, wrap=_with_five_axes)
    return report


def _with_five_axes(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if type(module) is BatchNorm3d:
            module.__class__ = nn.BatchNorm3d  # type: ignore[assignment]  # for the measurement
    return network


def time_compiled(setting: Setting) -> dict[str, Any]:
    """Training steps of networks that torch.compile has made one graph of."""
    backend = "aot_eager" if setting.small else "inductor"

    def compiled(network: nn.Module) -> nn.Module:
        return torch.compile(network, backend=backend, fullgraph=True)  # type: ignore[return-value]

    return {name: _training(setting, name, 32, wrap=compiled) for name in (R2D, GTA)}


def time_testing(setting: Setting) -> dict[str, Any]:
    """Views/s of the form that a test runs, of the network as it is, and of the plain form."""
    report: dict[str, Any] = {}
    count = setting.size(32)
    for name in (R2D, GTA, SLOWFAST):
        cfg = setting.config(name)
        network = build_model(cfg).eval()
        clips = setting.build_clips(cfg, count, cfg.DATA.TEST_CROP_SIZE).to(setting.device)
        forms = {
            "ours": prepack_convs_(fold_batch_norms(network)),
            "plain": PlainForm(network).eval(),
            "unfolded": network,
        }
        for form, model in forms.items():
            model.to(setting.device)
            for word, dtype in (("fp32", None), ("bf16", torch.bfloat16)):
                took = milliseconds(lambda: _outputs(model, clips, dtype), setting.device, 5, 2)  # noqa: B023
                report[f"{name} {form} {word}"] = round(1e3 * count / took, 1)
        exact, rounded = (_outputs(forms["ours"], clips, dtype) for dtype in (None, torch.bfloat16))
        report[f"{name} scores of bf16, relative difference"] = f"{difference(rounded, exact):.0e}"
    return report


@torch.no_grad()
def _outputs(model: nn.Module, clips: Tensor, dtype: torch.dtype | None) -> Tensor:
    with torch.autocast(clips.device.type, dtype=dtype, enabled=dtype is not None):
        return model(clips)


def measure_memory(setting: Setting) -> dict[str, Any]:
    """MiB of a non-local block, forward and backward, for 8, 16 and 32 frames: twice the frames, twice the memory."""
    if setting.device.type == "cpu":
        return {"not_run": "known only on a GPU"}
    report: dict[str, Any] = {"wrong": []}
    for dtype in (torch.bfloat16, torch.float32):
        row = [_memory_of_nl(setting, frames, dtype) for frames in (8, 16, 32)]
        report[f"NL res4 {dtype}"] = row
        if row[2] > 2.5 * row[1]:
            report["wrong"].append(f"the memory of NL in {dtype} is not linear: {row}")
    return report


def _memory_of_nl(setting: Setting, num_frames: int, dtype: torch.dtype) -> int:
    block = build_attention("NL", 1024, num_frames).to(setting.device, dtype)
    x = torch.randn(2, num_frames, 14, 14, 1024, device=setting.device, dtype=dtype).permute(0, 4, 1, 2, 3)
    x.requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    block(x).sum().backward()
    return round((torch.cuda.max_memory_allocated() - before) / 2**20)
