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

from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.config.check import check_config
from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.load import load_setting
from slowfast_gta.config.read import Setting
from slowfast_gta.errors import ConfigError

OWN_KEYS = ("START_FROM", "WEIGHTS", "TEACHER")
_NOT_OF_A_STAGE = ("STAGES", "PLUGINS", "OUTPUT_DIR", "NUM_SHARDS", "SHARD_ID", "TRAIN.ENABLE")
_SAID_TWICE = {"TRAIN.CHECKPOINT_FILE_PATH": "START_FROM", "TRAIN.TEACHER_FILE_PATH": "TEACHER"}


@dataclass(frozen=True)
class Stage:
    """One part of a training: its name, its whole config, and what it needs of earlier ones (names or files, or "")."""

    name: str
    cfg: CfgNode
    start_from: str
    weights: str
    teacher: str


def load_stages(cfg: CfgNode) -> list[Stage]:
    """The stages of `cfg`, in order. Raises ConfigError with all that is wrong in any of them."""
    stages, faults = [], []
    for number, (name, settings) in enumerate(cfg.STAGES.items()):
        is_last = number + 1 == len(cfg.STAGES)
        stage_cfg, found = _stage_cfg(cfg, name, settings, is_last)
        own = {key: str(settings.get(key, "")) for key in OWN_KEYS}
        found += _source_faults(own, [stage.name for stage in stages])
        faults += [f"STAGES.{name}: {text}" for text in found]
        stages.append(Stage(name, stage_cfg, own["START_FROM"], own["WEIGHTS"], own["TEACHER"]))
    if faults:
        raise ConfigError("\n".join(faults))
    return stages


def _source_faults(own: dict[str, str], earlier: list[str]) -> list[str]:
    """START_FROM and TEACHER must be earlier stages or files, WEIGHTS a file."""
    faults = []
    for key, value in own.items():
        if not value or Path(value).is_file() or (value in earlier and key != "WEIGHTS"):
            continue
        what = "a file" if key == "WEIGHTS" else f"an earlier stage ({', '.join(earlier) or 'there is none'}) or a file"
        faults.append(f"{key} is {value}, which is not {what}.")
    return faults


def _stage_cfg(cfg: CfgNode, name: str, settings: CfgNode, is_last: bool) -> tuple[CfgNode, list[str]]:
    """The whole config of one stage, and what is wrong with it."""
    stage = cfg.clone()
    stage.defrost()
    stage.STAGES.clear()
    stage.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / name)
    stage.TEST.ENABLE = cfg.TEST.ENABLE and is_last
    if settings.get("ATTENTION.NAME") == "none":
        stage.ATTENTION = get_defaults().ATTENTION  # without a block, where it went and its options mean nothing
    faults = []
    for key, value in settings.items():
        if key in OWN_KEYS:
            continue
        if key in _NOT_OF_A_STAGE or key.split(".")[0] in _NOT_OF_A_STAGE:
            faults.append(f"{key} is the same for all stages; set it outside of STAGES.")
        elif value and settings.get(_SAID_TWICE.get(key)):
            faults.append(f"{_SAID_TWICE[key]} and {key} say the same of a stage; keep one of them.")
        elif fault := load_setting(stage, Setting(key, value, f"STAGES.{name}", Path.cwd())):
            faults.append(fault.text)
    if not faults:
        faults = check_config(stage)
    stage.freeze()
    return stage, faults
