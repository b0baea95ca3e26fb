"""The config section ASM_LOC: its keys with their defaults (THUMOS-14's released settings), and what they build."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.config.extension import ConfigExtension
from slowfast_gta.config.settings import Fault
from slowfast_gta.errors import ConfigError

from .annotations import class_names, read_csv
from .average_precision import TIOU_RANGES
from .datasets import VideoSet, acmnet_pack, for_training, join, named_as_features, split_off, wtalc_pack
from .features import ExtractedFeatures, same_origin
from .settings import (
    CORRECTED,
    RELEASED,
    LossSettings,
    NetworkSettings,
    Options,
    ProposalSettings,
    SegmentSettings,
    Settings,
    Sweep,
    threshold_range,
)

FORMATS = ("acmnet", "wtalc", "extracted")


def _defaults() -> CfgNode:
    """The keys of the section ASM_LOC."""
    node = CfgNode()
    # Data
    node.FORMAT = "acmnet"  # acmnet (ACM-Net's pack) | wtalc (W-TALC's, CO2-Net's) | extracted (extract_features.py)
    node.FEATURES = ""  # the pack's folder; wtalc: its .npy of features; extracted: the folder with manifest.jsonl
    node.TEST_FEATURES = ""  # extracted: another folder for the test videos (else FEATURES holds them too)
    node.ANNOTATIONS = ""  # acmnet: another gt.json than the pack's; wtalc: its folder; extracted: CSV of training
    node.TEST_ANNOTATIONS = ""  # extracted: CSV of the test videos
    node.TRAIN_SUBSET = "validation"  # what the annotations call the training videos (THUMOS-14: validation)
    node.TEST_SUBSET = "test"  # and the test videos
    node.SEC_PER_SNIPPET = 0.0  # seconds that a row of a pack's features stands for (windows one after another)
    node.VAL_SHARE = 0.0  # share of the training videos held out to choose a checkpoint by (TRAIN.KEEP_BEST)
    node.SELECT_ON_TEST = False  # validate on the test set, as the released code does; results.json says so
    node.TIOU = "thumos"  # tIoU thresholds of mAP: thumos (.1 to .9) | activitynet (.5 to .95)
    node.NUM_PICTURES = 10  # test videos that get a picture and a page
    # Sampling and the network
    node.NUM_ROWS = 750  # rows that the network is fed: exactly so many in training, at most in testing
    node.NUM_HEADS = 8  # attention heads; must divide the channels of the features
    node.DROPOUT = 0.7
    node.FOREGROUND_SHARE = 8  # the video score is the mean of the largest 1 / 8 of the rows
    node.BACKGROUND_SHARE = 3
    node.EMBED_DROPOUT = False  # ActivityNet: dropout before the first layer and the branches
    node.DYNAMIC_SAMPLING = True  # parts that can be switched off, for ablations
    node.INTRA = True
    node.INTER = True
    node.UNCERTAINTY = True
    # Proposals
    node.CLASS_THRESHOLD = 0.25  # video score from which a class is looked for
    node.NMS_THRESHOLD = 0.45
    node.UPSAMPLING = 20  # points a row
    node.CAS_THRESHOLDS = [0.15, 0.2]  # absolute: scale them with K + 1 for other numbers of classes
    node.ATTENTION_THRESHOLDS = [0.1, 0.9, 0.025]  # first, last, step
    node.TRAINING_SIGNAL = "attention"  # what proposals for the next step come from: attention | cas
    node.TRAINING_THRESHOLDS = [0.4, 0.9, 0.025]  # first, last, step
    node.CAS_WEIGHT = 1.0  # share of the CAS in the signal that scores proposals; the rest is attention
    node.FLANK = 0.2  # lambda: length of a flank, in lengths of the proposal
    node.VIDEO_SCORE_WEIGHT = 0.0  # of the video's score in detections from attention
    # What proposals do in the next step
    node.WIDEN = 0.5  # delta
    node.KEEP_SCORE = 0.7  # alpha
    node.STRETCH = 6.0  # gamma
    node.MAX_PROPOSALS = 200
    # Losses
    node.LOSS_FOREGROUND = 1.0
    node.LOSS_BACKGROUND = 0.5
    node.LOSS_ACTION_IN_BACKGROUND = 0.5
    node.LOSS_INSTANCE = 1.0
    node.BETA = 0.2  # weight of the mean uncertainty
    # as_released | corrected: see asm_loc/settings.py, Options
    node.SNIPPET_TIME = CORRECTED
    node.NMS_LENGTHS = CORRECTED
    node.CLIPPING = CORRECTED
    return node


_CHOICES = {
    "FORMAT": FORMATS,
    "TIOU": tuple(TIOU_RANGES),
    "TRAINING_SIGNAL": ("attention", "cas"),
    **dict.fromkeys(("SNIPPET_TIME", "NMS_LENGTHS", "CLIPPING"), (RELEASED, CORRECTED)),
}
_AT_LEAST_1 = ("NUM_ROWS", "NUM_HEADS", "UPSAMPLING", "FOREGROUND_SHARE", "BACKGROUND_SHARE", "MAX_PROPOSALS")
_SHARES = ("CLASS_THRESHOLD", "NMS_THRESHOLD", "CAS_WEIGHT")


def _faults(cfg: CfgNode) -> Iterator[Fault]:
    """What is wrong with the values of the section, whatever the data."""
    node = cfg.ASM_LOC
    for key in (key for key in _AT_LEAST_1 if node[key] < 1):
        yield Fault(f"ASM_LOC.{key}", f"ASM_LOC.{key} is {node[key]}; it must be 1 or more.")
    for key in (key for key in ("DROPOUT", "VAL_SHARE") if not 0 <= node[key] < 1):
        yield Fault(f"ASM_LOC.{key}", f"ASM_LOC.{key} is {node[key]}; it must be at least 0 and below 1.")
    for key in (key for key in _SHARES if not 0 <= node[key] <= 1):
        yield Fault(f"ASM_LOC.{key}", f"ASM_LOC.{key} is {node[key]}; it must lie between 0 and 1.")
    for key in ("ATTENTION_THRESHOLDS", "TRAINING_THRESHOLDS"):
        values = node[key]
        if len(values) != 3 or values[2] <= 0 or values[1] < values[0]:
            message = f"ASM_LOC.{key} is {values}; it must be [first, last, step], the step above 0."
            yield Fault(f"ASM_LOC.{key}", message)
    if node.SELECT_ON_TEST and node.VAL_SHARE:
        message = "ASM_LOC.SELECT_ON_TEST and ASM_LOC.VAL_SHARE contradict each other; keep one of them."
        yield Fault("ASM_LOC.SELECT_ON_TEST", message, ("ASM_LOC.VAL_SHARE",))


EXTENSION = ConfigExtension(
    {"ASM_LOC": _defaults()},
    choices={f"ASM_LOC.{key}": allowed for key, allowed in _CHOICES.items()},
    check=_faults,
)
"""What `load_config(path, overrides, EXTENSION)` needs to know of the section."""


def check_data_keys(cfg: CfgNode) -> None:
    """Raises ConfigError where the keys that name the data are not there; a config file may leave them open."""
    node, faults = cfg.ASM_LOC, []
    if not node.FEATURES:
        faults.append("ASM_LOC.FEATURES is empty; it must name the features (projects/asm_loc/README.md).")
    if node.FORMAT == "extracted" and not (node.ANNOTATIONS and node.TEST_ANNOTATIONS):
        faults.append("ASM_LOC.ANNOTATIONS and ASM_LOC.TEST_ANNOTATIONS must name the CSV files of the two splits.")
    if node.FORMAT == "wtalc" and not node.ANNOTATIONS:
        faults.append("ASM_LOC.ANNOTATIONS is empty; it must name the folder with classlist.npy, videoname.npy, ...")
    if node.FORMAT != "extracted" and not node.SEC_PER_SNIPPET > 0:
        faults.append(
            f"ASM_LOC.SEC_PER_SNIPPET is {node.SEC_PER_SNIPPET}; a pack does not record it, so it must be given."
        )
    if faults:
        raise ConfigError("\n".join(faults))


def settings_from_cfg(cfg: CfgNode) -> Settings:
    """The numbers of the section, as `Settings`."""
    node = cfg.ASM_LOC
    mix = {"cas_weight": node.CAS_WEIGHT, "attention_weight": round(1 - node.CAS_WEIGHT, 9), "flank": node.FLANK}
    attention = threshold_range(*node.ATTENTION_THRESHOLDS)
    return Settings(
        num_rows=node.NUM_ROWS,
        proposals=ProposalSettings(
            detection_sweeps=(
                Sweep("cas", tuple(node.CAS_THRESHOLDS), **mix),
                Sweep("attention", attention, **mix, video_score_weight=node.VIDEO_SCORE_WEIGHT),
            ),
            training_sweeps=(Sweep(node.TRAINING_SIGNAL, threshold_range(*node.TRAINING_THRESHOLDS), **mix),),
            class_threshold=node.CLASS_THRESHOLD,
            nms_threshold=node.NMS_THRESHOLD,
            upsampling=node.UPSAMPLING,
        ),
        segments=SegmentSettings(node.WIDEN, node.KEEP_SCORE, node.STRETCH, node.MAX_PROPOSALS),
        loss=LossSettings(
            node.LOSS_FOREGROUND, node.LOSS_BACKGROUND, node.LOSS_ACTION_IN_BACKGROUND, node.LOSS_INSTANCE, node.BETA
        ),
        network=NetworkSettings(
            num_heads=node.NUM_HEADS,
            dropout=node.DROPOUT,
            foreground_share=node.FOREGROUND_SHARE,
            background_share=node.BACKGROUND_SHARE,
            embed_dropout=node.EMBED_DROPOUT,
            intra=node.INTRA,
            inter=node.INTER,
            uncertainty=node.UNCERTAINTY,
        ),
        options=Options(node.SNIPPET_TIME, node.NMS_LENGTHS, node.CLIPPING),
        dynamic_sampling=node.DYNAMIC_SAMPLING,
    )


@dataclass(frozen=True)
class DataFiles:
    """Where the videos of a run are, and how they are divided. `load` opens them; nothing is read before."""

    format: str
    features: str
    test_features: str
    annotations: str
    test_annotations: str
    subsets: tuple[str, str]  # of training and testing
    sec_per_snippet: float
    val_share: float
    select_on_test: bool
    seed: int

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "DataFiles":
        node = cfg.ASM_LOC
        paths = (node.FEATURES, node.TEST_FEATURES, node.ANNOTATIONS, node.TEST_ANNOTATIONS)
        subsets = (node.TRAIN_SUBSET, node.TEST_SUBSET)
        shares = (node.VAL_SHARE, node.SELECT_ON_TEST, cfg.RNG_SEED)
        return cls(node.FORMAT, *paths, subsets, node.SEC_PER_SNIPPET, *shares)

    def load(self) -> dict[str, VideoSet]:
        """{"train", "val", "test"}: training videos without their instances; "val" is what is held out of them, all
        of them where nothing is held out (for video-level figures), or the test set where that was asked for."""
        sets = self._extracted() if self.format == "extracted" else self._pack()
        train, val = sets["train"], for_training(sets["train"])
        if self.select_on_test:
            val = sets["test"]
        elif self.val_share:
            train, val = split_off(train, self.val_share, self.seed)
        return {"train": for_training(train), "val": val, "test": sets["test"]}

    def _pack(self) -> dict[str, VideoSet]:
        subsets = dict(zip(("train", "test"), self.subsets, strict=True))
        if self.format == "wtalc":
            return wtalc_pack(Path(self.features), Path(self.annotations), self.sec_per_snippet, subsets)
        other = Path(self.annotations) if self.annotations else None
        return acmnet_pack(Path(self.features), self.sec_per_snippet, subsets, other)

    def _extracted(self) -> dict[str, VideoSet]:
        source = ExtractedFeatures(Path(self.features))
        test_source = ExtractedFeatures(Path(self.test_features)) if self.test_features else source
        same_origin(source.describe(), test_source, self.test_features or self.features)
        train, test = (read_csv(Path(path)) for path in (self.annotations, self.test_annotations))
        classes = class_names(train)
        return {
            "train": join("train", named_as_features(train.values(), source), source, classes),
            "test": join("test", named_as_features(test.values(), test_source), test_source, classes),
        }


def tiou_from_cfg(cfg: CfgNode) -> Sequence[float]:
    """The tIoU thresholds of ASM_LOC.TIOU."""
    return TIOU_RANGES[cfg.ASM_LOC.TIOU]
