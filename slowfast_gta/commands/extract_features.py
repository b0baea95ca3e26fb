"""extract_features: rows of features over time, with their times, of any number of videos."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_gta.config.arguments import CommandParser, add_network_arguments, split_sources
from slowfast_gta.errors import ConfigError, counted

if TYPE_CHECKING:  # PyTorch is imported behind the reading of the command line
    from slowfast_gta.engine.precision import Rounding
    from slowfast_gta.inference.extraction import Outcome

_EXAMPLES = """examples:
  python tools/extract_features.py --cfg runs/gta/config.yaml --output features my_videos
  python tools/extract_features.py --cfg configs/Kinetics/I3D_8x8_R50.yaml --weights I3D_8x8_R50.pkl \\
      --preset i3d --output features/i3d thumos/videos
  python tools/extract_features.py --cfg configs/Kinetics/R2D50.yaml --weights r2d.pyth --pool space \\
      --output features/frames film.mp4
  python tools/extract_features.py --cfg runs/gta/config.yaml --layer s4 --window 32 --stride 16 --format safetensors \\
      --num_shards 4 --shard_id 0 --output features/s4 videos.txt

Without --weights the newest checkpoint of the run in the config's folder, or in OUTPUT_DIR, is taken.
The same command resumes where an earlier call ended. docs/features.md describes the files.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command alone."""
    parser.add_argument("videos", nargs="*", metavar="DIR | LIST | VIDEO", help="folders, lists (.txt, .csv), files")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the features")
    parser.add_argument(
        "--layer", default="s5", help="s5 (what the head is given), s4, head, or a part's name (default: %(default)s)"
    )
    parser.add_argument(
        "--pool",
        default="avg",
        choices=("avg", "spatial", "space", "none"),
        help="avg: a row a window; spatial: a row a step of the network's time; space: a row a frame, 2 a second; "
        "none: whole maps (default: %(default)s)",
    )
    parser.add_argument("--preset", choices=("i3d",), help="i3d: windows of 16 frames side by side, at 25 fps")
    parser.add_argument(
        "--window", metavar="FRAMES", help="window length in frames, or in seconds such as 2s (default: the config's)"
    )
    parser.add_argument("--stride", metavar="FRAMES", help="from one window to the next (default: the window)")
    parser.add_argument("--fps", type=float, metavar="F", help="frames a second (default: config's or video's)")
    parser.add_argument(
        "--tail", choices=("repeat", "drop"), help="a last window that the video does not fill (default: repeat)"
    )
    parser.add_argument("--crops", type=int, default=1, choices=(1, 3, 5, 10), help="of each frame (default: 1)")
    parser.add_argument("--mirror", action="store_true", help="the mirror image of each crop too")
    parser.add_argument("--keep-views", action="store_true", help="(N, views, C) instead of the mean over the views")
    parser.add_argument("--format", default="npz", choices=("npz", "npy", "safetensors", "h5"), help="default: npz")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16"), help="of the files")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="default: TEST.PRECISION")
    parser.add_argument("--batch-size", type=int, metavar="B", help="clips at a time (default: TEST.BATCH_SIZE)")
    parser.add_argument("--num_shards", type=int, default=1, metavar="N", help="how many calls share the videos")
    parser.add_argument("--shard_id", type=int, default=0, metavar="I", help="which of them this is, from 0")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every video of the share has its features, 1 when one could not be read."""
    parser = CommandParser("extract_features", description=__doc__, epilog=_EXAMPLES)
    add_network_arguments(parser)
    add_arguments(parser)
    args = parser.parse_args(arguments)
    args.cfg, behind = split_sources(args.cfg)
    args.videos = [*behind, *args.videos]
    if not args.videos:
        raise ConfigError("No input was given: name folders, lists or video files.")
    if not 0 <= args.shard_id < args.num_shards:
        raise ConfigError(
            f"--shard_id is {args.shard_id}; with --num_shards {args.num_shards} it is 0 to {args.num_shards - 1}."
        )

    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    from slowfast_gta.distributed import find_launch_context
    from slowfast_gta.inference.extraction import build_feature_folder, extract_folder
    from slowfast_gta.inference.features import PRESETS, build_feature_extractor
    from slowfast_gta.inference.run_folder import choose_gpu, load_trained
    from slowfast_gta.inference.videos import named_videos

    cfg, weights = load_trained(args, "extract_features")
    context = find_launch_context(os.environ)  # as torchrun or srun say
    choose_gpu(context.local_rank)
    chosen = PRESETS.get(args.preset, {}) | {
        name: value for name in ("window", "stride", "fps", "tail") if (value := getattr(args, name)) is not None
    }
    videos = named_videos(args.videos)
    folder = build_feature_folder(args.output, args.format, args.dtype)
    extractor = build_feature_extractor(
        cfg,
        weights,
        args.layer,
        args.pool,
        num_crops=args.crops,
        mirror=args.mirror,
        keep_views=args.keep_views,
        batch_size=args.batch_size,
        precision=args.precision,
        **chosen,
    )
    shard = (args.shard_id * context.world_size + context.rank, args.num_shards * context.world_size)
    outcome = extract_folder(extractor, videos, folder, shard)
    _print_outcome(outcome, args, weights, shard, extractor.network.rounding)
    return int(bool(outcome.failed))


def _print_outcome(
    outcome: "Outcome", args: argparse.Namespace, weights: Path, shard: tuple[int, int], rounding: "Rounding | None"
) -> None:
    speed = outcome.per_hour()
    if args.json:
        document = {
            "output": str(args.output),
            "manifest": str(args.output / "manifest.jsonl"),
            "weights": str(weights),
            "shard_id": shard[0],
            "num_shards": shard[1],
            "num_videos": outcome.num_videos,
            "num_there": outcome.num_there,
            "num_done": outcome.num_done,
            "num_failed": len(outcome.failed),
            "failed": outcome.failed,
            "num_windows": outcome.num_windows,
            "video_hours": round(outcome.video_sec / 3600, 6),
            "wall_sec": round(outcome.wall_sec, 3),
            "counts": outcome.counts,
            **({"rounding": rounding.change} if rounding and rounding.change else {}),
            **speed,
        }
        print(json.dumps(document, indent=2))
        return
    of = f", shard {shard[0]} of {shard[1]}" if shard[1] > 1 else ""
    there = f", {outcome.num_there} already there" if outcome.num_there else ""
    print(f"{args.output}: {outcome.num_done} of {counted(outcome.num_videos, 'video')} done{there}{of}.")
    if outcome.num_done:
        print(
            f"{counted(outcome.num_windows, 'window')}, {outcome.video_sec / 3600:.3f} hours of video in "
            f"{outcome.wall_sec:.1f} s: {speed['videos_per_hour']:.0f} videos, "
            f"{speed['windows_per_hour']:.0f} windows, {speed['video_hours_per_hour']:.2f} hours of video per hour."
        )
    for name, count in outcome.counts.items():
        print(f"{name}: {count}")
    if outcome.failed:
        print(f"{counted(len(outcome.failed), 'video')} could not be read; listed in failed.jsonl:", file=sys.stderr)
        for reason in outcome.failed.values():
            print(f"error: {reason}", file=sys.stderr)
