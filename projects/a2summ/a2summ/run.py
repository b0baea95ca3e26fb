"""run: train and test A2Summ as a config says, on one split or on all of them, with mean and spread."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from slowfast_gta.config.arguments import CommandParser, add_config_arguments, load_configs, parse_arguments
from slowfast_gta.errors import ConfigError, counted

logger = logging.getLogger("slowfast_gta")

_EXAMPLES = """examples:
  python projects/a2summ/run.py --cfg projects/a2summ/configs/TVSum.yaml DATA.PATH_TO_DATA_DIR data
  python projects/a2summ/run.py --cfg projects/a2summ/configs/TVSum.yaml DATA.PATH_TO_DATA_DIR data A2SUMM.SPLIT 0
  python projects/a2summ/run.py --cfg projects/a2summ/configs/Own.yaml DATA.PATH_TO_DATA_DIR my_videos

Run the same command again to resume from the newest checkpoint of each split.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every split was trained and tested."""
    parser = CommandParser("run", description=__doc__, epilog=_EXAMPLES)
    add_config_arguments(parser)
    args = parse_arguments(parser, arguments)

    from a2summ.config import extension
    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    configs = load_configs(args, extra=extension())
    if len(configs) > 1:
        raise ConfigError(f"run takes one config, but --cfg names {len(configs)} files.")
    run_splits(configs[0])
    return 0


def run_splits(cfg) -> dict:
    """Each split into OUTPUT_DIR/split_N, or a data set without splits into OUTPUT_DIR. -> splits.json, of a test"""
    from a2summ.config import ARTICLE_SETS, extension
    from a2summ.task import A2SummTask, spread
    from slowfast_gta.run import build_launch_context, train_and_test

    context = build_launch_context(cfg)
    if cfg.A2SUMM.SPLIT != "all" or cfg.A2SUMM.DATASET in ARTICLE_SETS:
        configs = [_of_split(cfg, cfg.A2SUMM.SPLIT)]
    else:
        configs = [_of_split(cfg, split, f"split_{split}") for split in range(num_splits(cfg))]
    folders = [train_and_test(one, context, A2SummTask.from_cfg, extension()) for one in configs]
    if not (cfg.TEST.ENABLE and context.is_main):
        return {}
    results = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in folders]
    names = [name for name, value in results[0].items() if isinstance(value, float) and name != "seconds"]
    found = {}
    for name in names:
        values = [result[name] for result in results if result.get(name) is not None]
        mean, deviation = spread(values)
        found[name] = {"mean": mean, "std": None if len(values) < 2 else deviation, "splits": values}
    if len(folders) > 1:
        from slowfast_gta.files import write_whole

        write_whole(Path(cfg.OUTPUT_DIR) / "splits.json", json.dumps(found, indent=1) + "\n")
        for name, row in found.items():
            logger.info(
                "%-32s %7.3f ± %.3f over %s", name, row["mean"], row["std"] or 0.0, counted(len(row["splits"]), "split")
            )
    logger.info("Run outputs: %s", ", ".join(str(folder) for folder in folders))
    return found


def num_splits(cfg) -> int:
    from a2summ.data.annotations import read_splits

    root = Path(cfg.DATA.PATH_TO_DATA_DIR)
    path = (root if cfg.A2SUMM.DATASET == "Own" else root / cfg.A2SUMM.DATASET) / "splits.yml"
    return len(read_splits(path)) if path.exists() or cfg.A2SUMM.DATASET != "Own" else 5


def _of_split(cfg, split, folder: str = ""):
    """The config of one split's run."""
    own = cfg.clone()
    own.defrost()
    own.A2SUMM.SPLIT = 0 if split == "all" else split
    own.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / folder)
    own.freeze()
    return own
