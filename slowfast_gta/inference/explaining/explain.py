"""Everything that can be shown of one clip: an Explainer is a network, an Explanation the arrays and what has none.

explainer = build_explainer(cfg, "gta.pyth")
window = explainer.window("video.mp4", at_sec=1.5)
explanation = explainer.explain(window, Query(40, 25, 3))
for shown in explanation.shown: ...
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.engine.outputs import concat_heads
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.inference.explaining.blocks import as_array, shown_of
from slowfast_gta.inference.explaining.gradcam import grad_cam
from slowfast_gta.inference.explaining.matrices import build_initial_network, initial_matrices, shown_matrices
from slowfast_gta.inference.explaining.shown import (
    Query,
    Shown,
    cell_of,
    frames_of_steps,
    pathway_of,
    short_name,
    strongest_point,
)
from slowfast_gta.inference.network import FEATURES, EvalNetwork, attention_blocks, build_eval_network, watched
from slowfast_gta.inference.reading import Ending, WindowReader
from slowfast_gta.inference.windows import Window, plan_windows
from slowfast_gta.loading.loader import build_frame_pattern
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform
from slowfast_gta.models.attention.gta import GTA
from slowfast_gta.models.build import inserted_blocks
from slowfast_gta.models.weights.load import load_weights_for

Initial = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Explanation:
    """`probabilities`, (K,) of the clip and of the clip backwards; what is shown; what is not, and why."""

    probabilities: np.ndarray
    backwards: np.ndarray
    shown: list[Shown]
    not_shown: list[str]


@dataclass(frozen=True)
class Explainer:
    """A network that is looked into. `initial`: {block: {"pixel", "region": matrices}} of the start of its training."""

    network: EvalNetwork
    reader: WindowReader
    initial: Initial
    no_initial: Mapping[str, Sequence[str]]  # block -> why the start of its matrices is not known

    # -------------------------------------------------------------------------------------------------- what is asked

    def window(self, video: str, at_sec: float = 0.0) -> Window:
        """The first window of a video that ends behind `at_sec`, with its clip. Raises DataError, ConfigError."""
        for item, _ in self.reader(video):
            if isinstance(item, Ending):
                if item.fault is not None:
                    raise item.fault
                raise ConfigError(
                    f"--at {at_sec:g} is past the end of {video}, which is {item.duration_sec:.2f} s long."
                )
            if not item.end_sec <= at_sec:  # NaN, where nobody knows: the first
                return item
        raise DataError(f"{video}: the video has no complete window.")

    def label(self, name: str) -> int:
        """The class `name`, or of that number, among all outputs' side by side. Raises ConfigError."""
        names = self.network.all_class_names
        alike = [label for label, known in enumerate(names) if known.casefold() == name.casefold()]
        if name in names:
            return names.index(name)
        if len(alike) == 1:
            return alike[0]
        if name.isdigit() and int(name) < len(names):
            return int(name)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
        raise ConfigError(
            f"--class {name!r}: there is no such class among {len(names)}. Similar names: {', '.join(near)}."
        )

    def blocks(self, wanted: Sequence[str] = ()) -> list[str]:
        """The attention blocks of these names (s4.1, or in full), or all. Raises ConfigError for one there is not."""
        known = _outermost(inserted_blocks(self.network.model), dict(attention_blocks(self.network.model)))
        if not known and wanted:
            raise ConfigError(f"--block {wanted[0]}: this network ({self.network.name}) has no attention block.")
        chosen = []
        for name in wanted:
            matches = [block for block in known if name in (block, short_name(block))]
            if not matches:
                raise ConfigError(
                    f"--block {name}: there is no such block. This network has "
                    f"{', '.join(short_name(block) for block in known)}."
                )
            chosen += matches
        return chosen if wanted else known

    # ---------------------------------------------------------------------------------------------------- probabilities

    def explain(
        self,
        window: Window,
        query: Query | None = None,
        blocks: Sequence[str] = (),
        labels: Sequence[int] = (),
        layer: str = FEATURES,
    ) -> Explanation:
        """All there is to see of a window's clip. query: None: of each block the point of its largest activation.
        labels: the classes of Grad-CAM; the most likely one (of each output), if none."""
        clip = self.network.inputs(window.clips[0])
        with torch.inference_mode():
            probabilities = self._probabilities(clip)
            backwards = self._probabilities(clip.flip(2))
            shown, not_shown = self._of_blocks(clip, query, self.blocks(blocks))
        shown += self._grad_cams(clip, list(labels) or self._top_labels(probabilities), layer)
        return Explanation(probabilities, backwards, shown, not_shown)

    def _probabilities(self, clip: Tensor) -> np.ndarray:
        return as_array(concat_heads(self.network.model(clip))[0])

    def _top_labels(self, probabilities: np.ndarray) -> list[int]:
        names = self.network.class_names
        if not isinstance(names, dict):
            return [int(probabilities.argmax())]
        ends = np.cumsum([len(of_output) for of_output in names.values()])
        parts = np.split(probabilities, ends[:-1])
        return [int(part.argmax() + end - len(part)) for part, end in zip(parts, ends, strict=True)]

    def _of_blocks(self, clip: Tensor, query: Query | None, names: Sequence[str]) -> tuple[list[Shown], list[str]]:
        model = self.network.model
        shown: list[Shown] = []
        not_shown = [
            f"{short_name(name)}: {why}."
            for name, reasons in self.no_initial.items()
            if name in names
            for why in reasons
        ]

        def look(name: str, block: nn.Module, x: Tensor) -> None:
            of_block = self._of_block(name, block, x, clip, query)
            shown.extend(of_block)
            if not of_block:
                not_shown.append(f"{short_name(name)}: {type(block).__name__} has no maps that can be drawn.")

        with watched([(name, model.get_submodule(name)) for name in names], look):
            model(clip)
        return shown, not_shown

    def _of_block(self, name: str, block: nn.Module, x: Tensor, clip: Tensor, query: Query | None) -> list[Shown]:
        if not isinstance(x, Tensor) or x.ndim != 5:
            return []
        num_frames, *crop = clip.shape[2:]
        frames = frames_of_steps(self.network.model, pathway_of(name), x.shape[2], num_frames)
        point = query or strongest_point(x, frames, (crop[0], crop[1]))
        cell = cell_of(point, frames, (x.shape[3], x.shape[4]), (crop[0], crop[1]))
        shown = shown_of(block, x, cell)
        if isinstance(block, GTA):
            shown += shown_matrices(block, x, self.initial.get(name, {}))
        return [replace(each, block=name, query=point if each.of_point else None, frames=frames) for each in shown]

    def _grad_cams(self, clip: Tensor, labels: Sequence[int], layer: str) -> list[Shown]:
        shown = []
        names = self.network.all_class_names
        for label in labels:
            maps = grad_cam(self.network.model, clip, label, layer)
            for pathway, values in enumerate(maps):
                frames = frames_of_steps(self.network.model, pathway, values.shape[0], clip.shape[2])
                kind = f"gradcam_{label}" + f"_pathway{pathway}" * (len(maps) > 1)
                where = f"{layer}" + (", slow pathway", ", fast pathway")[min(pathway, 1)] * (len(maps) > 1)
                what = f"Grad-CAM of “{names[label]}” at {where}"
                shown.append(Shown(kind, "maps", what, as_array(values)[None], "Grad-CAM", frames=frames))
        return shown


