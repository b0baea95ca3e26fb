"""What must hold between keys: every rule that a single key's type cannot say. Found before data or model is built."""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from slowfast_gta import datasets, models  # noqa: F401 - importing them registers their names
from slowfast_gta.config.check_network import check_network
from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.errors import ConfigError
from slowfast_gta.models.attention.build import ATTENTION_REGISTRY
from slowfast_gta.models.build import MODEL_REGISTRY

# What is allowed, its test, and the keys it holds for.
_RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    (
        "1 or more",
        lambda value: value >= 1,
        "LOG_PERIOD NUM_SHARDS DIST_TIMEOUT_SEC DIST_WAIT_SEC BN.NUM_SPLITS SOLVER.ACCUMULATE_STEPS "
        "RESNET.WIDTH_PER_GROUP RESNET.EXPANSION RESNET.NUM_GROUPS "
        "SLOWFAST.ALPHA SLOWFAST.BETA_INV SLOWFAST.FUSION_CONV_CHANNEL_RATIO SLOWFAST.FUSION_KERNEL_SZ "
        "BN.NUM_BATCHES_PRECISE BN.NUM_SYNC_DEVICES DATA.NUM_FRAMES DATA.SAMPLING_RATE DATA.TARGET_FPS "
        "DATA.TRAIN_CROP_SIZE DATA.TEST_CROP_SIZE TRAIN.BATCH_SIZE TRAIN.EVAL_PERIOD TRAIN.CHECKPOINT_PERIOD "
        "TRAIN.MAX_NAN_STEPS "
        "SOLVER.MAX_EPOCH TEST.BATCH_SIZE TEST.NUM_ENSEMBLE_VIEWS "
        "SYNTHETIC.NUM_TRAIN SYNTHETIC.NUM_VAL SYNTHETIC.NUM_FRAMES",
    ),
    ("2 or more", lambda value: value >= 2, "TSM.FOLD_DIV"),
    (
        "0 or more",
        lambda value: value >= 0,
        "RNG_SEED SHARD_ID SOLVER.BASE_BATCH_SIZE MODEL.FC_INIT_STD BN.WEIGHT_DECAY SYNTHETIC.SEED "
        "TRAIN.CHECKPOINT_PERIOD_STEPS TRAIN.KEEP_CHECKPOINTS DATA_LOADER.NUM_WORKERS "
        "DATA_LOADER.SAMPLE_TIMEOUT_SEC "
        "SOLVER.COSINE_END_LR SOLVER.WARMUP_EPOCHS SOLVER.WARMUP_START_LR SOLVER.MOMENTUM SOLVER.DAMPENING "
        "SOLVER.WEIGHT_DECAY",
    ),
    (
        "more than 0",
        lambda value: value is None or value > 0,
        "SOLVER.BASE_LR SOLVER.GAMMA SOLVER.CLIP_GRAD_VAL SOLVER.CLIP_GRAD_L2NORM",
    ),
    (
        "at least 0 and below 1",
        lambda value: 0 <= value < 1,
        "MODEL.DROPOUT_RATE TRAIN.LABEL_SMOOTHING EMA.DECAY",
    ),
    (
        "an even number, 16 or more (pixels of a video)",
        lambda value: value >= 16 and value % 2 == 0,
        "SYNTHETIC.HEIGHT SYNTHETIC.WIDTH",
    ),
    (
        "auto, 0 for the CPU, or a number of GPUs",
        lambda value: value == "auto" or (not isinstance(value, str) and value >= 0),
        "NUM_GPUS",
    ),
)


def check_config(cfg) -> list[str]:
    """Every fault between the keys of `cfg`, each a sentence that begins with a key. PLUGINS are already imported."""
    rules = (check_names, check_ranges, check_outputs, check_data, check_views, check_schedule, check_processes)
    return list(dict.fromkeys(fault for rule in (*rules, check_network) for fault in rule(cfg)))


