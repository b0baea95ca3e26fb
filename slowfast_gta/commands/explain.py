"""explain: pictures of what a network does with a clip: attention, masks, temporal matrices, Grad-CAM."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_gta.config.arguments import CommandParser, add_network_arguments, split_sources
from slowfast_gta.errors import ConfigError

if TYPE_CHECKING:  # PyTorch is imported behind the reading of the command line
    from slowfast_gta.inference.explaining.explain import Explainer, Explanation
    from slowfast_gta.inference.explaining.shown import Shown
    from slowfast_gta.inference.windows import Window
    from slowfast_gta.reports.explanation import DrawnClip

_EXAMPLES = """examples:
  python tools/explain.py --cfg runs/gta/config.yaml my_video.mp4 --output pictures
  python tools/explain.py --cfg runs/gta/config.yaml --weights gta.pyth my_video.mp4 --query 40,25,3 --block s4.1 \\
      --class "Closing something" --format svg --output pictures
  python tools/explain.py --cfg runs/gta/config.yaml long.mp4 --window 2s --at 63.5 --video --output pictures

VIDEO is a file or a folder of frames; --cfg also takes the folder of a run. Without --weights the newest checkpoint of
the run in the config's folder, or in OUTPUT_DIR, is used. docs/explain.md explains what each picture shows.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when everything that there is to draw was drawn."""
    args = _parse(arguments)
    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    from slowfast_gta.inference.explaining.explain import build_explainer, pictures_by_name
    from slowfast_gta.inference.explaining.shown import parse_query
    from slowfast_gta.inference.network import layer_modules
    from slowfast_gta.inference.run_folder import load_trained
    from slowfast_gta.reports.style import check_matplotlib

    check_matplotlib("explain draws pictures")
    cfg, weights = load_trained(args, "explain")
    explainer = build_explainer(cfg, weights, args.window, args.fps, args.initial, args.precision)
    layer_modules(explainer.network.model, args.layer)  # both raise ConfigError where the network has none of that name
    explainer.blocks(args.block)
    labels = [explainer.label(name) for name in args.classes]
    window = explainer.window(args.source, args.at)
    images = window.clips[0]
    query = parse_query(args.query, len(images), images.shape[1:3]) if args.query else None
    explanation = explainer.explain(window, query, args.block, labels, args.layer)
    clip = _drawn_clip(explainer, explanation, window, args.source)
    args.output.mkdir(parents=True, exist_ok=True)
    named = dict(pictures_by_name(explanation))
    files = _draw(named, clip, args)
    _print_outcome(explainer, explanation, window, named, files, weights, args)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser("explain", description=__doc__, epilog=_EXAMPLES)
    add_network_arguments(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the pictures")
    parser.add_argument(
        "--query",
        metavar="X,Y,FRAME",
        help="the point from which attention is looked at: pixels of the pictures' frames and a frame of the clip, all "
        "from 0 (default: of each block, the point of its largest activation)",
    )
    parser.add_argument(
        "--block",
        nargs="+",
        default=[],
        metavar="NAME",
        help="for example s4.1, or its full name (default: every attention block)",
    )
    parser.add_argument(
        "--class",
        dest="classes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of Grad-CAM: names, in any case, or numbers (default: the most likely one)",
    )
    parser.add_argument("--layer", default="s5", help="of Grad-CAM (default: %(default)s, what the head is given)")
    parser.add_argument(
        "--window", metavar="FRAMES", help="clip length in frames, or in seconds such as 2s (default: the config's)"
    )
    parser.add_argument("--fps", type=float, metavar="F", help="frames a second (default: config's or video's)")
    parser.add_argument("--at", type=float, default=0.0, metavar="SEC", help="the window of this moment (default: 0)")
    parser.add_argument(
        "--initial", metavar="FILE", help="weights from before training, for the change of GTA's matrices"
    )
    parser.add_argument("--format", default="png", choices=("png", "svg"), help="default: %(default)s")
    parser.add_argument(
        "--video", action="store_true", help="an .mp4 too of each picture that is a map over the frames"
    )
    parser.add_argument("--precision", default="float32", choices=("float32", "float64"), help="of the network")
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="one file or folder of frames")
    args = parser.parse_args(arguments)
    args.cfg, behind = split_sources(args.cfg)
    videos = [*behind, *args.videos]
    args.block, more = _without_videos(args.block)
    args.classes, behind_classes = _without_videos(args.classes)
    videos += more + behind_classes
    if len(videos) != 1:
        raise ConfigError(f"explain takes one VIDEO, not {len(videos)}{': ' if videos else ''}{', '.join(videos)}.")
    args.source = videos[0]
    if not args.at >= 0:
        raise ConfigError(f"--at is {args.at:g}; it must be a number of seconds from the start of the video.")
    return args


