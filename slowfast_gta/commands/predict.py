"""predict: the five most likely classes of any video file."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.config.arguments import CommandParser, add_config_arguments, load_configs
from slowfast_gta.errors import ConfigError, DataError, WeightsError

_EXAMPLES = """example:
  python tools/predict.py --cfg runs/demo/R2D_GTA/config.yaml \\
      --weights runs/demo/R2D_GTA/checkpoints/checkpoint_epoch_00006.pyth my_video.mp4 another.webm
  python tools/predict.py --cfg runs/gta/config.yaml --weights gta.pyth --submission runs/gta/submission
"""
_WEIGHTS = "a checkpoint of ours or PySlowFast's, the folder of a run (its newest one), or a name or URL of weights"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every file was a video, 1 when one was not (the others are answered all the same)."""
    parser = CommandParser(
        "predict", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument("--weights", required=True, metavar="FILE", help=_WEIGHTS)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument(
        "--submission",
        metavar="DIR",
        type=Path,
        help="answer the official test list of TEST.DATASET, which has no labels, in the format of its server",
    )
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="video files or folders of frames")
    args = parser.parse_args(arguments)
    if bool(args.videos) == bool(args.submission):
        raise ConfigError("predict takes either VIDEOs or --submission DIR: name one of the two.")

    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    configs = load_configs(args)
    if len(configs) > 1:
        raise ConfigError(
            f"predict takes one config, and --cfg names {len(configs)} files. Videos stand after --weights."
        )
    weights = _newest_checkpoint(args.weights)
    if args.submission:
        return _submit(configs[0], weights, args.submission, args.json)
    from slowfast_gta.engine.logging import above_bar, progress_of
    from slowfast_gta.inference.predictor import build_predictor

    predictor = build_predictor(configs[0], weights)
    answers = []
    for path in progress_of(args.videos, "predicting", "video"):
        try:
            answers.append({"video": path, "top5": predictor(path)})
        except DataError as fault:
            answers.append({"video": path, "error": str(fault)})
        if not args.json:
            with above_bar():
                _print(answers[-1])
    if args.json:
        print(json.dumps(answers, indent=2))
    return int(any("error" in answer for answer in answers))


def _newest_checkpoint(weights: str) -> str | Path:
    """`weights`, or the newest checkpoint of the run whose folder that is."""
    from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints

    path = Path(weights).expanduser()
    if not path.is_dir():
        return weights  # a file, or the name or URL of published weights
    if not (found := list_checkpoints(path)):
        raise WeightsError(
            f"{weights} is a folder without checkpoints. Name the folder of a run, or a file of weights."
        )
    return found[-1][1]


def _submit(cfg: CfgNode, weights: str | Path, folder: Path, as_json: bool) -> int:
    from slowfast_gta.inference.submission import build_submission

    found = build_submission(cfg, weights, folder)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        for path in found["files"]:
            print(f"{path}: unscored, {found['num_videos']} videos without labels. Only the server can score it.")
        if found["missing"]:
            print(f"NOT COMPLETE: {len(found['missing'])} videos could not be read and are not in it.", file=sys.stderr)
            for video_id, reason in list(found["missing"].items())[:5]:
                print(f"error: {video_id}: {reason}", file=sys.stderr)
    return int(bool(found["missing"]))


def _print(answer: dict) -> None:
    if "error" in answer:
        print(f"error: {answer['error']}", file=sys.stderr)
        return
    print(answer["video"])
    for row in answer["top5"]:
        print(f"  {100 * row['probability']:6.2f} %  {row['class']}")
