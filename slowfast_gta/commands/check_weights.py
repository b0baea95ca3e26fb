"""check_weights: does a file of weights fit the network of a config, and what would become of each tensor?"""

import json
from collections.abc import Sequence

from fvcore.common.config import CfgNode

from slowfast_gta.config.arguments import CommandParser, add_config_arguments, load_one_config, parse_arguments
from slowfast_gta.errors import ConfigError, WeightsError, counted

_EXAMPLES = """examples:
  python tools/check_weights.py SLOWFAST_8x8_R50.pkl --cfg configs/Kinetics/SLOWFAST_8x8_R50.yaml
  python tools/check_weights.py gta_8f.pyth --cfg configs/SSv1/R2D50_GTA.yaml DATA.NUM_FRAMES 16 --resample-time
  python tools/check_weights.py gta.pyth --cfg configs/SSv1/R2D50_GTA.yaml --save gta.safetensors

docs/weights.md explains which files are read, and what the words of the table mean.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when a training could start from the file, 1 when not, 2 for wrong usage or config."""
    parser = CommandParser("check_weights", description=__doc__, epilog=_EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="weights: .pyth, .pth, .pt, .tar, .pkl (caffe2) or .safetensors")
    add_config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument(
        "--resample-time",
        action="store_true",
        help="like TRAIN.CHECKPOINT_RESAMPLE_TIME True: allow another NUM_FRAMES",
    )
    parser.add_argument("--save", metavar="OUT.safetensors", help="write the network with these weights, if they fit")
    args = parse_arguments(parser, arguments)
    if args.save and not args.save.endswith(".safetensors"):
        raise ConfigError(f"--save {args.save} must end with .safetensors, which is the format that is written.")
    if args.resample_time:
        args.opts = [*args.opts, "TRAIN.CHECKPOINT_RESAMPLE_TIME", "True"]
    cfg = load_one_config(args, "check_weights")
    try:
        result, text = _check(cfg, args.file, args.save)
    except WeightsError as fault:
        if not args.json:
            raise
        result, text = {"file": args.file, "fits": False, "error": str(fault)}, ""
    print(json.dumps(result, indent=2) if args.json else text)
    return int(not result["fits"])


def _check(cfg: CfgNode, file: str, save: str | None) -> tuple[dict, str]:
    """The result for --json, and for people."""
    from slowfast_gta.models.build import build_model
    from slowfast_gta.models.weights import check_weights, load_weights_for, save_safetensors
    from slowfast_gta.models.weights.report import OUTCOMES

    model = build_model(cfg)
    report = check_weights(cfg, model, file)
    names = {outcome: report.rows(outcome) for outcome in OUTCOMES}
    result = {"file": file, "kind": report.kind, "input": report.input, "fits": report.fits}
    result["class_fingerprint"] = report.class_fingerprint
    result |= {
        "counts": {outcome: len(names_of_outcome) for outcome, names_of_outcome in names.items()},
        **names,
        "notes": report.notes,
    }
    lines = [report.table()]
    if not report.fits:
        result["error"] = report.fault()
        lines.append(f"does not fit: {report.fault()}")
    elif untrained := [name for name in report.new if not name.endswith("num_batches_tracked")]:
        lines.append(
            "fits as a start for training: not in the file, and so newly initialised: "
            f"{counted(len(untrained), 'tensor')}. Testing needs all of them."
        )
    else:
        lines.append("fits: every tensor of the network has its weights.")
    if save and report.fits:
        load_weights_for(cfg, model, file, fine_tune=True)
        metadata = {"input": report.input}
        metadata |= {"class_names": json.dumps(report.class_names)} if report.class_names else {}
        save_safetensors(model, save, metadata)
        lines.append(f"Saved as {save}.")
    return result, "\n".join(lines)
