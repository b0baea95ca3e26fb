"""The synthetic worlds: ASM-Loc against multiple-instance learning alone at equal epochs, with 95 % intervals.

Worlds that OUTPUT has already are not run again. Prints the table of the README.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from slowfast_gta.errors import ConfigError
from slowfast_gta.files import write_whole

# What step 2 minus MIL must come to, in the mean over worlds (per cent points).
BAR = {"mAP .1:.7": 4.0, "mAP .5": 12.0, "short recall .5": 5.0, "long recall .7": 30.0}
REFERENCE = "MIL only"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where every margin of BAR is reached, 1 where one is missed."""
    parser = argparse.ArgumentParser("worlds.py", description=__doc__)
    parser.add_argument("--worlds", type=int, nargs="+", default=[100, 101, 102, 103, 104], metavar="N")
    parser.add_argument("--ablations", action="store_true", help="train step 2 without each of its parts, too")
    parser.add_argument("--epochs", type=int, default=20, help="of each step; MIL gets as many as all steps together")
    parser.add_argument("--output", type=Path, default=Path("runs/asm_loc_worlds"), help="one JSON file a world")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="only write the first world as a pack, for run.py")
    args = parser.parse_args(arguments)
    if args.epochs < 1 or min(args.worlds) < 0:
        raise ConfigError("--epochs must be 1 or more, and the numbers of --worlds 0 or more.")

    from asm_loc.experiment import interval_table
    from asm_loc.world import write_pack

    if args.write:
        write_pack(args.worlds[0], args.write)
        print(f"World {args.worlds[0]} is in {args.write}: ASM_LOC.FEATURES {args.write}")
        return 0
    worlds = [load_or_run(number, args) for number in args.worlds]
    print("\n".join(interval_table(worlds)))
    lines, reached = margins(worlds)
    print("\n".join(lines))
    return 0 if reached else 1


def load_or_run(number: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The rows of one world, from its file where that has all of them."""
    import torch

    from asm_loc.experiment import ABLATIONS, run_world

    path = args.output / f"world_{number}_{args.epochs}_epochs{'_ablations' * args.ablations}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))["rows"]
    threads = torch.get_num_threads()
    begin, cpu = time.perf_counter(), time.process_time()
    torch.set_num_threads(1)
    try:
        rows = run_world(number, args.epochs, tuple(ABLATIONS) if args.ablations else ())
    finally:
        torch.set_num_threads(threads)  # results of whatever this process does next depend on it
    spent = {"seconds": round(time.perf_counter() - begin, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    args.output.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"world": number, **spent, "rows": rows}, indent=1))
    print(f"World {number}: {spent['seconds']} s, {spent['cpu_seconds']} s of one core.", flush=True)
    return rows


def margins(worlds: list[dict[str, dict[str, float]]]) -> tuple[list[str], bool]:
    """Step 2 minus MIL, world by world, against BAR."""
    from asm_loc.experiment import interval

    lines, reached = ["", "| step 2 - MIL only | mean | bar | worlds |", "|---|---|---|---|"], True
    for name, bar in BAR.items():
        values = [world["ASM-Loc, step 2"][name] - world[REFERENCE][name] for world in worlds]
        mean, half = interval(values)
        reached &= mean >= bar
        each = ", ".join(f"{v:+.1f}" for v in values)
        lines.append(
            f"| {name} | {mean:+.1f} ± {half:.1f} | {bar:+.0f}, {'reached' * (mean >= bar) or 'missed'} | {each} |"
        )
    return lines, reached
