"""The network that describes the frames of the made world: one of slowfast_gta, trained by the core's own run to name
SHAPES, on videos of its own. It knows nothing of summaries, of words, or of the world's videos."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from a2summ.world_videos import SHAPES, render
from slowfast_gta import load_config

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "WorldNetwork.yaml"
_SEED = 1_000_003  # no world's


def train_world_network(root: Path, clips_per_shape: int = 40, overrides: Sequence = ()) -> tuple[Path, Path]:
    """ROOT/clips and ROOT/run -> (its config, its weights). What is there already is kept."""
    from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
    from slowfast_gta.run import build_launch_context, train_and_test

    for split, number in (("train", clips_per_shape), ("val", max(1, clips_per_shape // 4))):
        for label, shape in enumerate(SHAPES):
            folder = root / "clips" / split / shape
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(number):
                path = folder / f"{index:03d}.mp4"
                if not path.exists():
                    render(path, [shape], np.random.default_rng((_SEED, split == "val", label, index)))
    given = ["DATA.PATH_TO_DATA_DIR", str(root / "clips"), "OUTPUT_DIR", str(root / "run"), *overrides]
    cfg = load_config(CONFIG, given)
    output = train_and_test(cfg, build_launch_context(cfg))
    return output / "config.yaml", list_checkpoints(output)[-1][1]
