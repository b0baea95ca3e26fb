"""The authors' checkpoints tested as the chain that they are: each step's proposals feed the next."""

import logging
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from slowfast_gta.engine.device import device_from_cfg
from slowfast_gta.engine.evaluation.results import write_results
from slowfast_gta.errors import WeightsError

from .config import DataFiles, check_data_keys, settings_from_cfg, tiou_from_cfg
from .datasets import VideoSet
from .evaluation import evaluation_of, find
from .loading import TestLoader
from .network import ASMLoc
from .pictures import save_pages
from .refinement import propose_all
from .released import load_released
from .settings import Settings

logger = logging.getLogger("slowfast_gta")


def released_files(folder: Path) -> list[Path]:
    """model_step{0, 1, ...}_last_epoch.pth; of the last step, _best_epoch where there is no last."""
    found: list[Path] = []
    while True:
        names = [f"model_step{len(found)}_{kind}_epoch.pth" for kind in ("last", "best")]
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            break
        found.append(path)
    if not found:
        raise WeightsError(f"{folder} has no model_step0_last_epoch.pth: the chain begins with that file.")
    return found


def load_chain(folder: Path, videos: VideoSet, settings: Settings, device: torch.device) -> list[ASMLoc]:
    """The networks of all steps, in evaluation mode."""
    dim, networks = videos.features(0).rows.shape[1], []
    for step, path in enumerate(released_files(folder)):
        network = ASMLoc(dim, len(videos.classes), step > 0, settings.network)
        load_released(network, path)
        networks.append(network.eval().to(device))
        logger.info("Step %d: %s", step, path)
    return networks


def run_released(cfg: CfgNode, folder: Path) -> dict:
    """Test the chain on the test videos; leaves in OUTPUT_DIR what a test of one's own run leaves."""
    check_data_keys(cfg)
    settings = settings_from_cfg(cfg)
    videos = DataFiles.from_cfg(cfg).load()["test"]
    logger.info("%s", videos.summary())
    networks = load_chain(folder, videos, settings, device_from_cfg(cfg))
    proposals = None
    for network in networks[:-1]:
        proposals = propose_all(network, videos, proposals, settings, of_true_classes=False)
    found = find(networks[-1], TestLoader(videos), proposals, settings, cfg.ASM_LOC.NUM_PICTURES)
    facts = {"split": "test", "checkpoint": str(folder), "step": len(networks) - 1, "options": vars(settings.options)}
    evaluation = evaluation_of(found, videos, tiou_from_cfg(cfg), settings, facts)
    output_dir = Path(cfg.OUTPUT_DIR)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_results(output_dir, evaluation.results, evaluation.arrays)
    save_pages(output_dir)
    logger.info("Test: %s.", evaluation.summary)
    return evaluation.results
