"""A network in the form that testing has too, asked for probabilities, features and attention maps of clips.

Legend: B batch, C channel, T frame, H W space, K classes, S crop size.
"""

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.engine.device import Normalize, build_normalize, device_from_cfg, device_of
from slowfast_gta.engine.fixed_batch import filled_up
from slowfast_gta.engine.outputs import concat_heads
from slowfast_gta.engine.precision import (
    LOWER,
    Rounding,
    check_precision,
    in_precision,
    num_classes_from_cfg,
    precision_dtype,
)
from slowfast_gta.errors import ConfigError
from slowfast_gta.files import sha256_of
from slowfast_gta.loading.transforms import to_clips
from slowfast_gta.models.build import build_model
from slowfast_gta.models.fold import fold_batch_norms
from slowfast_gta.models.packed import prepack_convs_
from slowfast_gta.models.weights.load import load_weights_for

POOLS = ("avg", "spatial", "space", "none")
FEATURES, HEAD = "s5", "head"  # what the head is given; what it outputs

ClassNames = Sequence[str] | dict[str, list[str]]


@dataclass(frozen=True)
class Wanted:
    """What is asked for of each clip, by name: "probabilities" (K,), "features" (as `pooled` says) and maps."""

    probabilities: bool = True
    layer: str = ""  # none, unless named
    pool: str = "avg"
    maps: bool = False


