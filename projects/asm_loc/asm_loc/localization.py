"""A trained run on new videos: the chain of its steps, and features by the network that made the run's own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from slowfast_gta.config.load import load_config
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints
from slowfast_gta.engine.device import device_from_cfg
from slowfast_gta.errors import ConfigError, DataError, WeightsError
from slowfast_gta.inference.extraction import build_feature_folder, settings_of
from slowfast_gta.inference.features import FeatureExtractor, build_feature_extractor
from slowfast_gta.models.weights.read import load_torch_file

from .config import EXTENSION, settings_from_cfg
from .features import SHARED_KEYS, Features, timed_features
from .network import ASMLoc
from .refinement import VideoOutput, propose, run_on_video, segments_of
from .released import load_weights_into
from .segments import Segments
from .settings import Settings


@dataclass(frozen=True)
class Localized:
    """The outputs of the last network for a video: all detections, and what led to them."""

    detections: Segments
    output: VideoOutput
    proposals: Segments | None  # that the last network was given; None where it is the base network


@dataclass(frozen=True)
class Chain:
    """The networks of a run's steps, in evaluation mode. `made_by`: what its features said of themselves."""

    networks: list[ASMLoc]
    settings: Settings
    classes: list[str]
    made_by: dict[str, str]

    def __call__(self, features: Features) -> Localized:
        """Detections in one video. Raises DataError where its features have other channels."""
        dim = self.networks[0].embed.weight.shape[1]
        if features.rows.shape[1] != dim:
            raise DataError(f"The features have {features.rows.shape[1]} channels, but the run was trained on {dim}.")
        proposals = None
        for network in self.networks[:-1]:
            proposals = propose(network, features, proposals, self.settings)
        output = run_on_video(self.networks[-1], features, proposals, self.settings)
        found = segments_of(output, features, self.settings, self.settings.proposals.detection_sweeps)
        return Localized(found, output, proposals)


def load_run(folder: Path, trust_plugins: bool = False) -> Chain:
    """The newest checkpoints of all steps of a run, by its OUTPUT_DIR or that of a step. Raises UserError.

    trust_plugins: as of load_config.
    """
    steps: dict[int, tuple[Path, dict]] = {}
    inside = [folder, *sorted(path for path in folder.glob("*/") if path.is_dir())]
    if list_checkpoints(folder) and _step_of(_content(folder)[1]):
        inside = sorted(path for path in folder.resolve().parent.glob("*/") if path.is_dir())
    for stage in inside:
        if list_checkpoints(stage):
            path, content = _content(stage)
            if (step := _step_of(content)) is not None:
                steps.setdefault(step, (path, content))
    if sorted(steps) != list(range(len(steps))) or not steps:
        raise WeightsError(
            f"{folder} is not a run of ASM-Loc with all of its steps (found: {sorted(steps) or 'none'}). Name the "
            "OUTPUT_DIR of a training."
        )
    config = steps[len(steps) - 1][0].parent.parent / "config.yaml"
    cfg = load_config(config, ["NUM_GPUS", "auto"], EXTENSION, trust_plugins)
    return _build_chain(cfg, [steps[number] for number in range(len(steps))])


def _step_of(content: dict) -> int | None:
    """Of a checkpoint of ASM-Loc; other trainings count steps too, but know of no features."""
    return content["step"] if isinstance(content.get("features"), dict) else None


def _content(folder: Path) -> tuple[Path, dict]:
    path = list_checkpoints(folder)[-1][1]
    return path, load_torch_file(path)


def _build_chain(cfg: CfgNode, checkpoints: list[tuple[Path, dict]]) -> Chain:
    settings, device, networks = settings_from_cfg(cfg), device_from_cfg(cfg), []
    _, last = checkpoints[-1]
    for step, (path, content) in enumerate(checkpoints):
        if content.get("class_names") != last["class_names"] or content.get("features") != last.get("features"):
            raise WeightsError(f"{path} was trained on other classes or features than the last step of the run.")
        dim = content["model_state"]["embed.weight"].shape[1]
        network = ASMLoc(dim, len(last["class_names"]), step > 0, settings.network)
        load_weights_into(network, path)
        networks.append(network.eval().to(device))
    made_by = {str(key): str(value) for key, value in (last.get("features") or {}).items()}
    return Chain(networks, settings, list(last["class_names"]), made_by)


def build_extractor(cfg: CfgNode, weights: Path, made_by: dict[str, str]) -> FeatureExtractor:
    """The extractor of the features that a run was trained on (`made_by`), from the network's config and weights.

    Raises ConfigError where the run's features are not of tools/extract_features.py, DataError where this network, its
    weights or its crops are others.
    """
    if "network" not in made_by:
        raise ConfigError(
            "The run was trained on a pack of features, which does not record how they were made: only runs on "
            "features of tools/extract_features.py (ASM_LOC.FORMAT extracted) can localize in new videos."
        )
    fps = made_by.get("fps", "None")
    extractor = build_feature_extractor(
        cfg,
        weights,
        made_by["layer"],
        made_by["pool"],
        window=made_by["window"],
        stride=made_by["stride"],
        fps=None if fps == "None" else float(fps),
        tail=made_by.get("tail", "repeat"),
        num_crops=int(made_by.get("crops", 1)),
        mirror=made_by.get("mirror") == "True",
    )
    found = settings_of(extractor, build_feature_folder(Path(), "npz", "float32"))
    for key in SHARED_KEYS:
        if key in made_by and str(found[key]) != made_by[key]:
            raise DataError(
                f'"{key}" of this network\'s features is {found[key]}, but the run was trained on features with '
                f"{made_by[key]}. Name the network that made them, and its weights."
            )
    return extractor


def features_of(extractor: FeatureExtractor, video: str) -> Features:
    """Raises DataError where the video cannot be read."""
    found = extractor(video)
    return timed_features(found.rows, found.times, video)


def clearest(detections: Segments, min_score: float) -> Segments:
    """Of each class, best first, those that reach `min_score` and overlap no better one; then in the order of time.

    Detections are many: one for each threshold, so that each tIoU finds its own. This is what a person wants to see.
    """
    ranked, kept = detections.best_first(), []
    for index in range(len(ranked)):
        same = [k for k in kept if ranked.label[k] == ranked.label[index]]
        free = all(ranked.end[index] <= ranked.start[k] or ranked.start[index] >= ranked.end[k] for k in same)
        if ranked.score[index] >= min_score and free:
            kept.append(index)
    chosen = ranked[np.array(kept, np.int64)]
    return chosen[np.lexsort((chosen.label, chosen.start))]
