"""demo: make real videos, train R2D and R2D+GTA on them with one recipe, test both, show the difference."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from slowfast_gta.config.arguments import CommandParser
from slowfast_gta.errors import counted

logger = logging.getLogger("slowfast_gta")

CONFIGS = {"R2D": "configs/Synthetic/R2D.yaml", "R2D + GTA": "configs/Synthetic/R2D_GTA.yaml"}

_EXAMPLES = """examples:
  python tools/demo.py
  python tools/demo.py --output runs/demo_bf16 TRAIN.MIXED_PRECISION True
  python tools/demo.py --output runs/try SOLVER.MAX_EPOCH 1

Run the same command again to resume. README.md shows what it prints.
"""

_MEANING = """
top-1         the highest score is the true class's
inside pairs  of the true class and the same action played backwards, the true one scores higher: 50 % is a coin toss
right pair    the highest score is the true class's or that of the same action played backwards
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when both networks are trained and tested."""
    parser = CommandParser("demo", description=__doc__, epilog=_EXAMPLES)
    parser.add_argument(
        "--output", default="runs/demo", metavar="DIR", help="where everything goes (default: %(default)s)"
    )
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="config keys for both networks, for example SOLVER.MAX_EPOCH 2"
    )
    args = parser.parse_args(arguments)

    from slowfast_gta.config.load import load_config
    from slowfast_gta.engine.logging import setup_logging

    setup_logging()
    output = Path(args.output)
    configs = {}
    for name, path in CONFIGS.items():
        where = ["OUTPUT_DIR", str(output / Path(path).stem), "DATA.PATH_TO_DATA_DIR", str(output / "videos")]
        configs[name] = load_config(path, [*where, *args.opts])

    from slowfast_gta.run import build_data, train_and_test

    begin = time.perf_counter()
    build_data(configs["R2D"])
    logger.info("The videos are in %s (%.0f s).", output / "videos", time.perf_counter() - begin)
    rows = {}
    for name, cfg in configs.items():
        logger.info("== %s", name)
        begin = time.perf_counter()
        train_and_test(cfg)
        results = json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text())
        rows[name] = results | {"total_seconds": time.perf_counter() - begin}
    print(_table(rows))
    for what, path in _draw(configs, output).items():
        print(f"{what}: {path}")
    return 0


def _table(rows: dict[str, dict]) -> str:
    lines = [f"{'':<12}{'top-1':>8}{'inside pairs':>14}{'right pair':>12}{'seconds':>9}"]
    for name, results in rows.items():
        pairs = results["pairs"]
        line = f"{name:<12}{results['top1']:>7.1f}%{pairs['choice']:>13.1f}%{pairs['right_pair']:>11.1f}%"
        lines.append(f"{line}{results['total_seconds']:>9.0f}")
    count = next(iter(rows.values()))["num_videos"]
    return "\n".join(["", *lines, f"{counted(count, 'test video')}.", _MEANING])


def _draw(configs: dict, output: Path) -> dict[str, Path]:
    """The pictures that the demo leaves, by what they show; none, which is logged, without matplotlib."""
    from slowfast_gta.engine.classification import Classification
    from slowfast_gta.engine.evaluation.test import load_test_weights
    from slowfast_gta.inference.explaining.matrices import build_initial_network
    from slowfast_gta.models import build_model
    from slowfast_gta.reports.confusion import draw_confusion
    from slowfast_gta.reports.global_matrices import draw_global_matrices, temporal_matrices
    from slowfast_gta.reports.style import has_matplotlib, not_drawn, save_picture

    if not has_matplotlib():
        logger.warning("%s", not_drawn(f"{output}: what the networks learned"))
        return {}
    cfg = configs["R2D + GTA"]
    model = build_model(cfg)
    load_test_weights(cfg, Classification.from_cfg(cfg), model)
    initial = temporal_matrices(build_initial_network(cfg))
    matrices, confusion = output / "global_matrices.png", output / "confusion.png"
    save_picture(matrices, draw_global_matrices(model, initial))
    save_picture(confusion, draw_confusion([run_cfg.OUTPUT_DIR for run_cfg in configs.values()], list(configs)))
    return {"Global temporal matrices": matrices, "Confusion matrices": confusion}
