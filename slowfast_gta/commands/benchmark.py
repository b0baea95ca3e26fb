"""benchmark: a network beside its plain form, the reading of videos beside PySlowFast's, processes beside one."""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.config.arguments import CommandParser, add_config_arguments, load_one_config, parse_arguments
from slowfast_gta.errors import ConfigError, counted

_EXAMPLES = """examples:
  python tools/benchmark.py model --cfg configs/SSv1/R2D50.yaml
  python tools/benchmark.py model --cfg configs/SSv1/R2D50.yaml --pairs 20 --json
  python tools/benchmark.py loader
  python tools/benchmark.py scaling --cfg configs/SSv1/R2D50_GTA.yaml --batch 2 --processes 2
  python tools/benchmark.py step --cfg configs/SSv1/R2D50_GTA.yaml
  python tools/benchmark.py gpu --output runs/gpu --only blocks,training
  python tools/benchmark.py model --cfg configs/SSv1/R2D50_GTA.yaml --against onnxruntime openvino
  python tools/benchmark.py loader --files a.mp4 b.webm --cfg configs/Kinetics/SLOWFAST_4x16_R50.yaml

step: counted, not timed: bytes and kernels of a training step. gpu: five minutes on a GPU; on a CPU a dry run.
model: attention blocks of the config are left out; GTA is put in by itself. loader: one thread, and without --files two
videos that are made for it. docs/benchmarks.md explains what is timed.
"""

_MEANING = {
    "eval_fp32_speedup": "testing, fp32: plain form / ours",
    "eval_bf16_speedup": "testing: plain form in fp32 / ours in bf16",
    "eval_bf16_over_plain_bf16": "testing: plain form in bf16 / ours in bf16",
    "train_fp32_speedup": "training step, fp32: plain form / ours",
    "train_bf16_speedup": "training step, bf16, on a GPU: plain form / ours",
    "gta_over_r2d_eval": "testing, fp32: with GTA / without",
    "gta_over_r2d_train": "training step, fp32: with GTA / without",
}
_PAIRS = {"model": 10, "loader": 5, "scaling": 5, "step": 1, "gpu": 1}
_AGAINST_PAIRS = 20
_LOADER_CFG = "configs/Kinetics/SLOWFAST_8x8_R50.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0."""
    parser = CommandParser("benchmark", description=__doc__, epilog=_EXAMPLES)
    parser.add_argument("what", choices=_PAIRS, help="what is measured")
    add_config_arguments(parser, required=False)
    parser.add_argument("--pairs", type=int, metavar="N", help="timed pairs (default: model 10, else 5)")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="model, scaling: clips at a time (default: 1; model on a GPU: fill it)"
    )
    parser.add_argument("--processes", type=int, metavar="N", help="scaling on CPUs: processes (default: one per core)")
    parser.add_argument("--files", nargs="+", default=[], metavar="VIDEO", help="loader: videos of your own")
    parser.add_argument(
        "--feed", type=float, default=100, metavar="N", help="loader: clips/s that the workers must supply"
    )
    parser.add_argument("--output", default="runs/gpu", metavar="DIR", help="gpu: where gpu.jsonl goes (%(default)s)")
    parser.add_argument("--only", default="", metavar="PARTS", help="gpu: names of parts, separated by commas")
    parser.add_argument(
        "--limit", type=float, default=300, metavar="SEC", help="gpu: time limit for all parts together (%(default)s)"
    )
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="NAME",
        help="model: compare with onnxruntime, openvino",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parse_arguments(parser, arguments)
    if args.against and args.what != "model":
        raise ConfigError(f"--against goes with benchmark model, not with {args.what}.")
    default = _AGAINST_PAIRS if args.against else _PAIRS[args.what]
    pairs = default if args.pairs is None else args.pairs
    if min(pairs, 1 if args.batch is None else args.batch) < 1 or not args.feed > 0:
        raise ConfigError(f"--pairs {pairs}, --batch {args.batch} and --feed {args.feed:g} must be above 0.")
    if args.processes is not None and args.processes < 2:
        raise ConfigError(f"--processes {args.processes} must be 2 or more: one is what they are compared with.")
    if not args.cfg and args.what not in ("loader", "gpu"):
        raise ConfigError(f"benchmark {args.what} needs --cfg FILE.")
    args.cfg = args.cfg or [_LOADER_CFG]
    cfg = load_one_config(args, "benchmark")
    if args.what == "gpu":
        return _gpu(cfg, args)
    if args.what == "step":
        from slowfast_gta.benchmarks.step_costs import build_step_costs

        result, table = build_step_costs(cfg), _step_table
    elif args.against:
        from slowfast_gta.benchmarks.against import build_against

        result, table = build_against(cfg, args.against, pairs, args.batch or 1), _against_table
    elif args.what == "model":
        from slowfast_gta.benchmarks.network import build_benchmark

        result, table = build_benchmark(cfg, pairs, args.batch), _model_table
    elif args.what == "scaling":
        from slowfast_gta.benchmarks.scaling import build_scaling

        result, table = build_scaling(cfg, args.processes, pairs, args.batch or 1), _scaling_table
    else:
        from slowfast_gta.benchmarks.loader import build_loader_benchmark

        result, table = build_loader_benchmark(cfg, args.files, pairs), _loader_table
    print(json.dumps(result, indent=2) if args.json else table(result, args.feed))
    return 0


