"""localize: which action happens when in any video, by a trained run and the network that made its features.

Leaves, in --output, for each video: NAME.json (segments with times and scores), NAME.mp4 (the video with what is found
written below it, and its sound), NAME.html and NAME.svg (CAS, attention, proposals, segments on one time axis); and
detections.json of all of them, in ActivityNet's format.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_gta.config.arguments import CommandParser, add_trust_argument, check_output
from slowfast_gta.errors import DataError, counted

if TYPE_CHECKING:
    from asm_loc.localization import Chain, Localized
    from asm_loc.segments import Segments
    from slowfast_gta.inference.reading import WindowReader
    from slowfast_gta.inference.videos import NamedVideo

_EXAMPLES = """examples:
  python projects/asm_loc/localize.py --run runs/asm_loc --network runs/features --output found match.mp4
  python projects/asm_loc/localize.py --run runs/asm_loc --network configs/Kinetics/I3D_8x8_R50.yaml \\
      --weights I3D_8x8_R50.pkl --output found my_videos
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every video was localised, 1 when one could not be read."""
    parser = CommandParser("localize.py", description=__doc__, epilog=_EXAMPLES)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="files, folders of videos, lists (.txt, .csv)")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="OUTPUT_DIR of a training of ASM-Loc")
    parser.add_argument(
        "--network", type=Path, required=True, metavar="DIR | YAML", help="of its features: a run folder or a config"
    )
    parser.add_argument("--weights", metavar="FILE", help="of that network (default: the newest of the run folder)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="created if it does not exist")
    parser.add_argument(
        "--min-score", type=float, default=0.1, metavar="S", help="of the segments that are shown (default: 0.1)"
    )
    parser.add_argument("--no-video", action="store_true", help="write no .mp4")
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args(arguments)

    from asm_loc.detections import to_activitynet, to_json
    from asm_loc.localization import build_extractor, features_of, load_run
    from slowfast_gta.config.load import load_config
    from slowfast_gta.engine.logging import setup_logging
    from slowfast_gta.files import write_whole
    from slowfast_gta.inference.run_folder import config_of_run, find_weights
    from slowfast_gta.inference.videos import named_videos

    setup_logging()
    chain = load_run(args.run, args.trust_plugins)
    path = config_of_run(args.network) if args.network.is_dir() else args.network
    cfg = load_config(path, ["NUM_GPUS", "auto"], trust_plugins=args.trust_plugins)
    extractor = build_extractor(cfg, find_weights(args.weights, [str(path)], cfg.OUTPUT_DIR), chain.made_by)
    videos = named_videos(args.videos)
    if not args.no_video:
        for video in videos:
            check_output(_beside(args.output / video.name, ".mp4"), [other.path for other in videos])
    done, failed, detections = [], {}, {}
    for video in videos:
        try:
            features = features_of(extractor, video.path)
            localized = chain(features)
            document = _leave(video, chain, localized, features.timeline.to_seconds, extractor.reader, args)
        except DataError as fault:
            failed[video.name] = str(fault)
            print(f"error: {fault}", file=sys.stderr)
            continue
        done.append(document)
        detections[video.name] = localized.detections
        if not args.json:
            print(_as_text(document))
    args.output.mkdir(parents=True, exist_ok=True)
    made_by = f"features of {chain.made_by['network']}, {chain.made_by['layer']}"
    write_whole(args.output / "detections.json", to_json(to_activitynet(detections, chain.classes, made_by)))
    if args.json:
        print(json.dumps({"output": str(args.output), "videos": done, "failed": failed}, indent=1))
    else:
        print(f"{args.output}: {len(done)} of {counted(len(done) + len(failed), 'video')} done.")
    return int(bool(failed))


def _leave(
    video: "NamedVideo",
    chain: "Chain",
    localized: "Localized",
    to_seconds: Callable,
    reader: "WindowReader",
    args: argparse.Namespace,
) -> dict:
    """The files of one video; returns what its JSON holds."""
    from asm_loc.annotated_video import write_annotated
    from asm_loc.detections import to_json
    from asm_loc.evaluation import signals_of
    from asm_loc.localization import clearest
    from asm_loc.pictures import draw_video, page_of_video
    from slowfast_gta.files import write_whole

    shown = clearest(localized.detections, args.min_score)
    base = args.output / video.name
    base.parent.mkdir(parents=True, exist_ok=True)
    signals = signals_of(localized.output, to_seconds, localized.proposals, shown.classes())
    picture = draw_video(video.name, chain.classes, None, signals, shown)
    write_whole(_beside(base, ".svg"), picture)
    write_whole(_beside(base, ".html"), page_of_video(video.name, chain.classes, picture, None, shown))
    has_sound = None
    if not args.no_video:
        folders = (reader.folder_fps, reader.frame_pattern)
        has_sound = write_annotated(video.path, _beside(base, ".mp4"), chain.classes, shown, *folders)
    scores = localized.output.scores.video
    document = {
        "video": video.name,
        "path": video.path,
        "segments": _rows(shown, chain.classes),
        "min_score": args.min_score,
        "classes": {name: round(float(score), 6) for name, score in zip(chain.classes, scores, strict=True)},
        "annotated": None if args.no_video else _beside(base, ".mp4").name,
        "has_sound": has_sound,
        "num_detections": len(localized.detections),
    }
    write_whole(_beside(base, ".json"), to_json(document))
    return document


def _beside(base: Path, suffix: str) -> Path:
    """A name may hold points: nothing of it is taken for a suffix."""
    return base.with_name(base.name + suffix)


def _rows(segments: "Segments", classes: Sequence[str]) -> list[dict]:
    return [
        {"label": classes[int(label)], "start": round(start, 3), "end": round(end, 3), "score": round(score, 4)}
        for label, start, end, score in segments.to_rows()
    ]


def _as_text(document: dict) -> str:
    lines = [f"{document['video']}: {counted(len(document['segments']), 'segment')}"]
    for row in document["segments"]:
        lines.append(f"  {row['start']:8.2f} to {row['end']:8.2f} s  {row['score']:5.2f}  {row['label']}")
    return "\n".join(lines)
