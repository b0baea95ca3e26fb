"""benchmark: how fast a network is beside its plain form, and what GTA costs."""

import argparse
import json
from collections.abc import Sequence

from slowfast_gta.config.arguments import add_config_arguments, load_configs, parse_arguments
from slowfast_gta.errors import ConfigError

_EXAMPLES = """examples:
  python tools/benchmark.py model --cfg configs/SSv1/R2D50.yaml
  python tools/benchmark.py model --cfg configs/SSv1/R2D50.yaml --pairs 20 --json

Attention blocks of the config are left out; GTA is put in by itself. docs/benchmarks.md tells what is timed.
"""

_MEANING = {
    "eval_fp32_speedup": "testing, fp32: plain form / ours",
    "eval_bf16_speedup": "testing: plain form in fp32 / ours in bf16",
    "eval_bf16_over_plain_bf16": "testing: plain form in bf16 / ours in bf16",
    "train_fp32_speedup": "training step, fp32: plain form / ours",
    "gta_over_r2d_eval": "testing, fp32: with GTA / without",
    "gta_over_r2d_train": "training step, fp32: with GTA / without",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0."""
    parser = argparse.ArgumentParser(
        "benchmark", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["model"], help="what is timed: the network")
    add_config_arguments(parser)
    parser.add_argument("--pairs", type=int, default=10, metavar="N", help="timed pairs (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="clips at a time (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parse_arguments(parser, arguments)
    if min(args.pairs, args.batch) < 1:
        raise ConfigError(f"--pairs is {args.pairs} and --batch {args.batch}; both must be at least 1.")
    configs = load_configs(args)
    if len(configs) > 1:
        raise ConfigError(f"benchmark takes one config, and --cfg names {len(configs)} files.")
    from slowfast_gta.engine.benchmark import build_benchmark

    answer = build_benchmark(configs[0], args.pairs, args.batch)
    print(json.dumps(answer, indent=2) if args.json else _table(answer))
    return 0


def _table(answer: dict) -> str:
    lines = [f"{answer['machine']}; clip {answer['clip']}; medians of {answer['pairs']} alternating pairs"]
    for key, meaning in _MEANING.items():
        value = "no bf16 here" if answer[key] is None else f"{answer[key]:.2f}"
        lines.append(f"  {meaning:<46}{value}")
    return "\n".join(lines)