def check_names(cfg) -> Iterator[str]:
    """Names that nobody registered."""
    named = [
        ("MODEL.MODEL_NAME", cfg.MODEL.MODEL_NAME, MODEL_REGISTRY),
        ("TRAIN.DATASET", cfg.TRAIN.DATASET, DATASET_REGISTRY),
        ("TEST.DATASET", cfg.TEST.DATASET, DATASET_REGISTRY),
    ]
    if cfg.ATTENTION.NAME != "none":
        named.append(("ATTENTION.NAME", cfg.ATTENTION.NAME, ATTENTION_REGISTRY))
    for key, name, registry in named:
        try:
            registry.find(name, key)
        except ConfigError as error:
            yield str(error)


def check_ranges(cfg) -> Iterator[str]:
    """Single numbers outside of what makes sense."""
    for allowed, holds, keys in _RANGES:
        for key in keys.split():
            value = cfg
            for part in key.split("."):
                value = value[part]
            if not holds(value):
                yield f"{key} is {value}; it must be {allowed}."


def check_outputs(cfg) -> Iterator[str]:
    """The number of classes, of one output or of several."""
    classes, names = cfg.MODEL.NUM_CLASSES, cfg.MODEL.OUTPUTS
    several = isinstance(classes, list)
    if not _are_whole(classes if several else [classes]) or min(classes if several else [classes], default=0) < 1:
        yield f"MODEL.NUM_CLASSES is {classes}; it must be 1 or more, or a list of such numbers, as [97, 300]."
    if several and not (all(map(_is_word, names)) and len(set(names)) == len(names) == len(classes)):
        yield f"MODEL.OUTPUTS is {names}; it must name each of the {len(classes)} outputs that MODEL.NUM_CLASSES has."


def check_data(cfg) -> Iterator[str]:
    """Sizes and statistics of the frames."""
    data = cfg.DATA
    for key, values in (("DATA.MEAN", data.MEAN), ("DATA.STD", data.STD)):
        if not _are_numbers(values) or len(values) != 3:
            yield f"{key} is {values}; it must be three numbers, one each for red, green and blue."
    if _are_numbers(data.STD) and not all(value > 0 for value in data.STD):
        yield f"DATA.STD is {data.STD}; frames are divided by it, so each must be more than 0."
    if any(channels != 3 for channels in data.INPUT_CHANNEL_NUM):
        yield f"DATA.INPUT_CHANNEL_NUM is {data.INPUT_CHANNEL_NUM}; only 3 (RGB) is supported, in every pathway."
    if data.RESIZE:
        yield from _resize_faults(
            data.RESIZE, data.TRAIN_CROP_SIZE, 0 if cfg.TEST.FULL_RESOLUTION else data.TEST_CROP_SIZE
        )
        if not _are_numbers(data.MULTI_SCALES) or not data.MULTI_SCALES:
            yield f"DATA.MULTI_SCALES is {data.MULTI_SCALES}; it must be a list of numbers, as [1.0, 0.875]."
        elif not all(0 < scale <= 1 for scale in data.MULTI_SCALES):
            yield f"DATA.MULTI_SCALES is {data.MULTI_SCALES}; each must be more than 0 and at most 1."
        return
    scales = data.TRAIN_JITTER_SCALES
    if not _are_whole(scales) or len(scales) != 2 or scales[0] > scales[1]:
        yield f"DATA.TRAIN_JITTER_SCALES is {scales}; it must be [smallest, largest] short side in pixels."
    elif scales[0] < data.TRAIN_CROP_SIZE:
        yield (
            f"DATA.TRAIN_JITTER_SCALES is {scales}; its smallest must be at least DATA.TRAIN_CROP_SIZE, "
            f"{data.TRAIN_CROP_SIZE}, for a crop to fit."
        )


