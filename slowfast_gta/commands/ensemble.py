"""ensemble: average the scores of runs that tested the same videos."""

import json
from collections.abc import Sequence
from pathlib import Path

from slowfast_gta.config.arguments import CommandParser
from slowfast_gta.errors import ConfigError, counted

_EXAMPLES = """examples:
  python tools/ensemble.py runs/gta_8f runs/gta_16f --output runs/gta_8f_16f
  python tools/ensemble.py runs/gta_8f/scores.npz runs/gta_16f/scores.npz --weights 1 2

docs/views.md has the commands of the paper's ensemble.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the average was written, 1 when the runs cannot be averaged, 2 for wrong usage."""
    parser = CommandParser("ensemble", description=__doc__, epilog=_EXAMPLES)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a test's scores.npz, or the OUTPUT_DIR it is in")
    parser.add_argument("--weights", nargs="+", type=float, metavar="W", help="one for each run (default: all equal)")
    parser.add_argument("--output", default="ensemble", metavar="DIR", help="where to write (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args(arguments)
    if len(args.runs) < 2:
        raise ConfigError("ensemble needs two runs or more.")

    from slowfast_gta.engine.evaluation.ensemble import average_files
    from slowfast_gta.engine.evaluation.results import format_summary
    from slowfast_gta.reports.confusion import save_confusion_picture

    output = Path(args.output)
    results = average_files(args.runs, args.weights or [1.0] * len(args.runs), output)
    picture = save_confusion_picture(output)
    if args.json:
        print(json.dumps(results, indent=2))
        return 0
    for run in results["ensemble"]:
        line = (
            f"{run['scores']}: top-1 {run['top1']:.2f} %, weight {run['weight']:g}, {counted(run['num_views'], 'view')}"
        )
        line += f", {counted(run['num_missing'], 'video')} missing" * bool(run["num_missing"])
        print(line + ", its classes are not named and could not be compared" * (not run["classes_named"]))
    print(f"ensemble: {format_summary(results)}.")
    drawn = f", {picture.name}" if picture else ""
    print(f"Written to {output.resolve()}: results.json, scores.npz{drawn}.")
    return 0