@dataclass(frozen=True)
class EvalNetwork:
    """`model`: BatchNorms folded, convolutions packed, on its device. `batch_size` clips at a time, always."""

    model: Any  # a module with features(clip) and head(features)
    normalize: Normalize
    batch_size: int
    dtype: torch.dtype
    name: str
    weights_digest: str  # SHA-256 of the file
    class_names: ClassNames
    rounding: Rounding | None = None  # of a lower precision than float32: what it changes

    @property
    def all_class_names(self) -> list[str]:
        """(K,); of several outputs, "verb: open" and so on, side by side."""
        names = self.class_names
        if isinstance(names, dict):
            return [f"{output}: {name}" for output, of_output in names.items() for name in of_output]
        return list(names)

    def top5(self, probabilities: np.ndarray) -> list[dict]:
        """(K,) -> [{"class", "label", "probability"}], the most likely first, of all outputs' classes."""
        names, best = self.all_class_names, probabilities.argsort()[::-1][:5]
        return [{"class": names[k], "label": int(k), "probability": round(float(probabilities[k]), 6)} for k in best]

    @torch.inference_mode()
    def __call__(self, clips: np.ndarray, wanted: Wanted) -> dict[str, np.ndarray]:
        """uint8 (n, T, S, S, 3) with n <= B -> {name: (n, ...)}. Maps are of one clip at a time, and their shapes are
        as the block has them."""
        frames = filled_up(to_clips(clips), self.batch_size).to(device_of(self.model))
        exact = self.normalize(frames)
        inputs = exact.to(self.dtype)
        outputs = {}
        if self.rounding is not None and not self.rounding.is_done:
            both = (self.rounding.exact_on(self.model)(exact), self.model(inputs))
            self.rounding.compare(*(concat_heads(kept)[: len(clips)] for kept in both))
        if wanted.layer and wanted.layer != HEAD:
            with features_of(self.model, wanted.layer, lambda x: pooled(x, wanted.pool, wanted.layer)) as kept:
                features = self.model.features(inputs)
                if wanted.layer == FEATURES:
                    kept.append(pooled(features, wanted.pool, wanted.layer))
                if wanted.probabilities:
                    outputs["probabilities"] = concat_heads(self.model.head(features))
            outputs["features"] = joined_pathways(kept, wanted.pool, wanted.layer)
        else:
            outputs["probabilities"] = concat_heads(self.model(inputs))
            if wanted.layer == HEAD:
                outputs["features"] = outputs["probabilities"]
        return {name: _array(value[: len(clips)]) for name, value in outputs.items()}

    def inputs(self, clip: np.ndarray) -> Tensor:
        """uint8 (T, S, S, 3) -> (1, 3, T, S, S), normalised, where and as the model takes it."""
        return self.normalize(to_clips(clip[None]).to(device_of(self.model))).to(self.dtype)

    @torch.inference_mode()
    def maps(self, clip: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 (T, S, S, 3) -> {"s3.pathway0_attention1.global_pixel": array}, of each block that has maps.

        In a batch of one, its axis left out.
        """
        arrays: dict[str, np.ndarray] = {}

        def look(name: str, block: Any, x: Tensor) -> None:
            for key, value in block.attention_maps(x).items():
                alone = value[0] if value.ndim > 2 and len(value) == 1 else value
                arrays[f"{name}.{key}"] = _array(alone)

        with watched(attention_blocks(self.model), look):
            self.model(self.inputs(clip))
        return arrays


def attention_blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The blocks that have maps, but for those that are part of another one."""
    outer = ""
    for name, module in model.named_modules():
        if hasattr(module, "attention_maps") and not (outer and name.startswith(f"{outer}.")):
            outer = name
            yield name, module


@contextmanager
def watched(blocks: Iterable[tuple[str, nn.Module]], look: Callable[[str, Any, Any], None]) -> Iterator[None]:
    """Inside `with`, look(name, block, x) comes before a block's first call on x, and not before those of its own."""
    hooks: dict[str, Any] = {}

    def see(name: str, block: nn.Module, given: tuple) -> None:
        hooks.pop(name).remove()  # a block's maps may come of calling the block
        look(name, block, given[0])

    for name, block in blocks:
        hooks[name] = block.register_forward_pre_hook(lambda block, given, name=name: see(name, block, given))
    try:
        yield
    finally:
        for hook in hooks.values():
            hook.remove()


@contextmanager
def features_of(model: nn.Module, layer: str, pool: Callable) -> Iterator[list]:
    """What `pool` makes of the outputs of `layer` while the model runs: at once, since packed blocks overwrite them."""
    kept: list = []
    with ExitStack() as stack:
        for module in layer_modules(model, layer):
            hook = module.register_forward_hook(lambda module, given, out: kept.append(pool(out)))
            stack.callback(hook.remove)
        yield kept


def layer_modules(model: nn.Module, layer: str) -> list[nn.Module]:
    """The modules whose outputs are `layer`'s: none for what the model's own methods give. Raises ConfigError."""
    if layer in ("", FEATURES, HEAD):
        return []
    modules = dict(model.named_modules())
    if layer not in modules:
        stages = [name for name, _ in model.named_children() if name not in (HEAD, FEATURES)]
        raise ConfigError(
            f"--layer {layer}: this network has no such layer. It has {', '.join([*stages, FEATURES, HEAD])}, and "
            f"parts of them such as {next(name for name in modules if name.startswith('s4.'))}."
        )
    module = modules[layer]
    return list(module.values()) if isinstance(module, nn.ModuleDict) else [module]


def pooled(out: Tensor | list[Tensor], pool: str, layer: str) -> list[Tensor]:
    """The pathways (B, C, T, H, W), each pooled: avg (B, C), spatial and space (B, T, C), none as they are."""
    pathways = list(out) if isinstance(out, list | tuple) else [out]
    for x in pathways:
        if not isinstance(x, Tensor) or x.ndim != 5:
            raise ConfigError(
                f"--layer {layer} gives no maps (B, C, T, H, W). Name a stage, or a block of one, for example s4."
            )
    if pool == "avg":
        return [x.mean((2, 3, 4)) for x in pathways]
    if pool in ("spatial", "space"):
        return [x.mean((3, 4)).transpose(1, 2) for x in pathways]
    return [x.clone() for x in pathways]


def joined_pathways(by_pathway: list[list[Tensor]], pool: str, layer: str) -> Tensor:
    """The pathways side by side in C; in time, each is averaged down to the frames of the one that has the fewest."""
    pathways = list(itertools.chain.from_iterable(by_pathway))
    if len(pathways) == 1:
        return pathways[0]
    if pool == "none":
        raise ConfigError(
            f"--pool none: {layer} of this network has {len(pathways)} pathways of different shapes. Use avg or "
            "spatial, or set --layer to the last block of one pathway, for example s5.pathway0_res2."
        )
    if pool != "avg":
        fewest = min(x.shape[1] for x in pathways)
        pathways = [F.adaptive_avg_pool1d(x.transpose(1, 2), fewest).transpose(1, 2) for x in pathways]
    return torch.cat(pathways, -1)


def _array(value: Tensor) -> np.ndarray:
    """On the CPU; numbers of 16 bits as float32."""
    return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).cpu().numpy()


