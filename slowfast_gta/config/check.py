"""What must hold between keys: every rule that a single key's type cannot say. Found before data or model is built."""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from slowfast_gta import datasets, models  # noqa: F401 - importing them registers their names
from slowfast_gta.config.check_network import check_network
from slowfast_gta.config.paths import WEIGHTS, is_reference
from slowfast_gta.config.settings import Fault, flattened
from slowfast_gta.config.values import largest_of, numbers_in
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
        "RNG_SEED SHARD_ID SOLVER.BASE_BATCH_SIZE MODEL.FC_INIT_STD BN.WEIGHT_DECAY SYNTHETIC.SEED SYNTHETIC.NUM_TEST "
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
        "MODEL.DROPOUT_RATE TRAIN.LABEL_SMOOTHING EMA.DECAY DATA.COLOR_JITTER",
    ),
    ("from 0 to 1", lambda value: 0 <= value <= 1, "DATA.CHANNEL_PERMUTE_PROB"),
    ("above 0 and at most 1", lambda value: 0 < value <= 1, "SOLVER.WARMUP_MAX_FRACTION"),
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


def check_config(cfg: CfgNode) -> list[Fault]:
    """Every fault between the keys of `cfg`. PLUGINS are already imported."""
    rules = (
        check_names,
        check_ranges,
        check_sizes,
        check_outputs,
        check_data,
        check_views,
        check_schedule,
        check_processes,
    )
    return list(dict.fromkeys(fault for rule in (*rules, check_network) for fault in rule(cfg)))


def check_names(cfg: CfgNode) -> Iterator[Fault]:
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
            yield Fault(key, str(error), ("PLUGINS",))


def check_ranges(cfg: CfgNode) -> Iterator[Fault]:
    """Single numbers outside of what makes sense."""
    values: dict[str, Any] = flattened(cfg)
    for allowed, holds, keys in _RANGES:
        for key in keys.split():
            if not holds(values[key]):
                yield Fault(key, f"{key} is {values[key]}; it must be {allowed}.")


def check_sizes(cfg: CfgNode) -> Iterator[Fault]:
    """Numbers that are larger than any library takes, wherever they stand."""
    for key, value in flattened(cfg).items():
        largest = largest_of(key)
        if wrong := [number for number in numbers_in(value) if abs(number) > largest]:
            yield Fault(key, f"{key} has {wrong[0]}; the largest number allowed is {largest}. Set a smaller one.")


def check_outputs(cfg: CfgNode) -> Iterator[Fault]:
    """The number of classes, of one output or of several."""
    classes, names = cfg.MODEL.NUM_CLASSES, cfg.MODEL.OUTPUTS
    several = isinstance(classes, list)
    if not _are_whole(classes if several else [classes]) or min(classes if several else [classes], default=0) < 1:
        yield Fault(
            "MODEL.NUM_CLASSES",
            f"MODEL.NUM_CLASSES is {classes}; it must be 1 or more, or a list of such numbers, for example [97, 300].",
        )
    are_words = all(isinstance(name, str) and name.isidentifier() for name in names)
    if several and not (are_words and len(set(names)) == len(names) == len(classes)):
        yield Fault(
            "MODEL.OUTPUTS",
            f"MODEL.OUTPUTS is {names}; it must name each output of MODEL.NUM_CLASSES, {len(classes)} in all.",
            ("MODEL.NUM_CLASSES",),
        )


