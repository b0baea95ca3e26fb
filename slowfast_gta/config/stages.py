"""STAGES: a training in several parts, each with a config of its own.

    STAGES:
      backbone:
        ATTENTION: {NAME: none}
      gta:
        START_FROM: backbone
        SOLVER: {BASE_LR: 0.01, MAX_EPOCH: 40, INSERTED_LR_FACTOR: 10.0}

The file's other keys are the last network's; a stage says what is different in it, in the same words, and

    START_FROM   an earlier stage, or a file of weights: what this stage starts from
    WEIGHTS      a file that stands for this stage: it is not trained
    TEACHER      an earlier stage, or a file: its features are mimicked (W3's mature feature-guided regularisation)
"""

import re
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.config.check import check_config
from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.extension import ConfigExtension, Extra, extended_types, extension_of
from slowfast_gta.config.precedence import NAME
from slowfast_gta.config.settings import OPTIONS, STAGES, Fault, Setting, flattened, put_setting
from slowfast_gta.errors import ConfigError

OWN_KEYS = ("START_FROM", "WEIGHTS", "TEACHER")
_NOT_OF_A_STAGE = ("STAGES", "PLUGINS", "OUTPUT_DIR", "NUM_SHARDS", "SHARD_ID", "TRAIN.ENABLE")
_SAID_TWICE = {"TRAIN.CHECKPOINT_FILE_PATH": "START_FROM", "TRAIN.TEACHER_FILE_PATH": "TEACHER"}
_STAGE_NAME = re.compile(r"\w[\w-]*")


@dataclass(frozen=True)
class Stage:
    """One part of a training: its name, its whole config, and what it needs of earlier ones (names or files, or "")."""

    name: str
    cfg: CfgNode
    start_from: str
    weights: str
    teacher: str


def build_stages(cfg: CfgNode, extra: Extra = None) -> list[Stage]:
    """The stages of `cfg`, in order. Raises ConfigError with all that is wrong in any of them.

    extra: sections of a project's own, as `cfg` was loaded with.
    """
    stages, faults = _stages_and_faults(cfg, extra)
    if faults:
        raise ConfigError("\n".join(fault.text for fault in faults), [fault.key for fault in faults])
    return stages


def check_with_extension(cfg: CfgNode, extension: ConfigExtension) -> list[Fault]:
    """Every fault between the keys of `cfg`. A project need not use the core's networks and data sets: what it leaves
    at the defaults is no fault of its config."""
    faults = check_config(cfg)
    if extension.defaults:
        defaults, values = flattened(get_defaults()), flattened(cfg)
        faults = [fault for fault in faults if any(values.get(key) != defaults.get(key) for key in fault.all_keys)]
    return [*faults, *extension.check(cfg)]


def check_stages(cfg: CfgNode, extra: Extra = None) -> list[Fault]:
    """What is wrong in the configs of the stages: their keys are STAGES.name.SOLVER.BASE_LR and so on."""
    return _stages_and_faults(cfg, extra)[1]


def _stages_and_faults(cfg: CfgNode, extra: Extra) -> tuple[list[Stage], list[Fault]]:
    stages: list[Stage] = []
    faults: list[Fault] = []
    for number, (name, settings) in enumerate(cfg.STAGES.items()):
        is_last = number + 1 == len(cfg.STAGES)
        stage_cfg, stage_faults = _stage_cfg(cfg, name, settings, is_last, extra)
        own = {key: str(settings.get(key, "")) for key in OWN_KEYS}
        if not _STAGE_NAME.fullmatch(name):
            stage_faults.append(
                Fault("OUTPUT_DIR", f"{name!r} names a folder in OUTPUT_DIR: use letters, digits, _ and - only.")
            )
        stage_faults += _source_faults(own, [stage.name for stage in stages])
        faults += [_in_stage(name, fault) for fault in stage_faults]
        stages.append(Stage(name, stage_cfg, own["START_FROM"], own["WEIGHTS"], own["TEACHER"]))
    return stages, faults


def _in_stage(name: str, fault: Fault) -> Fault:
    """A fault of a stage's config as one of the whole config."""
    key, *keys = (f"{STAGES}.{name}.{key}" for key in fault.all_keys)
    return Fault(key, f"{STAGES}.{name}: {fault.text}", tuple(keys))


def _source_faults(own: dict[str, str], earlier: list[str]) -> list[Fault]:
    """START_FROM and TEACHER must be earlier stages or files, WEIGHTS a file."""
    from slowfast_gta.models.weights.zoo import is_published  # PyTorch comes with it, which --help does without

    faults = []
    for key, value in own.items():
        if not value or Path(value).is_file() or is_published(value) or (value in earlier and key != "WEIGHTS"):
            continue
        what = "a file" if key == "WEIGHTS" else f"an earlier stage ({', '.join(earlier) or 'there is none'}) or a file"
        faults.append(Fault(key, f"{key} is {value}, which is not {what}."))
    return faults


def _forget_block(stage: CfgNode, settings: CfgNode) -> None:
    """With another block than the whole config's, its options mean nothing; without one, nor does where it goes."""
    name, default = settings.get(NAME, stage.ATTENTION.NAME), get_defaults().ATTENTION
    if name == "none":
        stage.ATTENTION = default
    elif name != stage.ATTENTION.NAME:
        stage.ATTENTION.OPTIONS, stage.ATTENTION.REFINE = default.OPTIONS, default.REFINE
    if settings.get(OPTIONS) == {}:
        stage.ATTENTION.OPTIONS = default.OPTIONS


def _stage_cfg(cfg: CfgNode, name: str, settings: CfgNode, is_last: bool, extra: Extra) -> tuple[CfgNode, list[Fault]]:
    """The whole config of one stage, and what is wrong with it."""
    extension = extension_of(extra)
    stage = cfg.clone()
    stage.defrost()
    stage.STAGES.clear()
    stage.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / name)
    stage.TEST.ENABLE = cfg.TEST.ENABLE and is_last
    _forget_block(stage, settings)
    faults = []
    for key, value in settings.items():
        if key in OWN_KEYS or (key == OPTIONS and value == {}):
            continue
        if key in _NOT_OF_A_STAGE or key.split(".")[0] in _NOT_OF_A_STAGE:
            faults.append(Fault(key, f"{key} is the same for all stages; set it outside of STAGES."))
        elif value and (same := _SAID_TWICE.get(key)) and settings.get(same):
            faults.append(Fault(same, f"{same} and {key} set the same key of a stage; keep only one.", (key,)))
        elif fault := put_setting(stage, Setting(key, value, name, Path.cwd()), extended_types(extension)):
            faults.append(fault)
    if not faults:
        faults = check_with_extension(stage, extension)
    stage.freeze()
    return stage, faults
