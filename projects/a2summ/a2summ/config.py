"""The config section A2SUMM: its keys, their defaults (TVSum's published settings) and checks, and what they build."""

from collections.abc import Iterator

from fvcore.common.config import CfgNode

from a2summ.losses import SummaryLoss
from slowfast_gta.config.extension import ConfigExtension
from slowfast_gta.config.settings import Fault

VIDEO_SETS, ARTICLE_SETS = ("SumMe", "TVSum"), ("CNN", "Daily_Mail", "BLiSS")

_DEFAULTS = {
    # Data; DATA.PATH_TO_DATA_DIR is the folder with SumMe/, TVSum/ ..., or the folder of one's own videos
    "DATASET": "TVSum",  # SumMe | TVSum | CNN | Daily_Mail | BLiSS | Own
    "SPLIT": "all",  # all | 0, 1, ...: SumMe, TVSum and Own have five, each a run of its own
    "VAL_SHARE": 0.0,  # share of the training samples held out to choose a checkpoint by (TRAIN.KEEP_BEST)
    "SELECT_ON_TEST": False,  # validate on the test samples, as the release does; results.json says so
    "BUDGET": 0.15,  # share of a video that a summary may have
    "NETWORK_CFG": "",  # Own: config of the network of frame features; "": colours and brightness, no network
    "NETWORK_WEIGHTS": "",  # Own: its weights
    "TEXT_ENCODER": "",  # Own: folder of a sentence-transformers model; "": all-MiniLM-L6-v2
    "SHUFFLE_TEXT": False,  # give every video another one's text: what is then lost is what the text was worth
    # Network
    "DIM": 128,  # channels
    "NUM_LAYERS": 2,
    "HEAD": "anchor_free",  # anchor_free (score, run, centerness) | logit
    "USE_MASK": True,  # frames and sentences see each other only where they are aligned in time
    "USE_SEGMENTS": True,  # and share a learned row there
    "INIT_STD": 0.02,  # of the weights of Linear at the start, as released; 0: torch's own, which is quicker to align
    "DROPOUT_INPUT": 0.1,
    "DROPOUT_ATTN": 0.5,
    "DROPOUT_HEAD": 0.5,
    "AS_RELEASED": False,  # the release's slips: shared layers, segment rows off by one, intra scale without exp
    # Losses
    "INTER_WEIGHT": 0.1,  # lambda_1
    "INTRA_WEIGHT": 1.0,  # lambda_2
    "NEGATIVES_RATIO": 16,  # valid tokens for each hard negative; 0: no intra-sample loss
    # Inference
    "NMS_IOU": 0.4,  # anchor_free: of boxes that overlap by so much the best stays
}


def extension() -> ConfigExtension:
    return ConfigExtension(
        {"A2SUMM": _DEFAULTS},
        types={"A2SUMM.SPLIT": (str, int)},
        choices={
            "A2SUMM.DATASET": (*VIDEO_SETS, *ARTICLE_SETS, "Own"),
            "A2SUMM.HEAD": ("anchor_free", "logit"),
        },
        check=_faults,
    )


def _faults(cfg: CfgNode) -> Iterator[Fault]:
    node = cfg.A2SUMM
    if node.SPLIT != "all" and not (isinstance(node.SPLIT, int) and node.SPLIT >= 0):
        yield Fault("A2SUMM.SPLIT", f"A2SUMM.SPLIT must be all, or the number of a split from 0, not {node.SPLIT!r}.")
    for key in ("DROPOUT_INPUT", "DROPOUT_ATTN", "DROPOUT_HEAD", "VAL_SHARE"):
        if not 0 <= node[key] < 1:
            yield Fault(f"A2SUMM.{key}", f"A2SUMM.{key} must be from 0 to below 1, not {node[key]:g}.")
    if not 0 < node.BUDGET <= 1:
        yield Fault("A2SUMM.BUDGET", f"A2SUMM.BUDGET is a share above 0 and up to 1, not {node.BUDGET:g}.")
    if node.DIM < 8 or node.DIM % 8:
        yield Fault("A2SUMM.DIM", f"A2SUMM.DIM must be a multiple of the 8 heads, not {node.DIM}.")
    for key in ("NUM_LAYERS", "NEGATIVES_RATIO", "INTER_WEIGHT", "INTRA_WEIGHT", "INIT_STD"):
        if node[key] < 0:
            yield Fault(f"A2SUMM.{key}", f"A2SUMM.{key} must be 0 or more, not {node[key]:g}.")
    if node.DATASET in ("CNN", "Daily_Mail") and (node.USE_MASK or node.USE_SEGMENTS):
        yield Fault(
            "A2SUMM.USE_MASK",
            f"{node.DATASET} has no times of its sentences: set A2SUMM.USE_MASK and A2SUMM.USE_SEGMENTS to False.",
        )
    if node.DATASET in ARTICLE_SETS and node.SHUFFLE_TEXT:
        yield Fault("A2SUMM.SHUFFLE_TEXT", f"A2SUMM.SHUFFLE_TEXT is for videos; {node.DATASET} is judged by its text.")
    if node.SELECT_ON_TEST and node.VAL_SHARE:
        yield Fault("A2SUMM.VAL_SHARE", "A2SUMM.SELECT_ON_TEST and A2SUMM.VAL_SHARE exclude each other.")
    if bool(node.NETWORK_CFG) != bool(node.NETWORK_WEIGHTS):
        yield Fault("A2SUMM.NETWORK_CFG", "A2SUMM.NETWORK_CFG and A2SUMM.NETWORK_WEIGHTS must be set together.")


def model_options(cfg: CfgNode, dim_video: int, dim_text: int) -> dict:
    """The arguments of A2Summ that a config means."""
    node = cfg.A2SUMM
    released_rows = {"max_segments": 200} if node.AS_RELEASED and node.DATASET == "BLiSS" else {}
    return {
        "dim_video": dim_video,
        "dim_text": dim_text,
        "dim": node.DIM,
        "num_layers": node.NUM_LAYERS,
        "head": node.HEAD,
        "use_mask": node.USE_MASK,
        "use_segments": node.USE_SEGMENTS,
        "dropout_input": node.DROPOUT_INPUT,
        "dropout_attn": node.DROPOUT_ATTN,
        "dropout_head": node.DROPOUT_HEAD,
        "init_std": node.INIT_STD,
        "shared_layers": node.AS_RELEASED,
        "segment_shift": node.AS_RELEASED and node.USE_SEGMENTS,
        **released_rows,
    }


def build_loss(cfg: CfgNode) -> SummaryLoss:
    node = cfg.A2SUMM
    return SummaryLoss(node.INTER_WEIGHT, node.INTRA_WEIGHT, node.NEGATIVES_RATIO or None, not node.AS_RELEASED)