def _gpu(cfg: CfgNode, args: argparse.Namespace) -> int:
    """Exit code 1 where something is wrong."""
    from slowfast_gta.benchmarks.gpu import build_gpu_report

    only = [name for name in args.only.split(",") if name]
    report = build_gpu_report(cfg, Path(args.output), only, args.limit)
    if args.json:
        print(json.dumps(report, indent=2, default=str))
    else:
        if report["dry_run"]:
            print("No GPU here: a dry run at small size, whose figures mean nothing.")
        for name, part in report["parts"].items():
            print(f"{name}: {json.dumps(part, default=str)}")
        print("\n".join(f"WRONG: {fault}" for fault in report["wrong"]) or "Nothing wrong was found.")
    return int(bool(report["wrong"]))


def _step_table(result: dict, feed: float) -> str:
    lines = [
        f"a training step in bf16, counted: {result['gb_a_clip']:.2f} GB moved and {result['gmacs_a_clip']:.0f} G "
        f"multiply-adds a clip, {result['launches']} operations a step"
    ]
    return "\n".join(lines + [f"  {name:<40}{gigabytes:>8.3f} GB" for name, gigabytes in result["largest"].items()])


def _model_table(result: dict, feed: float) -> str:
    lines = [f"{result['machine']}; clip {result['clip']}; medians of {result['pairs']} alternating pairs"]
    width = max(map(len, _MEANING.values()))
    for key, meaning in _MEANING.items():
        value = "not here" if result[key] is None else f"{result[key]:.2f}"
        lines.append(f"  {meaning:<{width}}  {value}")
    return "\n".join(lines)


def _against_table(result: dict, feed: float) -> str:
    pairs = f"medians of {result['pairs']} alternating pairs"
    lines = [f"{result['processor']}; {result['machine']}; clip {result['clip']}; {pairs}"]
    for name, row in result["against"].items():
        for precision in ("fp32", "bf16"):
            if precision in row:
                values = row[precision]
                lines.append(
                    f"  {name} {row['version']}, {precision}: {values['seconds'] * 1000:.0f} ms, ours "
                    f"{values['ours_seconds'] * 1000:.0f} ms: {values['speedup']:.2f} times as fast"
                )
    lines.append(
        f"Ours in fp32 runs at {result['share_of_matrix_product_rate']:.2f} of the processor's matrix-product rate, "
        f"{result['matrix_product_gflops']:.0f} GFLOP/s."
    )
    if result["matrix_product_gflops_bf16"] is not None:
        lines.append(f"In bf16 its matrix product runs at {result['matrix_product_gflops_bf16']:.0f} GFLOP/s.")
    return "\n".join(lines)


def _scaling_table(result: dict, feed: float) -> str:
    return (
        f"{result['machine']}; medians of {result['pairs']} alternating pairs\n"
        f"{result['processes']} processes with {result['clips_a_process']} clips each train {result['speedup']:.2f} "
        f"times as fast as one: {result['together_clips_per_s']:.2f} clips/s, alone "
        f"{result['alone_clips_per_s']:.2f}. {result['gradient_mb']:.0f} MB of gradients are averaged at each step."
    )


def _loader_table(result: dict, feed: float) -> str:
    stages = list(result["files"][0]["test"]["ms_per_clip"])
    lines = [f"{result['machine']}; one thread; medians of {result['pairs']} alternating pairs"]
    lines.append(f"{'ms a clip':<34}" + "".join(f"{word:>11}" for word in (*stages, "all", "clips/s", "speed-up")))
    splits = {"test": f"test, {counted(result['num_views'], 'view')}", "train": "train"}
    for of_file in result["files"]:
        lines.append(of_file["file"])
        lines += [line for split, what in splits.items() for line in _loader_rows(what, of_file[split])]
    if result["test_speedup"] is None:
        lines.append("No speed-ups: PySlowFast's Kinetics loading has no such DATA.SAMPLING or DATA.RESIZE.")
    else:
        lines.append(
            f"All files: testing is {result['test_speedup']:.1f} times as fast as PySlowFast's way "
            f"({result['plain_test_s_per_video']:.2f} s a video, ours {result['test_s_per_video']:.3f}), "
            f"training {result['train_speedup']:.1f} times "
            f"({result['plain_train_s_per_clip']:.3f} s a clip, ours {result['train_s_per_clip']:.3f})."
        )
    need = {split: math.ceil(feed / result[f"{split}_clips_per_s"]) for split in splits}
    lines.append(
        f"To feed {feed:g} clips/s, DATA_LOADER.NUM_WORKERS must be {need['train']} in training and {need['test']} in "
        "testing, if each has a core of its own and the disk is as fast as here."
    )
    return "\n".join(lines)


def _loader_rows(what: str, measured: dict) -> list[str]:
    rows = []
    for way, key in (("PySlowFast's way", "plain_ms_per_clip"), ("ours", "ms_per_clip")):
        if key in measured:
            total = sum(measured[key].values())
            values = [*measured[key].values(), total, 1000 / total]
            speedup = f"{measured['speedup']:>11.1f}" if key == "ms_per_clip" and measured["speedup"] else ""
            rows.append(f"  {f'{what}, {way}':<32}" + "".join(f"{value:>11.2f}" for value in values) + speedup)
    return rows
