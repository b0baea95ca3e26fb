"""export: a trained network as one file (ONNX, torch.export) for people without this package."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from slowfast_gta.config.arguments import CommandParser, add_network_arguments, check_output, parse_arguments
from slowfast_gta.errors import counted

_EXAMPLES = """examples:
  python tools/export.py --cfg runs/gta/config.yaml --format onnx --output gta.onnx
  python tools/export.py --cfg configs/Kinetics/SLOWFAST_8x8_R50.yaml --weights SLOWFAST_8x8_R50.pkl --format onnx \\
      --output slowfast.onnx --check my_video.mp4
  python tools/export.py --cfg runs/gta/config.yaml --format torch --dynamic none --output gta.pt2

uint8 RGB frames (batch, frame, height, width, 3) go in, probabilities come out; class names are in the metadata. The
file is compared with the network before it gets its name. Without --weights the newest checkpoint of the run in the
config's folder, or in OUTPUT_DIR, is taken. docs/export.md shows how to use the file.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the file is written and computes what the network does."""
    args = _parse(arguments)
    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    from slowfast_gta.inference.check_clips import build_check_clips
    from slowfast_gta.inference.export import build_export, check_format, export_to_file
    from slowfast_gta.inference.run_folder import load_trained

    check_format(args.format, args.dynamic, args.output)
    cfg, weights = load_trained(args, "export")
    check_output(args.output, [*args.check, weights, args.cfg[0]])
    export = build_export(cfg, weights, args.precision)
    clips, source = build_check_clips(cfg, args.check)
    report = export_to_file(export, clips, args.output, args.format, args.dynamic)
    result = {"output": str(args.output), "format": args.format, "dynamic": args.dynamic, "weights": str(weights)}
    result |= {**report, "clips": source, "metadata": export.metadata}
    print(json.dumps(result, indent=2, ensure_ascii=False) if args.json else _as_text(result))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser("export", description=__doc__, epilog=_EXAMPLES)
    add_network_arguments(parser)
    parser.add_argument(
        "--format", choices=("onnx", "torch"), required=True, help="onnx: opset 20; torch: torch.export"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="output file")
    parser.add_argument(
        "--dynamic", choices=("batch", "none"), default="batch", help="what may vary; none: one clip (default: batch)"
    )
    parser.add_argument("--precision", choices=("float32", "float16"), default="float32", help="of the weights")
    parser.add_argument(
        "--check", nargs="+", default=[], metavar="VIDEO", help="compare on these (default: of the data set, or drawn)"
    )
    return parse_arguments(parser, arguments)


def _as_text(result: dict) -> str:
    return (
        f"{result['output']}: {result['metadata']['network']}, {result['bytes'] / 1e6:.1f} MB.\n"
        f"Compared with PyTorch on {counted(result['num_clips'], 'clip')} ({result['clips']}): the largest "
        "difference is "
        f"{result['largest_difference']:.2g} of the largest score ({result['bound']:g} is allowed)."
    )
