"""End to end on video: untrimmed videos are made, features learned on half of the classes, the other half localised.

For each seed: drawn actions stand at random times in untrimmed encoded videos; R2D_GTA learns half of the classes from
trimmed videos; tools/extract_features.py makes features of the untrimmed ones; the other half of the classes is
localised from video-level labels alone, by ASM-Loc, by multiple instances alone (the base network, as many epochs as
all steps of ASM-Loc) and by a sliding-window classifier. The same call resumes where an earlier one ended.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_gta.errors import ConfigError, RunError

if TYPE_CHECKING:
    from asm_loc.video_world import VideoSizes

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STEPS = 3  # of VideoWorld.yaml: the base and two refinements
WINDOW = ("--window", "8", "--stride", "4", "--fps", "12")
SLIDING, MIL = "sliding-window classifier", "multiple instances alone"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when everything was trained and tested, whoever wins."""
    parser = argparse.ArgumentParser("prove.py", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--output", type=Path, default=Path("runs/asm_loc_videos"), help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=40, help="of each step (default: %(default)s)")
    parser.add_argument("--feature-epochs", type=int, default=12, help="of the features (default: %(default)s)")
    for name, default in (("classes", 9), ("trimmed", 60), ("train", 60), ("test", 30)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{_WHAT[name]} ({default})")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys of all trainings")
    args = parser.parse_args(arguments)
    if min(args.epochs, args.feature_epochs, args.classes, args.trimmed, args.train, args.test) < 1:
        raise ConfigError("All numbers must be 1 or more.")
    if args.classes > 9:
        raise ConfigError(f"--classes is {args.classes}; each half has 9.")

    from asm_loc.video_world import VideoSizes

    plan = Plan(
        VideoSizes(args.classes, args.trimmed, args.train, args.test), args.epochs, args.feature_epochs, args.opts
    )
    found = [prove(args.output / f"seed_{seed}", seed, plan) for seed in args.seeds]
    print("\n".join(table([rows for rows, _ in found])))
    print(f"Top-1 of the features on held-out trimmed videos: {', '.join(f'{top1:.1f} %' for _, top1 in found)}.")
    return 0


_WHAT = {
    "classes": "of each half",
    "trimmed": "training videos of each class of the first half",
    "train": "untrimmed training videos",
    "test": "untrimmed test videos",
}


@dataclass(frozen=True)
class Plan:
    """How much is made and trained; `opts`: KEY VALUE ... of all trainings."""

    sizes: "VideoSizes"
    epochs: int  # of each step
    feature_epochs: int
    opts: Sequence[str] = ()


def prove(root: Path, seed: int, plan: Plan) -> tuple[dict[str, dict[str, float]], float]:
    """({way: {"mAP .1:.7", "mAP .5", "mAP .7"}} in per cent, top-1 of the features) of one seed."""
    from asm_loc.video_world import make_video_world
    from slowfast_gta.commands import extract_features, run_net

    begin, cpu = time.perf_counter(), time.process_time()
    make_video_world(root / "videos", seed, plan.sizes)
    opts = ["RNG_SEED", str(seed), *plan.opts]
    network = root / "network"
    keys = {
        "OUTPUT_DIR": network,
        "DATA.PATH_TO_DATA_DIR": root / "videos" / "trimmed",
        "MODEL.NUM_CLASSES": plan.sizes.num_classes,
        "SOLVER.MAX_EPOCH": plan.feature_epochs,
        "TRAIN.EVAL_PERIOD": plan.feature_epochs,
    }
    run_net.main(["--cfg", str(CONFIGS / "VideoFeatures.yaml"), *_words(keys), *opts])
    features = root / "features"
    line = ["--cfg", str(network / "config.yaml"), "--output", str(features), *WINDOW, str(root / "videos/untrimmed")]
    if extract_features.main(line):
        raise RunError(f"{features}: not every video has features.")
    rows = localise(root, seed, plan.epochs, opts)
    top1 = float(_results(network)["top1"])
    spent = f"{time.perf_counter() - begin:.0f} s, {time.process_time() - cpu:.0f} s of them CPU time of this process"
    print(f"Seed {seed}: {spent}.", flush=True)
    return rows, top1


def localise(root: Path, seed: int, epochs: int, opts: list[str]) -> dict[str, dict[str, float]]:
    """The three ways, trained and tested on the same features and labels."""
    from asm_loc.commands import run

    data = {
        "ASM_LOC.FEATURES": root / "features",
        "ASM_LOC.ANNOTATIONS": root / "videos" / "train.csv",
        "ASM_LOC.TEST_ANNOTATIONS": root / "videos" / "test.csv",
    }
    for name, own_epochs in (("VideoMIL", STEPS * epochs), ("VideoWorld", epochs)):
        keys = {"OUTPUT_DIR": root / name, "SOLVER.MAX_EPOCH": own_epochs, **data}
        run.main(["--cfg", str(CONFIGS / f"{name}.yaml"), *_words(keys), *opts])
    rows = {SLIDING: by_windows(root / "VideoMIL", STEPS * epochs, seed), MIL: scores_of(_results(root / "VideoMIL"))}
    for step in range(STEPS):
        rows[f"ASM-Loc, step {step}" if step else "ASM-Loc, base"] = test_step(root / "VideoWorld", step)
    return rows


def test_step(folder: Path, step: int) -> dict[str, float]:
    """A step's network on the test videos, as run.py tests the last one."""
    from asm_loc.config import EXTENSION
    from asm_loc.task import AsmLocTask
    from slowfast_gta.config.load import load_config
    from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints

    stages = [folder / f"step{number}" for number in range(step + 1)]
    cfg = load_config(stages[-1] / "config.yaml", [], EXTENSION)
    task = AsmLocTask.from_cfg(cfg, stages[:-1])
    network = task.build_model(cfg, starting=False)
    task.load_weights(cfg, network, list_checkpoints(stages[-1])[-1][1])
    return scores_of(task.evaluate(network, task.build_loader(cfg, "test"), "test").results)


def by_windows(run_folder: Path, epochs: int, seed: int) -> dict[str, float]:
    """The sliding-window classifier on the data of a run, for as many steps as it."""
    from asm_loc.average_precision import mean_average_precision
    from asm_loc.config import EXTENSION, DataFiles, settings_from_cfg, tiou_from_cfg
    from asm_loc.detections import results_of
    from asm_loc.sliding_window import detect_by_windows, train_classifier
    from slowfast_gta.config.load import load_config

    cfg = load_config(run_folder / "config.yaml", [], EXTENSION)
    sets = DataFiles.from_cfg(cfg).load()
    num_steps = epochs * -(-len(sets["train"]) // cfg.TRAIN.BATCH_SIZE)
    network = train_classifier(sets["train"], num_steps, seed, cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY)
    found = detect_by_windows(network, sets["test"], settings_from_cfg(cfg))
    return scores_of(results_of(mean_average_precision(sets["test"].truth(), found, tiou_from_cfg(cfg))))


def scores_of(results: dict) -> dict[str, float]:
    """What the table has of a results.json."""
    at = results["mAP_per_tiou"]
    return {"mAP .1:.7": results["mAP"], "mAP .5": at["0.5"], "mAP .7": at["0.7"]}


def table(seeds: list[dict[str, dict[str, float]]]) -> list[str]:
    """Markdown: mean and half the 95 % interval over the seeds, then the last step minus each other way."""
    from asm_loc.experiment import interval_table

    lines = interval_table(seeds)
    *others, last = seeds[0]
    margins = [
        {way: {name: rows[last][name] - rows[way][name] for name in rows[way]} for way in others} for rows in seeds
    ]
    return [*lines, "", f"{last} minus:", "", *interval_table(margins, "+.1f")]


def _results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def _words(keys: dict[str, object]) -> list[str]:
    return [str(word) for pair in keys.items() for word in pair]
