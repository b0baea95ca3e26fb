"""A training for the machine and the videos that there are: which packaged YAML to build on, and what to change.

What was measured and what was assumed stands in the YAML, so that whoever reads it can judge the numbers.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

from slowfast_gta.errors import counted
from slowfast_gta.preparation.machine import Machine

_BASES = {
    "cpu": {"GTA": "OwnVideos_R2D18_GTA_CPU", "R2D": "OwnVideos_R2D18_CPU"},
    "gpu": {"GTA": "OwnVideos_R2D50_GTA", "R2D": "OwnVideos_R2D50"},
}
_WHAT = {
    "cpu": "a small R2D-18 with TSM, 8 frames of 64 px, from random weights",
    "gpu": "R2D-50, 8 frames of 224 px, meant to start from trained weights (TRAIN.CHECKPOINT_FILE_PATH)",
}
_TITLES = {"cpu": "R2D + TSM + GTA", "gpu": "R2D + GTA"}
_BATCH_SIZE = {"cpu": 8, "gpu": 16}
_EVALUATIONS, _CHECKPOINTS = 10, 20  # of a training, about
# An assumption, not a measurement: of a GPU with less, half the batch fits.
_LEAST_GPU_GIB = 15
_ASSUMED_GPU_GIB = 16
_MOST_WORKERS = 8
_FOR = ("to train with", "for validation", "for testing")


@dataclass(frozen=True)
class Videos:
    """What there is to train with: the folder of the lists, that of the videos, and how many of them."""

    lists: Path
    root: Path
    num_classes: int
    num_videos: dict[str, int]  # of "train", "val", "test", in this order
    is_directed: bool  # a horizontal flip would change a class
    is_coloured: bool = False  # other colours would change a class


def kind_for(machine: Machine, wanted: str | None) -> str:
    """`wanted` (--for), or else what is here: "cpu" or "gpu"."""
    return wanted or ("gpu" if machine.gpu else "cpu")


def recipes(videos: Videos, machine: Machine, wanted: str | None) -> dict[str, str]:
    """{file name: text}: train.yaml trains R2D + GTA, train_r2d.yaml the same network without GTA."""
    kind = kind_for(machine, wanted)
    keys, reasons = _settings(videos, machine, kind)
    texts = {}
    for name, network, suffix in (("train.yaml", "GTA", ""), ("train_r2d.yaml", "R2D", "_r2d")):
        whole = {"_BASE_": f"configs/Kinetics/{_BASES[kind][network]}.yaml", **keys}
        whole["OUTPUT_DIR"] = f"runs/{videos.lists.name}{suffix}"
        title = _TITLES[kind] if network == "GTA" else "The baseline: the same network without GTA"
        head = [f"{title}, for videos in class folders.", *_facts(videos, machine, wanted, kind), *reasons]
        head.append(f"  python tools/run_net.py --cfg {shlex.quote(str(videos.lists / name))}")
        texts[name] = "".join(f"# {line}\n" for line in head)
        texts[name] += yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
    return texts


def _facts(videos: Videos, machine: Machine, wanted: str | None, kind: str) -> list[str]:
    counts = [f"{counted(count, 'video')} {what}" for count, what in zip(videos.num_videos.values(), _FOR, strict=True)]
    lines = [f"Counted: {counted(videos.num_classes, 'class')}; {', '.join(counts)}.", f"Measured: {machine}."]
    if wanted:
        missing = f"; its GPU is assumed to have {_ASSUMED_GPU_GIB} GiB" if kind == "gpu" and not machine.gpu else ""
        lines.append(f"Asked for: --for {wanted}{missing}.")
    return lines


def _settings(videos: Videos, machine: Machine, kind: str) -> tuple[dict, list[str]]:
    """What the YAML changes, and why, as comments."""
    num_train = videos.num_videos["train"]
    batch_size = _BATCH_SIZE[kind]
    reasons = [f"Chosen for a {'GPU' if kind == 'gpu' else 'CPU'}: {_WHAT[kind]}."]
    if kind == "gpu" and (machine.gpu_memory_gib or _ASSUMED_GPU_GIB) < _LEAST_GPU_GIB:
        batch_size //= 2
        reasons.append(f"Batches of {batch_size}: less than {_LEAST_GPU_GIB} GiB of GPU memory (assumed, not tried).")
    if num_train < batch_size:
        batch_size = num_train
        reasons.append(f"Batches of {batch_size}: there are no more videos to train with.")
    epochs = num_epochs(num_train, kind)
    reasons.append(
        f"{counted(epochs, 'epoch')} of {counted(num_train, 'video')}: {counted(epochs * num_train, 'clip', ',')}."
    )
    data: dict[str, object] = {
        "PATH_TO_DATA_DIR": str(videos.lists.resolve()),
        "PATH_PREFIX": str(videos.root.resolve()),
    }
    if videos.is_directed:
        data["RANDOM_FLIP"] = False
        reasons.append("RANDOM_FLIP: class names have a direction in them, which a flip would change.")
    if kind == "cpu" and videos.is_coloured:
        data["CHANNEL_PERMUTE_PROB"] = 0.0
        reasons.append("CHANNEL_PERMUTE_PROB: class names have a colour in them, which other colours would change.")
    workers = max(1, min(_MOST_WORKERS, machine.num_cores // 2 if kind == "cpu" else machine.num_cores - 1))
    reasons.append(f"{counted(workers, 'process')} to read videos, for {counted(machine.num_cores, 'core')}.")
    keys = {
        "MODEL": {"NUM_CLASSES": videos.num_classes},
        "DATA": data,
        "SOLVER": {"MAX_EPOCH": epochs},
        "TRAIN": {
            "BATCH_SIZE": batch_size,
            "EVAL_PERIOD": max(1, epochs // _EVALUATIONS),
            "CHECKPOINT_PERIOD": max(1, epochs // _CHECKPOINTS),
        },
        "DATA_LOADER": {"NUM_WORKERS": workers},
    }
    return keys, reasons


def num_epochs(num_train: int, kind: str) -> int:
    """So many that the network sees enough clips where videos are few, and ends in reasonable time where not."""
    clips, fewest, most = {"cpu": (3200, 20, 100), "gpu": (15_000, 30, 100)}[kind]
    return max(fewest, min(most, round(clips / num_train)))