@dataclass(frozen=True)
class LoadedNetwork:
    """`model`: every weight of a file in place, every BatchNorm folded; on the CPU, in float32 or float64."""

    model: nn.Module
    name: str
    weights_digest: str  # SHA-256 of the file
    class_names: ClassNames


def build_loaded_network(cfg: CfgNode, weights: str | Path, dtype: torch.dtype = torch.float32) -> LoadedNetwork:
    """The network of `cfg` with `weights`, in the form of testing but for packed convolutions. Raises WeightsError."""
    model = build_model(cfg)
    report = load_weights_for(cfg, model, weights, fine_tune=False)
    attention = "" if cfg.ATTENTION.NAME == "none" else f"+{cfg.ATTENTION.NAME}"
    shift = "+TSM" if cfg.TSM.ENABLE else ""
    return LoadedNetwork(
        fold_batch_norms(model.to(dtype)),
        f"{cfg.MODEL.MODEL_NAME} {cfg.MODEL.ARCH}{cfg.RESNET.DEPTH}{shift}{attention}, {cfg.DATA.NUM_FRAMES} frames",
        sha256_of(Path(weights)),
        report.class_names or class_names_from_cfg(cfg),
    )


def build_eval_network(
    cfg: CfgNode, weights: str | Path, batch_size: int | None = None, precision: str | None = None
) -> EvalNetwork:
    """The network of `cfg` with `weights`, on the device that NUM_GPUS says; `batch_size`: TEST.BATCH_SIZE, if None;
    `precision`: TEST.PRECISION, if None.

    Raises ConfigError, WeightsError, RunError.
    """
    precision = cfg.TEST.PRECISION if precision is None else precision
    dtype, device = precision_dtype(precision), device_from_cfg(cfg)
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"The batch size is {batch_size}; it must be at least 1.")
    check_precision(precision, device)
    # Folded in float32 at least: what bfloat16 rounds is rounded once.
    loaded = build_loaded_network(cfg, weights, torch.float64 if dtype == torch.float64 else torch.float32)
    rounding = None
    if precision in LOWER:
        rounding = Rounding(precision, prepack_convs_(copy.deepcopy(loaded.model)), num_classes_from_cfg(cfg))
    return EvalNetwork(
        prepack_convs_(in_precision(loaded.model, dtype)).to(device),
        build_normalize(cfg),
        batch_size or cfg.TEST.BATCH_SIZE,
        dtype,
        loaded.name,
        loaded.weights_digest,
        loaded.class_names,
        rounding,
    )


def class_names_from_cfg(cfg: CfgNode) -> ClassNames:
    """The data set's class names, for weights that do not carry them; "class 17" where its folder is not given."""
    if cfg.DATA.PATH_TO_DATA_DIR:
        return DATASET_REGISTRY.find(cfg.TEST.DATASET, "TEST.DATASET").from_cfg(cfg).class_names()
    classes = cfg.MODEL.NUM_CLASSES
    if isinstance(classes, list):
        outputs = zip(cfg.MODEL.OUTPUTS, classes, strict=True)
        return {output: [f"{output} {label}" for label in range(count)] for output, count in outputs}
    return [f"class {label}" for label in range(classes)]
