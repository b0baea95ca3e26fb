"""complexity: multiply-adds, parameters, activations and memory of the networks that configs describe."""

import argparse
import json
from collections.abc import Sequence

from slowfast_gta.config.arguments import (
    CommandParser,
    add_config_arguments,
    load_configs,
    parse_arguments,
    split_tokens,
)
from slowfast_gta.config.load import load_config
from slowfast_gta.errors import ConfigError

_EXAMPLES = """examples:
  python tools/complexity.py --cfg configs/SSv1/R2D50_GTA.yaml
  python tools/complexity.py --cfg configs/SSv1/R2D50.yaml configs/SSv1/R2D50_GTA.yaml --json DATA.NUM_FRAMES 16
  python tools/complexity.py --table paper
  python tools/complexity.py --train --cfg configs/SSv1/R2D50_GTA.yaml MODEL.ACT_CHECKPOINT True

One clip at DATA.TEST_CROP_SIZE. docs/complexity.md explains what is counted, and what is not.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0."""
    parser = CommandParser("complexity", description=__doc__, epilog=_EXAMPLES)
    add_config_arguments(parser, required=False)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--table", choices=["paper"], help="the papers' tables beside ours; --cfg may choose rows")
    parser.add_argument("--train", action="store_true", help="memory of a training step, and what batch fits a GPU")
    args = parse_arguments(parser, arguments)
    if args.train and args.table:
        raise ConfigError("--train and --table are two questions; give one of them.")
    results: list[dict]
    if args.table:
        results = _paper_rows(args)
        text = _paper_table
    elif args.cfg and args.train:
        results = _train_memory(split_tokens(args.cfg)[0], load_configs(args))
        text = _train_report
    elif args.cfg:
        results = _count(split_tokens(args.cfg)[0], load_configs(args))
        text = _report
    else:
        raise ConfigError("complexity needs --cfg FILE [FILE ...], or --table paper.")
    print(json.dumps(results, indent=2) if args.json else text(results))
    return 0


def _count(files: Sequence[str], configs: Sequence) -> list[dict]:
    from slowfast_gta.benchmarks.complexity import build_complexity

    return [{"cfg": file} | build_complexity(cfg) for file, cfg in zip(files, configs, strict=True)]


def _train_memory(files: Sequence[str], configs: Sequence) -> list[dict]:
    from slowfast_gta.benchmarks.train_memory import build_train_memory

    rows = [build_train_memory(cfg) for cfg in configs]
    return [{"cfg": file, "train_memory": memory} for file, memory in zip(files, rows, strict=True)]


def _train_report(results: list[dict]) -> str:
    lines = []
    for result in results:
        lines.append(f"{result['cfg']}: memory of a training step, counted, not compared with a GPU's allocator")
        lines.append(f"  {'':<10}{'MB a clip':>11}{'kept':>12}{'MB besides':>12}   clips that fit")
        for precision, memory in result["train_memory"].items():
            fits = ", ".join(f"{size} GB: {count}" for size, count in memory["batch_size"].items())
            numbers = f"{memory['mb_a_clip']:>11.0f}{memory['mb_kept_a_clip']:>12.0f}{memory['mb_constant']:>12.0f}"
            lines.append(f"  {precision:<10}{numbers}   {fits}")
    return "\n".join(lines)


def _paper_rows(args: argparse.Namespace) -> list[dict]:
    """What is counted for each row of the papers, with "row", "paper_*", "difference_percent*" and "note"."""
    from slowfast_gta.benchmarks.paper_table import PAPER_TABLE, difference_percent

    files, overrides = split_tokens([*args.cfg, *args.opts])
    if overrides:
        raise ConfigError(f"--table paper has the papers' own configs; it takes no {overrides[0]}. Leave --table out.")
    chosen = [row for row in PAPER_TABLE if not files or any(file.endswith(row.config) for file in files)]
    if not chosen:
        raise ConfigError(f"{', '.join(files)}: no row of the papers' tables. Leave --table out to count it.")
    results = []
    for row in chosen:
        counted = _count([row.config], [load_config(row.config)])[0]
        results.append(
            {"row": row.label}
            | counted
            | {"paper_gmacs": row.gmacs, "paper_params_m": row.params_m}
            | {"difference_percent": difference_percent(counted["gmacs"], row.gmacs)}
            | {"difference_percent_params": difference_percent(counted["params_m"], row.params_m), "note": row.note}
        )
    return results


def _report(results: list[dict]) -> str:
    return "\n\n".join(_one_report(result) for result in results)


def _one_report(result: dict) -> str:
    channels, frames, height, width = result["input"]
    lines = [f"{result['cfg']}: one clip {channels} x {frames} x {height} x {width}"]
    lines.append(f"{'':<44}{'G mult-adds':>12}{'M parameters':>14}{'M activations':>15}")
    for stage in result["stages"]:
        lines.append(_row(stage["name"], stage))
        inside = [block for block in result["attention"] if block["name"].startswith(f"{stage['name']}.")]
        lines += [_row(f"  in it {block['name']}", block) for block in inside]
    lines.append(_row("all, the sum of the above" + " (not of 'in it')" * bool(result["attention"]), result))
    lines.append(f"views of a video: {result['num_views']}, together {result['gmacs_all_views']:.1f} G multiply-adds")
    lines.append(
        f"memory of one clip in testing, computed: {result['peak_memory_mb']:.0f} MB in fp32, weights included"
    )
    return "\n".join(lines)


def _row(name: str, cost: dict) -> str:
    return f"{name:<44}{cost['gmacs']:>12.2f}{cost['params_m']:>14.3f}{cost['activations_m']:>15.2f}"


def _paper_table(results: list[dict]) -> str:
    notes = list(dict.fromkeys(result["note"] for result in results if result["note"]))
    lines = [f"{'':<26}{'G: paper':>9}{'ours':>9}{'diff.':>9}{'M: paper':>10}{'ours':>8}{'diff.':>9}"]
    for result in results:
        line = f"{result['row']:<26}{result['paper_gmacs']:>9}{result['gmacs']:>9.2f}"
        line += f"{result['difference_percent']:>+8.2f}%"
        if result["paper_params_m"] is None:
            line += f"{'-':>10}{result['params_m']:>8.2f}{'-':>9}"
        else:
            line += f"{result['paper_params_m']:>10}{result['params_m']:>8.2f}"
            line += f"{result['difference_percent_params']:>+8.2f}%"
        lines.append(line + (f"  ({notes.index(result['note']) + 1})" if result["note"] else ""))
    return "\n".join(["", *lines, "", *(f"({number}) {note}" for number, note in enumerate(notes, 1))])