def _resize_faults(resize: list, train_crop: int, test_crop: int) -> Iterator[str]:
    if not _are_whole(resize) or len(resize) != 2:
        yield f"DATA.RESIZE is {resize}; it must be [] or [H, W] in pixels, as [240, 320]."
        return
    for key, crop in (("DATA.TRAIN_CROP_SIZE", train_crop), ("DATA.TEST_CROP_SIZE", test_crop)):
        if min(resize) < crop:
            yield f"DATA.RESIZE is {resize}; both sides must be at least {key}, {crop}, for a crop to fit."


def check_views(cfg) -> Iterator[str]:
    """Where the clips and crops of a test lie."""
    data, test = cfg.DATA, cfg.TEST
    if test.CLIP_POSITIONS == "twice" and (data.SAMPLING == "dense" or test.NUM_ENSEMBLE_VIEWS != 2):
        yield (
            "TEST.CLIP_POSITIONS twice is TSM's pair of clips: it needs TEST.NUM_ENSEMBLE_VIEWS 2 (it is "
            f"{test.NUM_ENSEMBLE_VIEWS}) and DATA.SAMPLING segment or uniform (it is {data.SAMPLING})."
        )
    if test.FULL_RESOLUTION and test.NUM_SPATIAL_CROPS != 1:
        yield (
            f"TEST.NUM_SPATIAL_CROPS is {test.NUM_SPATIAL_CROPS}; with TEST.FULL_RESOLUTION True the one view is the "
            "whole frame: it must be 1."
        )
    if test.CLIP_POSITIONS != "exact" and data.USE_OFFSET_SAMPLING:
        yield (
            f"DATA.USE_OFFSET_SAMPLING True belongs to TEST.CLIP_POSITIONS exact, and that is {test.CLIP_POSITIONS}. "
            "Set DATA.USE_OFFSET_SAMPLING False."
        )


def check_schedule(cfg) -> Iterator[str]:
    """Learning rates over the epochs, and what the optimizers refuse."""
    solver = cfg.SOLVER
    if solver.WARMUP_EPOCHS > solver.MAX_EPOCH:
        yield f"SOLVER.WARMUP_EPOCHS is {solver.WARMUP_EPOCHS}, longer than SOLVER.MAX_EPOCH, {solver.MAX_EPOCH}."
    if solver.BASE_BATCH_SIZE and solver.BASE_LR_SCALE_NUM_SHARDS:
        yield (
            f"SOLVER.BASE_BATCH_SIZE is {solver.BASE_BATCH_SIZE} and SOLVER.BASE_LR_SCALE_NUM_SHARDS True; both scale "
            "the learning rates. Set one of them."
        )
    if solver.LR_POLICY == "cosine" and solver.COSINE_END_LR > solver.BASE_LR:
        yield f"SOLVER.COSINE_END_LR is {solver.COSINE_END_LR}, more than SOLVER.BASE_LR, {solver.BASE_LR}."
    if solver.LR_POLICY != "cosine":
        yield from _step_faults(solver.LR_POLICY, solver.STEPS, solver.LRS)
    if solver.OPTIMIZING_METHOD == "sgd" and solver.NESTEROV and not (solver.MOMENTUM > 0 and solver.DAMPENING == 0):
        yield (
            f"SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0 (it is {solver.MOMENTUM}) and SOLVER.DAMPENING 0 "
            f"(it is {solver.DAMPENING}). Set SOLVER.NESTEROV False."
        )
    betas = solver.BETAS
    if not _are_numbers(betas) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        yield f"SOLVER.BETAS is {betas}; it must be two numbers, each at least 0 and below 1."