def check_data(cfg: CfgNode) -> Iterator[Fault]:
    """Sizes and statistics of the frames."""
    data = cfg.DATA
    for key, values in (("DATA.MEAN", data.MEAN), ("DATA.STD", data.STD)):
        if not _are_numbers(values) or len(values) != 3:
            yield Fault(key, f"{key} is {values}; it must be three numbers, one each for red, green and blue.")
    for key, values in (("DATA.MEAN", data.MEAN), ("DATA.STD", data.STD)):
        if _are_numbers(values) and any(not 0 <= value <= 1 for value in values):
            hint = f" Divided by 255 they are {[round(value / 255, 4) for value in values]}." if max(values) > 1 else ""
            yield Fault(key, f"{key} is {values}; pixels range from 0 to 1 here, not to 255, and so must these.{hint}")
    if _are_numbers(data.STD) and not all(value > 0 for value in data.STD):
        yield Fault("DATA.STD", f"DATA.STD is {data.STD}; frames are divided by it, so each must be more than 0.")
    if any(channels != 3 for channels in data.INPUT_CHANNEL_NUM):
        yield Fault(
            "DATA.INPUT_CHANNEL_NUM",
            f"DATA.INPUT_CHANNEL_NUM is {data.INPUT_CHANNEL_NUM}; only 3 (RGB) is supported, in every pathway.",
        )
    if data.RESIZE:
        yield from _resize_faults(
            data.RESIZE, data.TRAIN_CROP_SIZE, 0 if cfg.TEST.FULL_RESOLUTION else data.TEST_CROP_SIZE
        )
        if not _are_numbers(data.MULTI_SCALES) or not data.MULTI_SCALES:
            yield Fault(
                "DATA.MULTI_SCALES",
                f"DATA.MULTI_SCALES is {data.MULTI_SCALES}; it must be a list of numbers, for example [1.0, 0.875].",
            )
        elif not all(0 < scale <= 1 for scale in data.MULTI_SCALES):
            yield Fault(
                "DATA.MULTI_SCALES",
                f"DATA.MULTI_SCALES is {data.MULTI_SCALES}; each must be more than 0 and at most 1.",
            )
        return
    scales = data.TRAIN_JITTER_SCALES
    if not _are_whole(scales) or len(scales) != 2 or scales[0] > scales[1]:
        yield Fault(
            "DATA.TRAIN_JITTER_SCALES",
            f"DATA.TRAIN_JITTER_SCALES is {scales}; it must be [smallest, largest] short side in pixels.",
        )
    elif scales[0] < data.TRAIN_CROP_SIZE:
        yield Fault(
            "DATA.TRAIN_JITTER_SCALES",
            f"DATA.TRAIN_JITTER_SCALES is {scales}; its smallest must be at least DATA.TRAIN_CROP_SIZE, "
            f"{data.TRAIN_CROP_SIZE}, for a crop to fit.",
            ("DATA.TRAIN_CROP_SIZE",),
        )


def _resize_faults(resize: list, train_crop: int, test_crop: int) -> Iterator[Fault]:
    if not _are_whole(resize) or len(resize) != 2:
        yield Fault("DATA.RESIZE", f"DATA.RESIZE is {resize}; it must be [] or [H, W] in pixels, such as [240, 320].")
        return
    for key, crop in (("DATA.TRAIN_CROP_SIZE", train_crop), ("DATA.TEST_CROP_SIZE", test_crop)):
        if min(resize) < crop:
            yield Fault(
                "DATA.RESIZE",
                f"DATA.RESIZE is {resize}; both sides must be at least {key}, {crop}, for a crop to fit.",
                (key,),
            )


def check_views(cfg: CfgNode) -> Iterator[Fault]:
    """Where the clips and crops of a test lie."""
    data, test = cfg.DATA, cfg.TEST
    if test.CLIP_POSITIONS == "twice" and (data.SAMPLING == "dense" or test.NUM_ENSEMBLE_VIEWS != 2):
        yield Fault(
            "TEST.CLIP_POSITIONS",
            "TEST.CLIP_POSITIONS twice is TSM's pair of clips: it needs TEST.NUM_ENSEMBLE_VIEWS 2 (it is "
            f"{test.NUM_ENSEMBLE_VIEWS}) and DATA.SAMPLING segment or uniform (it is {data.SAMPLING}).",
            ("TEST.NUM_ENSEMBLE_VIEWS", "DATA.SAMPLING"),
        )
    if test.FULL_RESOLUTION and test.NUM_SPATIAL_CROPS != 1:
        yield Fault(
            "TEST.NUM_SPATIAL_CROPS",
            f"TEST.NUM_SPATIAL_CROPS is {test.NUM_SPATIAL_CROPS}; with TEST.FULL_RESOLUTION True the one view is the "
            "whole frame: it must be 1.",
            ("TEST.FULL_RESOLUTION",),
        )
    if test.CLIP_POSITIONS != "exact" and data.USE_OFFSET_SAMPLING:
        yield Fault(
            "DATA.USE_OFFSET_SAMPLING",
            f"DATA.USE_OFFSET_SAMPLING True belongs to TEST.CLIP_POSITIONS exact, and that is {test.CLIP_POSITIONS}. "
            "Set DATA.USE_OFFSET_SAMPLING False.",
            ("TEST.CLIP_POSITIONS",),
        )