def _outermost(inserted: Mapping[str, nn.Module], with_maps: Mapping[str, nn.Module]) -> list[str]:
    """Names of all blocks, in the order of the network; what AFR adds behind them is none."""
    names = [*with_maps, *(name for name in inserted if name not in with_maps and name != "refine")]
    return sorted(names, key=lambda name: (name.split(".")[0], name))


def build_explainer(
    cfg: CfgNode,
    weights: str | Path,
    window: str | None = None,
    fps: float | None = None,
    initial: str | Path | None = None,
    precision: str = "float32",
) -> Explainer:
    """The network of `cfg` with `weights`, ready to be looked into. window, fps: which clips, as in `predict`.

    initial: weights from before training, for the change of GTA's matrices; without them what RNG_SEED draws, where
    that is their start. Raises ConfigError, WeightsError.
    """
    network = build_eval_network(cfg, weights, batch_size=1, precision=precision)
    if not hasattr(network.model, "features") or not hasattr(network.model, "head"):
        raise ConfigError(
            f"{type(network.model).__name__} has no features(clip) and head(features), which Grad-CAM needs."
        )
    plan = plan_windows(ClipSampling.from_cfg(cfg), window, None, fps)
    crops: Any = TestTransform.from_cfg(cfg, 1)
    reader = WindowReader(plan, crops, build_frame_pattern(cfg), float(cfg.DATA.TARGET_FPS))
    matrices: dict[str, dict[str, np.ndarray]] = {}
    refused: dict[str, list[str]] = {}
    if any(isinstance(module, GTA) for module in network.model.modules()):
        start = build_initial_network(cfg)
        if initial is not None:
            load_weights_for(cfg, start, initial, fine_tune=False)
        matrices, refused = initial_matrices(network.model, start, str(initial or "RNG_SEED"))
    return Explainer(network, reader, matrices, refused)


def pictures_by_name(explanation: Explanation) -> Iterator[tuple[str, Shown]]:
    """(name, shown), no name twice."""
    seen: dict[str, int] = {}
    for shown in explanation.shown:
        seen[shown.name] = seen.get(shown.name, 0) + 1
        yield shown.name + f"_{seen[shown.name]}" * (seen[shown.name] > 1), shown
