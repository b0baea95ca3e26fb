"""Train and test ASM-Loc as configs say, all its steps; or test the checkpoints of its authors.

--released FOLDER trains nothing: model_step*_{last,best}_epoch.pth of the folder are tested as the chain that they are.
All other flags are those of run_net.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from slowfast_gta.commands import run_net
from slowfast_gta.config.arguments import add_config_arguments, load_configs, parse_arguments

_EXAMPLES = """examples:
  python projects/asm_loc/run.py --cfg projects/asm_loc/configs/THUMOS14.yaml ASM_LOC.FEATURES /data/THUMOS14
  python projects/asm_loc/run.py --cfg projects/asm_loc/configs/THUMOS14_as_released.yaml --released checkpoints/

Run the same command again to resume from the newest checkpoint. projects/asm_loc/README.md explains the keys.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when everything was trained and tested."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--released", type=Path)
    found, rest = finder.parse_known_args(arguments)

    from asm_loc.config import EXTENSION
    from asm_loc.task import AsmLocTask

    if found.released is None:
        return run_net.main(rest, EXTENSION, AsmLocTask.from_cfg, description=__doc__, examples=_EXAMPLES)

    from asm_loc.released_chain import run_released
    from slowfast_gta.engine.logging import setup_logging

    parser = argparse.ArgumentParser("run.py --released FOLDER", description=__doc__)
    add_config_arguments(parser)
    setup_logging()
    for cfg in load_configs(parse_arguments(parser, rest), extra=EXTENSION):
        run_released(cfg, found.released)
    return 0