def check_schedule(cfg: CfgNode) -> Iterator[Fault]:
    """Learning rates over the epochs, and what the optimizers refuse."""
    solver = cfg.SOLVER
    if solver.WARMUP_EPOCHS > solver.MAX_EPOCH and solver.WARMUP_MAX_FRACTION == 1:
        yield Fault(
            "SOLVER.WARMUP_EPOCHS",
            f"SOLVER.WARMUP_EPOCHS is {solver.WARMUP_EPOCHS}, longer than SOLVER.MAX_EPOCH, {solver.MAX_EPOCH}.",
            ("SOLVER.MAX_EPOCH",),
        )
    if solver.BASE_BATCH_SIZE and solver.BASE_LR_SCALE_NUM_SHARDS:
        yield Fault(
            "SOLVER.BASE_BATCH_SIZE",
            f"SOLVER.BASE_BATCH_SIZE is {solver.BASE_BATCH_SIZE} and SOLVER.BASE_LR_SCALE_NUM_SHARDS True; both scale "
            "the learning rates. Set one of them.",
            ("SOLVER.BASE_LR_SCALE_NUM_SHARDS",),
        )
    if solver.LR_POLICY == "cosine" and solver.COSINE_END_LR > solver.BASE_LR:
        yield Fault(
            "SOLVER.COSINE_END_LR",
            f"SOLVER.COSINE_END_LR is {solver.COSINE_END_LR}, more than SOLVER.BASE_LR, {solver.BASE_LR}.",
            ("SOLVER.BASE_LR",),
        )
    if solver.LR_POLICY != "cosine":
        yield from _step_faults(solver.LR_POLICY, solver.STEPS, solver.LRS)
    if solver.OPTIMIZING_METHOD == "sgd" and solver.NESTEROV and not (solver.MOMENTUM > 0 and solver.DAMPENING == 0):
        yield Fault(
            "SOLVER.NESTEROV",
            f"SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0 (it is {solver.MOMENTUM}) and SOLVER.DAMPENING 0 "
            f"(it is {solver.DAMPENING}). Set SOLVER.NESTEROV False.",
            ("SOLVER.MOMENTUM", "SOLVER.DAMPENING"),
        )
    betas = solver.BETAS
    if not _are_numbers(betas) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        yield Fault("SOLVER.BETAS", f"SOLVER.BETAS is {betas}; it must be two numbers, each at least 0 and below 1.")


def _step_faults(policy: str, steps: list, rates: list) -> Iterator[Fault]:
    relative = policy == "steps_with_relative_lrs"
    if not steps or not _are_numbers(steps) or any(later <= step for step, later in pairwise(steps)):
        yield Fault(
            "SOLVER.STEPS",
            f"SOLVER.STEPS is {steps}; SOLVER.LR_POLICY {policy} needs a growing list of epochs.",
            ("SOLVER.LR_POLICY",),
        )
    elif relative and steps[0] != 0:
        yield Fault(
            "SOLVER.STEPS",
            f"SOLVER.STEPS is {steps}; with SOLVER.LR_POLICY {policy} it begins with 0.",
            ("SOLVER.LR_POLICY",),
        )
    elif not relative and steps[0] <= 0:
        yield Fault(
            "SOLVER.STEPS",
            f"SOLVER.STEPS is {steps}; with SOLVER.LR_POLICY {policy} the first step comes after epoch 0.",
            ("SOLVER.LR_POLICY",),
        )
    if relative and (len(rates) < len(steps) or not _are_numbers(rates) or not all(rate >= 0 for rate in rates)):
        yield Fault(
            "SOLVER.LRS",
            f"SOLVER.LRS is {rates}; with SOLVER.LR_POLICY {policy} it needs a number, 0 or more, "
            f"for each of SOLVER.STEPS, {steps}.",
            ("SOLVER.LR_POLICY", "SOLVER.STEPS"),
        )


