"""run_net: train and test what one or several configs describe."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from slowfast_gta.config.arguments import CommandParser, add_config_arguments, load_configs, parse_arguments
from slowfast_gta.config.extension import Extra
from slowfast_gta.config.paths import check_separate_outputs

if TYPE_CHECKING:
    from slowfast_gta.engine.task import BuildTask

logger = logging.getLogger("slowfast_gta")

_EXAMPLES = """examples:
  python tools/run_net.py --cfg configs/Synthetic/R2D_GTA.yaml
  python tools/run_net.py --cfg configs/SSv1/R2D50_GTA.yaml DATA.PATH_TO_DATA_DIR /data/ssv1 OUTPUT_DIR runs/gta
  python tools/run_net.py --cfg configs/Synthetic/R2D.yaml configs/Synthetic/R2D_GTA.yaml       (one after the other)
  python tools/run_net.py --cfg configs/Synthetic/R2D_GTA.yaml ATTENTION.NAME NL OUTPUT_DIR runs/R2D_NL
  python tools/run_net.py --cfg configs/Synthetic/R2D_GTA.yaml TRAIN.ENABLE False
  on each of two machines: ... --num_shards 2 --shard_id 0 (or 1) --init_method tcp://FIRST_MACHINE:9999

Run the same command again to resume from the newest checkpoint in OUTPUT_DIR. docs/config.md explains the keys.
"""


def main(
    arguments: Sequence[str] | None = None,
    extra: Extra = None,
    build_task: "BuildTask | None" = None,
    description: str | None = __doc__,
    examples: str = _EXAMPLES,
) -> int:
    """Exit code 0 when every config was trained and tested as it says.

    A project's command calls it with its own config section, its Task, and what --help says.
    """
    parser = CommandParser(description=description, epilog=examples)
    add_config_arguments(parser)
    parser.add_argument(
        "--init_method",
        metavar="URL",
        help="rendezvous address of several machines: tcp://HOST:PORT of machine 0 (torchrun and srun set it)",
    )
    parser.add_argument(
        "--num_shards", type=int, metavar="N", help="number of machines (default: NUM_SHARDS of the YAML)"
    )
    parser.add_argument(
        "--shard_id", type=int, metavar="I", help="index of this machine, from 0 (default: SHARD_ID of the YAML)"
    )
    args = parse_arguments(parser, arguments)
    flags = {"NUM_SHARDS": args.num_shards, "SHARD_ID": args.shard_id}
    given = [item for key, value in flags.items() if value is not None for item in (key, value)]

    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    configs = load_configs(args, given, extra)
    check_separate_outputs(configs)
    # Not above: --help and a faulty config need no torch, and answer at once.
    from slowfast_gta.engine.classification import Classification
    from slowfast_gta.run import build_launch_context, files_of, train_and_test

    for cfg in configs:
        context = build_launch_context(cfg, args.init_method)
        last = train_and_test(cfg, context, build_task or Classification.from_cfg, extra)
        if context.is_main:
            logger.info("Run outputs: %s\n%s", last.resolve(), "\n".join(files_of(last)))
    return 0