def _step_faults(policy: str, steps: list, rates: list) -> Iterator[str]:
    relative = policy == "steps_with_relative_lrs"
    if not steps or not _are_numbers(steps) or any(later <= step for step, later in pairwise(steps)):
        yield f"SOLVER.STEPS is {steps}; SOLVER.LR_POLICY {policy} needs a growing list of epochs."
    elif relative and steps[0] != 0:
        yield f"SOLVER.STEPS is {steps}; with SOLVER.LR_POLICY {policy} it begins with 0."
    elif not relative and steps[0] <= 0:
        yield f"SOLVER.STEPS is {steps}; with SOLVER.LR_POLICY {policy} the first step comes after epoch 0."
    if relative and (len(rates) < len(steps) or not _are_numbers(rates) or not all(rate >= 0 for rate in rates)):
        yield (
            f"SOLVER.LRS is {rates}; with SOLVER.LR_POLICY {policy} it needs a number, 0 or more, "
            f"for each of SOLVER.STEPS, {steps}."
        )


def check_processes(cfg) -> Iterator[str]:
    """Machines that train together."""
    if cfg.SHARD_ID >= cfg.NUM_SHARDS >= 1:
        yield f"SHARD_ID is {cfg.SHARD_ID}; with NUM_SHARDS {cfg.NUM_SHARDS} it must be 0 to {cfg.NUM_SHARDS - 1}."
    if max(1, cfg.TRAIN.BATCH_SIZE) < cfg.SOLVER.ACCUMULATE_STEPS:
        yield (
            f"SOLVER.ACCUMULATE_STEPS is {cfg.SOLVER.ACCUMULATE_STEPS}, more parts than the {cfg.TRAIN.BATCH_SIZE} "
            "clips that TRAIN.BATCH_SIZE has."
        )


def check_data_paths(cfg, splits: Iterable[str]) -> None:
    """Raises ConfigError unless the folders that `splits` ("train", "val", "test") read are there.

    The folder of a data set that makes its own files need not exist, only be possible to make.
    """
    faults = []
    names = sorted({cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET for split in splits})
    for name in names:
        makes_itself = getattr(DATASET_REGISTRY.get(name), "creates_itself", False)
        faults += _data_folder_faults(cfg.DATA.PATH_TO_DATA_DIR, name, makes_itself)
    if cfg.DATA.PATH_PREFIX and not Path(cfg.DATA.PATH_PREFIX).is_dir():
        faults.append(
            f"DATA.PATH_PREFIX is {cfg.DATA.PATH_PREFIX}, and there is no such folder.{_near(cfg.DATA.PATH_PREFIX)}"
        )
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))


def check_output_dir(cfg) -> None:
    """Raises ConfigError unless OUTPUT_DIR is there or can be made."""
    if faults := _not_writable("OUTPUT_DIR", cfg.OUTPUT_DIR):
        raise ConfigError(faults[0])


def _data_folder_faults(folder: str, dataset: str, makes_itself: bool) -> list[str]:
    key = "DATA.PATH_TO_DATA_DIR"
    if not folder:
        return [f"{key} is not set: name the folder of {dataset}, as {key} /path/to/{dataset} on the command line."]
    path = Path(folder)
    if path.exists() and not path.is_dir():
        return [f"{key} is {folder}, which is a file. Name the folder of {dataset}."]
    if makes_itself and not path.exists():
        return _not_writable(key, folder)
    if not path.exists():
        return [f"{key} is {folder}, and there is no such folder.{_near(folder)} Name the folder of {dataset}."]
    if not os.access(path, os.R_OK | os.X_OK):
        return [f"{key} is {folder}, which this user may not read."]
    return []


def _not_writable(key: str, folder: str) -> list[str]:
    path = Path(folder).absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not existing.is_dir():
        return [f"{key} is {folder}, and {existing} is a file. Name a folder."]
    if not os.access(existing, os.W_OK | os.X_OK):
        return [f"{key} is {folder}, and nothing can be written in {existing}. Name another folder."]
    return []


def _near(folder: str) -> str:
    path = Path(folder)
    if not path.parent.is_dir():
        return ""
    siblings = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f" Did you mean {path.parent / near[0]}?" if near else ""


def _are_numbers(values: list) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _are_whole(values: list) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)
