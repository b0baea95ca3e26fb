"""predict: the most likely classes of any video, as a whole or window by window."""

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fvcore.common.config import CfgNode

from slowfast_gta.config.arguments import CommandParser, add_network_arguments, check_output, split_sources
from slowfast_gta.errors import ConfigError, DataError, counted

if TYPE_CHECKING:  # PyTorch is imported behind the reading of the command line
    from slowfast_gta.inference.predictor import Predictor

_EXAMPLES = """examples:
  python tools/predict.py --cfg runs/demo/R2D_GTA/config.yaml my_video.mp4 another.webm
  python tools/predict.py --cfg runs/gta/config.yaml --weights gta.pyth --topk 3 --format csv my_videos list.txt
  python tools/predict.py --cfg runs/gta/config.yaml --windows --window 2s --stride 1s --format jsonl long.mp4
  ffmpeg -i long.mp4 -f mpegts - | python tools/predict.py --cfg runs/gta/config.yaml --windows --window 2s -
  python tools/predict.py --cfg runs/gta/config.yaml --weights gta.pyth --submission runs/gta/submission

VIDEO: files, folders of frames, folders of videos, lists (.txt, .csv: a path on each line); with --windows also the
number of a camera, an RTSP or HTTP URL, and - for standard input. Without --weights the newest checkpoint of the run in
the config's folder, or in OUTPUT_DIR, is taken. docs/predict.md has more.
"""
_TOPK = 5
_COLUMNS = ("video", "start_sec", "end_sec", "rank", "class", "label", "probability", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every file was a video, 1 when one was not (the others are classified all the same)."""
    args = _parse(arguments)
    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    from slowfast_gta.inference.predictor import build_predictor
    from slowfast_gta.inference.run_folder import load_trained
    from slowfast_gta.inference.videos import named_videos
    from slowfast_gta.video.sources import is_live

    cfg, weights = load_trained(args, "predict")
    check_output(args.output, [*args.videos, weights, args.cfg[0]])
    if args.submission:
        return _submit(cfg, weights, args)
    videos = [path for _, path in named_videos(args.videos, is_live if args.windows else lambda source: False)]
    predictor = build_predictor(cfg, weights, args.batch_size, args.precision)
    rows = _window_rows(predictor, videos, args) if args.windows else _video_rows(predictor, videos, args.topk)
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(_output(args.output))
        return _WRITERS[args.format](rows, out, f"top{args.topk}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser("predict", description=__doc__, epilog=_EXAMPLES)
    add_network_arguments(parser)
    parser.add_argument("--topk", type=int, metavar="K", help=f"how many classes (default: {_TOPK})")
    parser.add_argument("--windows", action="store_true", help="a prediction for each window along the video")
    parser.add_argument(
        "--window", metavar="FRAMES", help="window length in frames, or in seconds such as 2s (default: the config's)"
    )
    parser.add_argument("--stride", metavar="FRAMES", help="from one window to the next (default: the window)")
    parser.add_argument("--fps", type=float, metavar="F", help="frames a second (default: config's or video's)")
    parser.add_argument(
        "--tail", default="repeat", choices=("repeat", "drop"), help="a last window that is not full (default: repeat)"
    )
    parser.add_argument(
        "--max-latency", type=float, metavar="SEC", help="live sources: drop frames that have waited longer"
    )
    parser.add_argument("--batch-size", type=int, metavar="B", help="clips at a time (default: TEST.BATCH_SIZE)")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="default: TEST.PRECISION")
    parser.add_argument("--format", choices=tuple(_WRITERS), help="default: text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to this file instead of standard output")
    parser.add_argument(
        "--submission",
        metavar="DIR",
        type=Path,
        help="score the official test list of TEST.DATASET, which has no labels, in the format of its server",
    )
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="files, folders of frames or videos, lists")
    args = parser.parse_args(arguments)
    args.cfg, behind = split_sources(args.cfg)
    args.videos = [*behind, *args.videos]
    if bool(args.videos) == bool(args.submission):
        raise ConfigError("predict takes either VIDEOs or --submission DIR: name one of the two.")
    if args.submission:
        _check_submission(args)
    args.topk = _TOPK if args.topk is None else args.topk
    if args.topk < 1:
        raise ConfigError(f"--topk is {args.topk}; it must be at least 1.")
    if not args.windows and (args.window or args.stride or args.fps or args.max_latency is not None):
        raise ConfigError("--window, --stride, --fps and --max-latency go with --windows.")
    if args.max_latency is not None and args.max_latency < 0:
        raise ConfigError(f"--max-latency is {args.max_latency}; it must be a number of seconds.")
    args.format = "json" if args.json else args.format or "text"
    return args


def _check_submission(args: argparse.Namespace) -> None:
    """Raises ConfigError for flags that a submission has no use for: the server says what its files are like."""
    flags = {"--topk": args.topk, "--windows": args.windows, "--output": args.output, "--format": args.format}
    if unused := [flag for flag, value in flags.items() if value]:
        raise ConfigError(
            f"--submission has the scores of all classes, in the format of the server: {', '.join(unused)} cannot "
            "change it. Leave them out; --json prints what was written."
        )


def _video_rows(predictor: "Predictor", videos: list[str], k: int) -> Iterator[dict]:
    """{"video", "top"} or {"video", "error"}, of each."""
    from slowfast_gta.datasets.records import VideoRecord
    from slowfast_gta.engine.logging import progress_of

    found_of_each = predictor.scores_of([VideoRecord(path, 0, path) for path in videos])
    for record, result in progress_of(found_of_each, "predicting", "video", total=len(videos)):
        if isinstance(result, DataError):
            yield {"video": record.path, "error": str(result)}
        else:
            yield {"video": record.path, "top": predictor.top(result, k)}


def _window_rows(predictor: "Predictor", videos: list[str], args: argparse.Namespace) -> Iterator[dict]:
    """{"video", "start_sec", "end_sec", "top"} of each window; at last of each video its counts, or the error."""
    from slowfast_gta.inference.reading import Ending

    plan = (args.window, args.stride, args.fps, args.tail)
    for window in predictor.windows_of(videos, *plan, max_latency_sec=args.max_latency):
        if not isinstance(window, Ending):
            times = {"start_sec": _seconds(window.start_sec), "end_sec": _seconds(window.end_sec)}
            yield {"video": window.video, **times, "top": predictor.top(window.probabilities, args.topk)}
        elif window.fault is not None:
            yield {"video": window.video, "error": str(window.fault)}
        else:
            yield {
                "video": window.video,
                "num_windows": window.num_windows,
                "counts": window.counts,
                "note": window.note,
            }


def _seconds(value: float) -> float | None:
    return None if value != value else round(value, 4)  # NaN: not known


# ------------------------------------------------------------------------------------------------------------ writing


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that is whole or not there."""
    if path is None:
        yield sys.stdout
        return
    from slowfast_gta.files import whole_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, "w") as file:
        yield file


