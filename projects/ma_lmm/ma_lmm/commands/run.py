"""Train and test MA-LMM as a config says."""

import argparse
import logging
from collections.abc import Sequence

from slowfast_gta.config.arguments import add_config_arguments, load_configs, parse_arguments

logger = logging.getLogger("slowfast_gta")

_EXAMPLES = """examples:
  python projects/ma_lmm/run.py --cfg projects/ma_lmm/configs/Breakfast.yaml MA_LMM.MODEL_DIR instructblip-vicuna-7b \\
    MA_LMM.VIDEO_DIR videos MA_LMM.TRAIN_ANNOTATIONS train.json MA_LMM.TEST_ANNOTATIONS test.json
  torchrun --nproc_per_node 4 projects/ma_lmm/run.py --cfg projects/ma_lmm/configs/COIN.yaml ...

The same command again resumes from the newest checkpoint in OUTPUT_DIR.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every config was trained and tested as it says."""
    parser = argparse.ArgumentParser(
        "run.py", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument("--num_shards", type=int, metavar="N", help="machines that train together")
    parser.add_argument("--shard_id", type=int, metavar="I", help="which of them this is, from 0")
    parser.add_argument("--init_method", metavar="URL", help="where they meet: tcp://HOST:PORT of machine 0")
    args = parse_arguments(parser, arguments)
    flags = {"NUM_SHARDS": args.num_shards, "SHARD_ID": args.shard_id}
    given = [item for key, value in flags.items() if value is not None for item in (key, value)]

    from ma_lmm.config import ma_lmm_config
    from ma_lmm.task import MaLmmTask
    from slowfast_gta.engine.logging import setup_logging
    from slowfast_gta.run import load_place, train_and_test

    setup_logging()
    for cfg in load_configs(args, given, ma_lmm_config()):
        place = load_place(cfg, args.init_method)
        last = train_and_test(cfg, place, MaLmmTask.from_cfg)
        if place.is_main:
            logger.info("Run outputs: %s", last.resolve())
    return 0