def check_processes(cfg: CfgNode) -> Iterator[Fault]:
    """Machines that train together."""
    if cfg.SHARD_ID >= cfg.NUM_SHARDS >= 1:
        yield Fault(
            "SHARD_ID",
            f"SHARD_ID is {cfg.SHARD_ID}; with NUM_SHARDS {cfg.NUM_SHARDS} it must be 0 to {cfg.NUM_SHARDS - 1}.",
            ("NUM_SHARDS",),
        )
    if max(1, cfg.TRAIN.BATCH_SIZE) < cfg.SOLVER.ACCUMULATE_STEPS:
        yield Fault(
            "SOLVER.ACCUMULATE_STEPS",
            f"SOLVER.ACCUMULATE_STEPS is {cfg.SOLVER.ACCUMULATE_STEPS}, more parts than TRAIN.BATCH_SIZE has "
            f"clips, {cfg.TRAIN.BATCH_SIZE}.",
            ("TRAIN.BATCH_SIZE",),
        )


def check_data_paths(cfg: CfgNode, splits: Iterable[str]) -> None:
    """Raises ConfigError unless the folders that `splits` ("train", "val", "test") read and OUTPUT_DIR are there.

    OUTPUT_DIR and the folder of a data set that makes its own files need not exist, only be possible to make.
    """
    faults: list[Fault] = []
    names = sorted({cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET for split in splits})
    for name in names:
        maker = cfg.ARROW.DATASET if name == "ArrowOfTime" else name
        makes_itself = getattr(DATASET_REGISTRY.get(maker), "creates_itself", False)
        faults += _data_folder_faults(cfg.DATA.PATH_TO_DATA_DIR, name, makes_itself)
    if cfg.DATA.PATH_PREFIX and not Path(cfg.DATA.PATH_PREFIX).is_dir():
        prefix = cfg.DATA.PATH_PREFIX
        text = f"DATA.PATH_PREFIX is {prefix}, which does not exist.{_near(prefix)}"
        faults.append(Fault("DATA.PATH_PREFIX", text))
    faults += _not_writable("OUTPUT_DIR", cfg.OUTPUT_DIR)
    faults += _missing_weights(cfg)
    _refuse(faults)


def _missing_weights(cfg: CfgNode) -> Iterator[Fault]:
    """Files of weights that the run will need, however late."""
    for key in WEIGHTS:
        section, name = key.split(".")
        path = cfg[section][name] if cfg[section].ENABLE else ""
        if path and not is_reference(path) and not Path(path).is_file():
            what = "is a folder" if Path(path).is_dir() else "does not exist"
            yield Fault(key, f"{key} is {path}, which {what}. Name a weights file.")


def check_weights_files(cfg: CfgNode) -> None:
    """Raises ConfigError where a file of weights that the run will need, however late, is not there."""
    _refuse(_missing_weights(cfg))


def check_output_dir(cfg: CfgNode) -> None:
    """Raises ConfigError unless OUTPUT_DIR is there or can be made."""
    _refuse(_not_writable("OUTPUT_DIR", cfg.OUTPUT_DIR))


def _refuse(faults: Iterable[Fault]) -> None:
    if different := list(dict.fromkeys(faults)):
        raise ConfigError("\n".join(fault.text for fault in different), [fault.key for fault in different])


def _data_folder_faults(folder: str, dataset: str, makes_itself: bool) -> Iterator[Fault]:
    key, path = "DATA.PATH_TO_DATA_DIR", Path(folder)
    if not folder:
        example = f"{key} /path/to/{dataset} on the command line"
        yield Fault(key, f"{key} is not set: name the folder of {dataset}: {example}.")
    elif path.exists() and not path.is_dir():
        yield Fault(key, f"{key} is {folder}, which is a file. Name the folder of {dataset}.")
    elif makes_itself and not path.exists():
        yield from _not_writable(key, folder)
    elif not path.exists():
        yield Fault(key, f"{key} is {folder}, which does not exist.{_near(folder)} Name the folder of {dataset}.")
    elif not os.access(path, os.R_OK | os.X_OK):
        yield Fault(key, f"{key} is {folder}, which this user is not allowed to read.")


def _not_writable(key: str, folder: str) -> Iterator[Fault]:
    path = Path(folder).absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not existing.is_dir():
        yield Fault(key, f"{key} is {folder}, but {existing} is a file. Name a folder.")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield Fault(key, f"{key} is {folder}, but {existing} is not writable. Name another folder.")


def _near(folder: str) -> str:
    path = Path(folder)
    if not path.parent.is_dir():
        return ""
    siblings = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f" Did you mean {path.parent / near[0]}?" if near else ""


def _are_numbers(values: list) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _are_whole(values: list) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)