def _without_videos(words: list[str]) -> tuple[list[str], list[str]]:
    """Names, and the video that stands behind them: what is there as a file."""
    return [word for word in words if not Path(word).exists()], [word for word in words if Path(word).exists()]


def _drawn_clip(explainer: "Explainer", explanation: "Explanation", window: "Window", video: str) -> "DrawnClip":
    from slowfast_gta.reports.explanation import DrawnClip

    best = int(explanation.probabilities.argmax())
    names, share = explainer.network.all_class_names, 100 * explanation.probabilities[best]
    when = "" if window.end_sec != window.end_sec else f", {window.start_sec:.2f} to {window.end_sec:.2f} s"
    title = f"{Path(video).name}{when}; {explainer.network.name}: {share:.1f} % “{names[best]}”"
    return DrawnClip(window.clips[0], window.frames, window.times, title)


def _draw(named: dict[str, "Shown"], clip: "DrawnClip", args: argparse.Namespace) -> dict[str, list[str]]:
    """{picture: its files}, and maps.npz with the numbers of all."""
    import numpy as np

    from slowfast_gta.engine.logging import progress_of
    from slowfast_gta.files import whole_file
    from slowfast_gta.reports.explanation import draw_shown, overlay_frames
    from slowfast_gta.reports.style import save_picture
    from slowfast_gta.video.output.writer import save_video

    files: dict[str, list[str]] = {}
    for name, shown in progress_of(named.items(), "drawing", "picture", total=len(named)):
        path = args.output / f"{name}.{args.format}"
        save_picture(path, draw_shown(shown, clip))
        files[name] = [str(path)]
        if args.video and shown.form == "maps":
            moving = path.with_suffix(".mp4")
            save_video(moving, overlay_frames(shown, clip), [clip.times[frame] for frame in shown.frames])
            files[name].append(str(moving))
    with whole_file(args.output / "maps.npz") as file:
        np.savez_compressed(file, **{name: shown.values for name, shown in named.items()})  # type: ignore[arg-type]
    return files


def _print_outcome(
    explainer: "Explainer",
    explanation: "Explanation",
    window: "Window",
    named: dict[str, "Shown"],
    files: dict[str, list[str]],
    weights: Path,
    args: argparse.Namespace,
) -> None:
    top5 = explainer.network.top5
    predictions = {"top5": top5(explanation.probabilities), "top5_backwards": top5(explanation.backwards)}
    if args.json:
        pictures = [
            {
                "files": files[name],
                "block": shown.block or None,
                "kind": shown.kind,
                "form": shown.form,
                "what": shown.what,
                "shape": list(shown.values.shape),
                "query": list(shown.query) if shown.query else None,
            }
            for name, shown in named.items()
        ]
        document = {"video": args.source, "weights": str(weights), "network": explainer.network.name}
        times = {
            "start_sec": _known(window.start_sec),
            "end_sec": _known(window.end_sec),
            "frames": list(window.frames),
        }
        document |= times | predictions | {"pictures": pictures, "maps": str(args.output / "maps.npz")}
        print(json.dumps(document | {"not_drawn": explanation.not_shown}, indent=2))
        return
    for way, direction in (("top5", "forwards"), ("top5_backwards", "backwards")):
        best = ", ".join(
            f"{100 * prediction['probability']:.1f} % {prediction['class']}" for prediction in predictions[way][:3]
        )
        print(f"{direction + ':':<11}{best}")
    for name, shown in named.items():
        where = f"{shown.block}: " if shown.block else ""
        print(f"{'  '.join(files[name])}\n    {where}{shown.what}.")
    for message in explanation.not_shown:
        print(f"not drawn: {message}")
    if not explainer.blocks():
        print("The network has no attention block: Grad-CAM is what there is to see of it.")
    print(f"The numbers of all are in {args.output / 'maps.npz'}.")


def _known(value: float) -> float | None:
    return None if value != value else round(value, 4)
