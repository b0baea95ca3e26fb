"""Whole data sets in miniature, laid out as published, and the keys of a network that learns them in a second."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from made_videos import write_frames, write_video

ROOT = Path(__file__).parents[2]
CFG = ROOT / "configs" / "SSv2" / "R2D50.yaml"
CLASSES = ["Covering something", "Moving something left", "Uncovering something"]

# What makes configs/SSv2/R2D50.yaml small, as KEY, VALUE, KEY, VALUE ...; dropout stays on.
TINY = [
    *("MODEL.NUM_CLASSES", 3, "RESNET.DEPTH", 14, "RESNET.WIDTH_PER_GROUP", 8, "DATA.NUM_FRAMES", 4),
    *("DATA.RESIZE", "[36,48]", "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "TRAIN.BATCH_SIZE", 4),
    *("SOLVER.MAX_EPOCH", 2, "SOLVER.STEPS", "[1]", "SOLVER.WARMUP_EPOCHS", 0.5, "TRAIN.EVAL_PERIOD", 1),
    *("TEST.BATCH_SIZE", 4, "DATA_LOADER.NUM_WORKERS", 0, "TENSORBOARD.ENABLE", False, "LOG_PERIOD", 1),
    *("TEST.REPORT", False),  # seconds for each; tests/reports asks for one
]


def make_ssv2(folder: Path, num_train: int = 12, num_val: int = 6, num_classes: int = 3) -> Path:
    """Something-Something v2 as its first release: json files and 20bn-something-something-v2/<id>.webm."""
    names = CLASSES + [f"Doing thing {number} to something" for number in range(num_classes - len(CLASSES))]
    videos = folder / "20bn-something-something-v2"
    videos.mkdir(parents=True)
    entries = []
    for number in range(num_train + num_val):
        write_video(videos / f"{1000 + number}.webm", 12 + number % 5)
        name = names[number % len(CLASSES)]
        template = name.replace("something", "[something]")
        entries.append(
            {"id": str(1000 + number), "label": name.replace("something", "a cup"), "template": template}
            | {"placeholders": ["a cup"]}
        )
    lists = {"labels": {name: str(label) for label, name in enumerate(names)}, "train": entries[:num_train]}
    lists |= {"validation": entries[num_train:], "test": [{"id": "9000"}]}
    for word, content in lists.items():
        (folder / f"something-something-v2-{word}.json").write_text(json.dumps(content))
    return folder


def make_ssv1(folder: Path, num_train: int = 4, num_val: int = 2, num_classes: int = 174) -> Path:
    """Something-Something v1: csv files with `;` and 20bn-something-something-v1/<id>/00001.jpg."""
    names = CLASSES + [f"Doing thing {number} to something" for number in range(num_classes - len(CLASSES))]
    lines = []
    for number in range(num_train + num_val):
        write_frames(folder / "20bn-something-something-v1" / str(1000 + number), 10 + number)
        lines.append(f"{1000 + number};{names[number % len(CLASSES)]}\n")
    (folder / "something-something-v1-labels.csv").write_text("\n".join(names) + "\n")
    (folder / "something-something-v1-train.csv").write_text("".join(lines[:num_train]))
    (folder / "something-something-v1-validation.csv").write_text("".join(lines[num_train:]))
    (folder / "something-something-v1-test.csv").write_text("9000\n")
    return folder


def keys(*pairs: object) -> list[str]:
    """KEY, VALUE, ... as a command line has them."""
    return [str(item) for item in pairs]


def command(*arguments: object, tool: str = "run_net") -> list[str]:
    """The command line of a tool, as a user gives it."""
    return [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, arguments)]


def run(arguments: Sequence[str], **options) -> subprocess.CompletedProcess:
    """Run a command to its end; text output, one thread for each process."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    return subprocess.run(arguments, capture_output=True, text=True, timeout=170, env=environment, **options)


def metrics(output_dir: Path) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]
