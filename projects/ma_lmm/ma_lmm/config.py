"""The config section of this project, MA_LMM, beside the core's."""

from collections.abc import Iterator

from fvcore.common.config import CfgNode

from ma_lmm.memory.rules import CHOICES as RULE_CHOICES
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.tasks import TASKS
from slowfast_gta.config.extension import ConfigExtension
from slowfast_gta.config.settings import Fault

_D = CfgNode()
_D.TASK = "breakfast"  # one of ma_lmm.tasks.TASKS
_D.MODEL_DIR = ""  # folder of InstructBLIP or BLIP-2, as transformers saves it; never fetched
_D.DTYPE = "float32"  # of the frozen base: float32 | bfloat16 | float16; halves need TRAIN.MIXED_PRECISION
_D.TRAIN_ANNOTATIONS = ""  # the file of the training samples; of EPIC-Kitchens the folder of its lists
_D.VAL_ANNOTATIONS = ""  # of the validation samples; empty: TEST_ANNOTATIONS
_D.TEST_ANNOTATIONS = ""  # of the test samples
_D.REFERENCES = ""  # captions: references in COCO's format; empty: the captions of the annotations
_D.VIDEO_DIR = ""  # videos, or folders of frames, by the names of the annotations
_D.FOLDER_FPS = 10.0  # frames a second of frame folders
_D.NUM_FRAMES = 20  # T, of a sample
_D.MEMORY_LENGTH = 10  # M, entries of a bank
_D.MEMORY_UPDATE = "compress"  # compress | fifo
_D.MEMORY_LEVEL = "token"  # token | frame
_D.MEMORY_MEAN = "weighted"  # weighted | plain
_D.VISUAL_BANK = True
_D.QUERY_BANK = True
_D.BANK_TEXT = True  # the query banks hold the prompt's tokens too
_D.SUMMARY = "last"  # what the language model gets: last | average | tome | concat
_D.MAX_PROMPT_TOKENS = 128
_D.ANSWERS = "generate"  # generate | likelihood (closed sets: Breakfast, COIN, LVU, EPIC)
_D.NUM_BEAMS = 5
_D.MAX_NEW_TOKENS = 10
_D.MIN_NEW_TOKENS = 0
_D.LENGTH_PENALTY = 1.0
_D.REPETITION_PENALTY = 1.5

_CHOICES = {
    "MA_LMM.TASK": tuple(TASKS),
    "MA_LMM.DTYPE": ("float32", "bfloat16", "float16"),
    "MA_LMM.MEMORY_UPDATE": RULE_CHOICES["update"],
    "MA_LMM.MEMORY_LEVEL": RULE_CHOICES["level"],
    "MA_LMM.MEMORY_MEAN": RULE_CHOICES["mean"],
    "MA_LMM.SUMMARY": RULE_CHOICES["summary"],
    "MA_LMM.ANSWERS": ("generate", "likelihood"),
}
_AT_LEAST_1 = ("NUM_FRAMES", "MEMORY_LENGTH", "MAX_PROMPT_TOKENS", "NUM_BEAMS", "MAX_NEW_TOKENS")


def ma_lmm_config() -> ConfigExtension:
    """The section MA_LMM, for load_config."""
    return ConfigExtension({"MA_LMM": _D.clone()}, choices=_CHOICES, check=ma_lmm_faults)


def ma_lmm_faults(cfg: CfgNode) -> Iterator[Fault]:
    """What cannot go together."""
    section = cfg.MA_LMM
    for name in _AT_LEAST_1:
        if section[name] < 1:
            yield Fault(f"MA_LMM.{name}", f"MA_LMM.{name} is {section[name]}; it must be 1 or more.")
    if section.DTYPE != "float32" and not cfg.TRAIN.MIXED_PRECISION:
        text = f"MA_LMM.DTYPE {section.DTYPE} needs TRAIN.MIXED_PRECISION True: the trained parameters are float32."
        yield Fault("MA_LMM.DTYPE", text, ("TRAIN.MIXED_PRECISION",))
    if cfg.EMA.ENABLE:
        text = "EMA.ENABLE would copy the whole frozen model; MA-LMM does not support it."
        yield Fault("EMA.ENABLE", text)
    if cfg.DATA.ON_ERROR == "replace":
        text = (
            "DATA.ON_ERROR replace has no meaning for MA-LMM, whose samples have no classes; it must be error or skip."
        )
        yield Fault("DATA.ON_ERROR", text)
    keys = ("MA_LMM.TASK",)
    task = TASKS.get(section.TASK)
    if task and section.ANSWERS == "likelihood" and task.class_names is None:
        text = f"MA_LMM.ANSWERS likelihood needs a closed set of answers; {section.TASK} has none."
        yield Fault("MA_LMM.ANSWERS", text, keys)
    if task and section.ANSWERS == "generate" and task.metric == "anticipation":
        text = f"MA_LMM.ANSWERS must be likelihood for {section.TASK}: its metrics rank all classes."
        yield Fault("MA_LMM.ANSWERS", text, keys)


def memory_rule_from_cfg(cfg: CfgNode) -> MemoryRule:
    section = cfg.MA_LMM
    return MemoryRule(
        section.MEMORY_LENGTH,
        section.MEMORY_UPDATE,
        section.MEMORY_LEVEL,
        section.MEMORY_MEAN,
        section.VISUAL_BANK,
        section.QUERY_BANK,
        section.BANK_TEXT,
        section.SUMMARY,
    )
