"""report: one self-contained HTML page of one or several runs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from slowfast_gta.config.arguments import CommandParser
from slowfast_gta.errors import ConfigError, counted

_EXAMPLES = """examples:
  python tools/report.py runs/demo/R2D_GTA --output report.html
  python tools/report.py runs/demo/R2D runs/demo/R2D_GTA --output compared.html

RUN: the OUTPUT_DIR of a training or test. Everything is read from its files; nothing is recomputed, and no code of a
run is imported. TEST.REPORT writes the page of a run after each test. docs/report.md describes it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the page is written."""
    parser = CommandParser("report", description=__doc__, epilog=_EXAMPLES)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the page, for example report.html")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args(arguments)
    if args.output.is_dir():
        raise ConfigError(
            f"--output is {args.output}, which is a folder. Name a file, for example {args.output / 'report.html'}."
        )
    from slowfast_gta.engine.logging import setup_logging
    from slowfast_gta.reports.report import write_report

    setup_logging()
    report = write_report(args.runs, args.output)
    if args.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return 0
    print(
        f"{args.output}: {counted(report['num_runs'], 'run')}, {report['num_clips']} of "
        f"{counted(report['num_wrong'], 'wrong prediction')} with a clip, {report['bytes'] / 1e6:.1f} MB."
    )
    for note in report["notes"]:
        print(note, file=sys.stderr)
    return 0