def _write_text(rows: Iterator[dict], out: IO[str], key: str) -> int:
    failed, last = 0, None
    for row in _without_counts(rows):
        if "error" in row:
            failed = 1
            print(f"error: {row['error']}", file=sys.stderr)
        elif "start_sec" in row:
            if row["video"] != last:
                print(row["video"], file=out)
                last = row["video"]
            when = "-".join("   ?  " if row[name] is None else f"{row[name]:8.2f}" for name in ("start_sec", "end_sec"))
            best = ", ".join(
                f"{100 * prediction['probability']:.1f} % {prediction['class']}" for prediction in row["top"]
            )
            print(f"{when} s  {best}", file=out, flush=True)
        else:
            print(row["video"], file=out)
            for prediction in row["top"]:
                print(f"  {100 * prediction['probability']:6.2f} %  {prediction['class']}", file=out, flush=True)
    return failed


def _write_json(rows: Iterator[dict], out: IO[str], key: str) -> int:
    """One document: [{"video", "top5"}], or with windows [{"video", "windows": [...], "counts"}]."""
    results: list[dict[str, Any]] = []
    windows: list[dict[str, Any]] = []
    failed = 0
    for row in rows:
        if "start_sec" in row:
            windows.append({"start_sec": row["start_sec"], "end_sec": row["end_sec"], key: row["top"]})
        elif "num_windows" in row:
            results.append({"video": row["video"], "windows": windows, "counts": row["counts"], "note": row["note"]})
            windows = []
        elif "error" in row:
            failed = 1
            results.append(row | ({"windows": windows} if windows else {}))
            windows = []
        else:
            results.append({"video": row["video"], key: row["top"]})
    print(json.dumps(results, indent=2), file=out)
    return failed


def _write_jsonl(rows: Iterator[dict], out: IO[str], key: str) -> int:
    """A line of JSON for each video or window; of a video that cannot be read, {"video", "error"}."""
    failed = 0
    for row in _without_counts(rows):
        failed |= int("error" in row)
        line = {key if name == "top" else name: value for name, value in row.items()}
        print(json.dumps(line, ensure_ascii=False), file=out, flush=True)
    return failed


def _write_csv(rows: Iterator[dict], out: IO[str], key: str) -> int:
    """A line for each class of each video or window; of a video that cannot be read, one with the error."""
    writer, failed = csv.DictWriter(out, _COLUMNS, restval="", lineterminator="\n"), 0
    writer.writeheader()
    for row in _without_counts(rows):
        failed |= int("error" in row)
        top = row.pop("top", [{}])
        for rank, prediction in enumerate(top, start=1):
            label = prediction.get("label", "")
            label = " ".join(map(str, label)) if isinstance(label, list) else label
            writer.writerow(row | prediction | {"label": label} | ({"rank": rank} if prediction else {}))
        out.flush()
    return failed


def _without_counts(rows: Iterator[dict]) -> Iterator[dict]:
    """The counts of each video are printed on stderr: nothing is dropped silently."""
    for row in rows:
        if "num_windows" not in row:
            yield row
            continue
        if row["note"]:
            print(f"note: {row['note']}", file=sys.stderr)
        if row["counts"]:
            counts = ", ".join(f"{name} {count}" for name, count in row["counts"].items())
            print(f"{row['video']}: {counted(row['num_windows'], 'window')}; {counts}", file=sys.stderr)


_WRITERS = {"text": _write_text, "json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv}


def _submit(cfg: CfgNode, weights: Path, args: argparse.Namespace) -> int:
    from slowfast_gta.inference.submission import build_submission

    report = build_submission(cfg, weights, args.submission, args.batch_size, args.precision)
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        for path in report["files"]:
            print(
                f"{path}: unscored, {counted(report['num_videos'], 'video')} without labels. Only the server "
                "can score it."
            )
        if report["missing"]:
            print(
                f"NOT COMPLETE: left out since unreadable: {counted(len(report['missing']), 'video')}.",
                file=sys.stderr,
            )
            for video_id, reason in list(report["missing"].items())[:5]:
                print(f"error: {video_id}: {reason}", file=sys.stderr)
    return int(bool(report["missing"]))
