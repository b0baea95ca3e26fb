"""check_data: what is wrong with a data set: its lists, its videos, its splits; everything, not just the first."""

import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from slowfast_gta.config.arguments import CommandParser, add_config_arguments, load_one_config, parse_arguments
from slowfast_gta.errors import ConfigError, counted

_EXAMPLES = """examples:
  python tools/check_data.py --cfg configs/SSv2/R2D50.yaml DATA.PATH_TO_DATA_DIR /data/ssv2
  python tools/check_data.py --cfg configs/Kinetics/SLOWFAST_8x8_R50.yaml --decode all --workers 16 --output k400.json

The same command resumes where it was stopped, and looks again only at what has changed: docs/broken-data.md.
"""
_TIMEOUT_SEC = {"none": 60.0, "sample": 60.0, "all": 600.0}
_SHOWN = 3  # findings of a kind; the report has all


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the data set is clean, 1 when there are faults, 2 for wrong usage or config."""
    parser = CommandParser("check_data", description=__doc__, epilog=_EXAMPLES)
    add_config_arguments(parser)
    parser.add_argument(
        "--decode",
        choices=_TIMEOUT_SEC,
        default="sample",
        help="of each video: no frame, DATA.NUM_FRAMES of them, or all (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), metavar="N", help="processes (default: all cores)"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SEC", help="for one video (default: 60; with --decode all, 600)"
    )
    parser.add_argument("--output", metavar="FILE.json", help="the report (default: check_data.json in OUTPUT_DIR)")
    parser.add_argument(
        "--write-clean",
        metavar="DIR",
        type=Path,
        help="write lists without the faulty entries, and a YAML that reads them",
    )
    parser.add_argument("--json", action="store_true", help="print the report, one JSON document, and nothing else")
    args = parse_arguments(parser, arguments)
    timeout_sec = _TIMEOUT_SEC[args.decode] if args.timeout is None else args.timeout
    if args.workers < 1 or not timeout_sec > 0:
        raise ConfigError(f"--workers {args.workers} and --timeout {timeout_sec:g} must be above 0.")
    cfg = load_one_config(args, "check_data")
    from slowfast_gta.data_check.check_data import check_data

    output = Path(args.output) if args.output else Path(cfg.OUTPUT_DIR) / "check_data.json"
    if output.is_dir():
        raise ConfigError(
            f"{output} is a folder, but the report is a file: name it, for example {output / 'check_data.json'}."
        )
    say = partial(print, file=sys.stderr, flush=True)
    report = check_data(cfg, output, args.decode, args.workers, timeout_sec, say, clean_folder=args.write_clean)
    print(json.dumps(report, indent=1) if args.json else f"{_text(report)}\nAll findings: {output}")
    return int(not report["clean"])


def _text(report: dict) -> str:
    lines = []
    for split, of_split in report["splits"].items():
        line = (
            f"{of_split['dataset']}, {split}: {counted(of_split['num_videos'], 'video', ',')}, "
            f"{counted(of_split['num_classes'], 'class')}"
        )
        if frames := of_split["num_frames"]:
            line += f", {frames['min']} to {frames['max']} frames (median {frames['median']})"
        lines.append(line)
    for part in ("faults", "remarks"):
        if not report[part]:
            lines.append(f"No {part}.")
            continue
        lines.append(f"\n{part}")
        for kind, of_split in report[part].items():
            lines.append(f"{of_split['count']:>7}  {kind}: {of_split['advice']}")
            for split, message in of_split["findings"][:_SHOWN]:
                lines.append(f"{'':<9}{split + ': ' if split else ''}{message}")
            if of_split["count"] > _SHOWN:
                lines.append(f"{'':<9}and {of_split['count'] - _SHOWN} more")
    return "\n".join(lines)
