"""Train and test ASM-Loc as a config says, all its steps; or test the checkpoints of its authors."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from slowfast_gta.config.arguments import add_config_arguments, load_configs, parse_arguments

logger = logging.getLogger("slowfast_gta")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when everything was trained and tested."""
    parser = argparse.ArgumentParser("run.py", description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        "--released",
        type=Path,
        metavar="FOLDER",
        help="train nothing; test model_step*_{last,best}_epoch.pth of this folder, as the chain that they are",
    )
    args = parse_arguments(parser, arguments)

    from asm_loc.config import EXTENSION
    from asm_loc.released_chain import run_released
    from asm_loc.task import AsmLocTask
    from slowfast_gta.engine.logging import setup_logging
    from slowfast_gta.run import load_place, train_and_test

    setup_logging()
    for cfg in load_configs(args, extra=EXTENSION):
        if args.released:
            run_released(cfg, args.released)
            continue
        place = load_place(cfg)
        last = train_and_test(cfg, place, AsmLocTask.from_cfg)
        if place.is_main:
            logger.info("Run outputs: %s", last.resolve())
    return 0
