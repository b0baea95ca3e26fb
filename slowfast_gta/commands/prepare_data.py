"""prepare_data: lists from folders of videos, smaller videos, frames, lists for other codebases, made-up videos."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from slowfast_gta.config.arguments import CommandParser, add_config_arguments, load_one_config, parse_arguments
from slowfast_gta.errors import ConfigError, counted

_EXAMPLES = """examples:
  python tools/prepare_data.py from-folders my_videos                        (opening/a.mp4, closing/b.mp4, ...)
  python tools/prepare_data.py resize my_videos small_videos --short-side 256
  python tools/prepare_data.py extract-frames my_videos my_frames --fps 12
  python tools/prepare_data.py lists --cfg configs/SSv2/R2D50.yaml DATA.PATH_TO_DATA_DIR /data/ssv2 --output lists/ssv2
  python tools/prepare_data.py made-up made_up_videos                        (to try all of it without videos)

Originals are only read. The same command again resumes from what is done. docs/your-own-videos.md begins at the
beginning.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when everything was made, 1 when some was not, 2 for wrong usage, 130 when interrupted."""
    parser = CommandParser("prepare_data", description=__doc__, epilog=_EXAMPLES)
    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for add in (_add_from_folders, _add_resize, _add_extract_frames, _add_lists, _add_made_up):
        add(commands)
    parsed = list(sys.argv[1:] if arguments is None else arguments)
    args = parse_arguments(parser, parsed) if parsed[:1] == ["lists"] else parser.parse_args(parsed)
    return args.run(args)


def _add_from_folders(commands: Any) -> None:
    text = "DIR/<class>/<video>, or DIR/{train,val,test}/<class>/<video>: lists, and a config to train with"
    parser = commands.add_parser("from-folders", help=text, description=text)
    parser.add_argument("folder", metavar="DIR", type=Path, help="a folder for each class, with videos or frames")
    parser.add_argument("--output", metavar="OUT", type=Path, help="folder for the lists (default: lists/NAME_OF_DIR)")
    for split, purpose in (("val", "for validation"), ("test", "for testing")):
        parser.add_argument(
            f"--{split}-fraction",
            type=float,
            default=0.1,
            metavar="F",
            help=f"part of each class that is held out {purpose}, where DIR has no split folders (default: %(default)s)"
            + "; 0: test on the validation videos" * (split == "test"),
        )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random split")
    parser.add_argument(
        "--for", dest="machine", choices=("cpu", "gpu"), help="what will train (default: what this machine has)"
    )
    parser.add_argument("--overwrite", action="store_true", help="overwrite lists that exist")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.set_defaults(run=_from_folders)


def _from_folders(args: argparse.Namespace) -> int:
    from slowfast_gta.preparation.from_folders import write_lists
    from slowfast_gta.preparation.machine import this_machine
    from slowfast_gta.preparation.recipe import kind_for

    output = args.output or Path("lists", args.folder.resolve().name)
    machine = this_machine()
    fractions = (args.val_fraction, args.test_fraction)
    written = write_lists(args.folder, output, *fractions, args.seed, args.overwrite, machine, args.machine)
    counts = {split: written.num_videos(split) for split in ("train", "val", "test")}
    if args.json:
        configs = {"config": str(written.config), "baseline": str(written.baseline)}
        kind = {"for": kind_for(machine, args.machine)}
        print(json.dumps(configs | kind | {"classes": written.scan.classes, **counts, "notes": written.notes}))
        return 0
    held_out = "the existing split folders"
    if written.scan.drawn:
        parts = " and ".join(f"{100 * fraction:g} %" for fraction in fractions if fraction)
        held_out = f"{parts} of each class held out, the same each time (seed {args.seed})"
    print(
        f"{args.folder}: {counted(len(written.scan.classes), 'class')}; {counted(counts['train'], 'video')} to "
        f"train with, {counts['val']} "
        f"for validation, {counts['test']} for testing: {held_out}."
    )
    for note in written.notes:
        print(note)
    print(f"The recipe is for a {kind_for(machine, args.machine).upper()}; this machine has {machine}.")
    print(f"Written: {output}/ train.csv val.csv test.csv classes.txt train.yaml train_r2d.yaml")
    print(f"Train and test with:\n  python tools/run_net.py --cfg {shlex.quote(str(written.config))}")
    return 0


def _add_resize(commands: Any) -> None:
    text = "the same videos smaller: H.264 in .mp4, without sound, the same frames at the same times"
    parser = commands.add_parser("resize", help=text, description=text)
    _add_folders(parser)
    parser.add_argument(
        "--short-side",
        type=int,
        default=256,
        metavar="PX",
        help="of larger frames; smaller ones stay as they are (default: %(default)s)",
    )
    parser.set_defaults(run=_resize)


def _resize(args: argparse.Namespace) -> int:
    from slowfast_gta.preparation.resize import resize_videos

    _check_positive("--short-side", args.short_side, 16)
    return _report(args, *resize_videos(args.folder, args.output, args.short_side, _workers(args)))


def _add_extract_frames(commands: Any) -> None:
    text = "a folder of frames for each video: OUT/<path without suffix>/00001.jpg, ..."
    parser = commands.add_parser("extract-frames", help=text, description=text)
    _add_folders(parser)
    parser.add_argument("--fps", type=float, metavar="N", help="frames a second (default: each frame once)")
    parser.add_argument("--short-side", type=int, metavar="PX", help="of larger frames (default: their own size)")
    parser.add_argument(
        "--name",
        default="{:05d}.jpg",
        metavar="NAME",
        help="of a frame, for example {id}_{:06d}.jpg (default: %(default)s)",
    )
    parser.set_defaults(run=_extract_frames)


def _extract_frames(args: argparse.Namespace) -> int:
    from slowfast_gta.preparation.extract_frames import extract_all

    if args.short_side is not None:
        _check_positive("--short-side", args.short_side, 16)
    if args.fps is not None:
        _check_positive("--fps", args.fps, 0.001)
    settings = (args.fps, args.short_side, args.name, _workers(args))
    return _report(args, *extract_all(args.folder, args.output, *settings, on_size=partial(_print_size, args)))


def _print_size(args: argparse.Namespace, estimate: Any) -> None:
    """Before the work: how large it will be. With --json on stderr."""
    print(estimate.summary(), file=sys.stderr if args.json else sys.stdout, flush=True)


def _add_lists(commands: Any) -> None:
    text = "the lists of the data set of a config, in the format of another codebase"
    parser = commands.add_parser("lists", help=text, description=text)
    add_config_arguments(parser)
    parser.add_argument("--output", required=True, metavar="OUT", type=Path, help="folder for the lists")
    parser.add_argument(
        "--format",
        choices=("kinetics", "frames", "tsm"),
        default="kinetics",
        help="kinetics: path label (the default); frames: PySlowFast's, one line a frame; tsm: folder num_frames label",
    )
    parser.add_argument("--skip-missing", action="store_true", help="leave out, and count, videos that do not exist")
    parser.add_argument("--overwrite", action="store_true", help="overwrite lists that exist")
    parser.set_defaults(run=_lists)


def _lists(args: argparse.Namespace) -> int:
    from slowfast_gta.engine.logging import setup_logging
    from slowfast_gta.preparation.convert import build_lists

    setup_logging()
    cfg = load_one_config(args, "prepare_data lists")
    converted = build_lists(cfg, args.output, args.format, args.skip_missing, args.overwrite)
    for name, count in converted.num_videos.items():
        missing = converted.missing.get(name, [])
        left_out = ""
        if missing:
            left_out = f"; left out since missing: {counted(len(missing), 'video')}, for example {missing[0]}"
        print(f"{args.output / name}: {counted(count, 'video')}{left_out}")
    return 0


def _add_made_up(commands: Any) -> None:
    text = "videos to try everything on, in class folders: a shape of any form and colour moves down, left, right or up"
    parser = commands.add_parser("made-up", help=text, description=text)
    parser.add_argument("folder", metavar="DIR", type=Path, help="a new folder")
    parser.add_argument("--num", type=int, default=40, metavar="N", help="videos in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random videos")
    parser.set_defaults(run=_made_up)


def _made_up(args: argparse.Namespace) -> int:
    from slowfast_gta.preparation.made_up import make_videos

    _check_positive("--num", args.num, 1)
    _check_positive("--seed", args.seed, 0)
    counts = make_videos(args.folder, args.num, args.seed)
    parts = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    print(f"{args.folder}: {counted(args.num, 'video')} made: {parts}.")
    return 0


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder with videos in it, however deep; only read")
    parser.add_argument("output", metavar="OUT", type=Path, help="a new folder, filled with the same tree")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: as many as there are cores)")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")


def _workers(args: argparse.Namespace) -> int:
    from slowfast_gta.processes.parallel import num_cores

    if args.workers is None:
        return num_cores()
    _check_positive("--workers", args.workers, 1)
    return args.workers


def _check_positive(flag: str, value: float, minimum: float) -> None:
    if not value >= minimum:
        raise ConfigError(f"{flag} is {value}; it must be at least {minimum}.")


def _report(args: argparse.Namespace, outcome: Any, others: Any) -> int:
    """Say what was made, what was left out and what failed; the exit code."""
    result = {"made": outcome.num_made, "there": outcome.num_there, "left_out": dict(others)}
    if args.json:
        print(json.dumps(result | {"repeated_frames": outcome.repeated, "failed": outcome.failures}, indent=2))
        return int(bool(outcome.failures))
    there = f", {outcome.num_there} already there" if outcome.num_there else ""
    print(f"{args.output}: {counted(outcome.num_made, 'video')} made{there}.")
    if outcome.repeated:
        print(
            "Frames that could not be decoded, replaced by the nearest decoded one: "
            f"{sum(outcome.repeated.values())}, in {counted(len(outcome.repeated), 'video')}, for example "
            f"{next(iter(outcome.repeated))}."
        )
    if others:
        kinds = ", ".join(_kind_counted(kind, count) for kind, count in sorted(others.items()))
        print(f"Left out: {kinds}.")
    for fault in list(outcome.failures.values())[:5]:
        print(f"error: {fault}", file=sys.stderr)
    if outcome.failures:
        print(
            f"error: {counted(len(outcome.failures), 'video')} could not be made; {args.output / 'failed.txt'} "
            "lists them. "
            "The same command tries them again.",
            file=sys.stderr,
        )
    return int(bool(outcome.failures))


def _kind_counted(kind: str, count: int) -> str:
    """2 .txt; 1 folder of frames."""
    noun, _, rest = kind.partition(" of ")
    return f"{counted(count, noun.removesuffix('s'))} of {rest}" if rest else f"{count} {kind}"
