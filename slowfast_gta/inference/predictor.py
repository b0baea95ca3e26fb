"""The most likely classes of any video file."""

from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta.class_names import ClassNames
from slowfast_gta.datasets.build import DATASET_REGISTRY
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.engine.device import Normalize, build_normalize, device_from_cfg, device_of
from slowfast_gta.engine.outputs import side_by_side
from slowfast_gta.errors import DataError
from slowfast_gta.loading.clips import TestViews
from slowfast_gta.loading.loader import build_frame_pattern
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform
from slowfast_gta.models.build import build_model
from slowfast_gta.models.fold import fold_batch_norms
from slowfast_gta.models.packed import pack_
from slowfast_gta.models.weights.load import load_weights_for


@dataclass
class Predictor:
    """A network that is asked about one file at a time, with the views of a test."""

    model: nn.Module
    normalize: Normalize
    views: TestViews
    class_names: ClassNames
    batch_size: int

    @torch.no_grad()
    def __call__(self, path: str | Path, k: int = 5) -> list[dict]:
        """[{"class", "label", "probability"}] of the k most likely classes. Raises DataError where it is no video.

        With several outputs, of the k most likely combinations: {"class": "open door", "label": [2, 8], ...}.
        """
        answers = self.scores(VideoRecord(str(path), 0, str(path)))
        if isinstance(self.class_names, dict):
            return self._combinations(answers, k)
        top = answers.topk(min(k, len(answers)))
        return [
            {"class": self.class_names[label], "label": label, "probability": round(value, 6)}
            for value, label in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]

    @torch.no_grad()
    def scores(self, record: VideoRecord) -> torch.Tensor:
        """(K,): the probability of each class, all outputs side by side, the mean over the views of a video, or of a
        part of one. Raises DataError where it cannot be read."""
        self.views.records = [record]
        item = self.views[0]
        if item.frames is None:
            raise DataError(item.errors[0].reason)
        parts, device = item.frames.split(self.batch_size), device_of(self.model)
        views = [side_by_side(self.model(self.normalize(part.to(device)))) for part in parts]
        return torch.cat(views).float().mean(0)

    def _combinations(self, answers: torch.Tensor, k: int) -> list[dict]:
        """The same for the products of what each output gives its classes; `answers` has them side by side."""
        assert isinstance(self.class_names, dict), "with several outputs"
        names = list(self.class_names.values())
        outputs = answers.cpu().split([len(of_output) for of_output in names])
        products = reduce(lambda table, one: table[..., None] * one, outputs)
        top = products.flatten().topk(min(k, products.numel()))
        labels = torch.stack(torch.unravel_index(top.indices, products.shape), dim=1).tolist()
        return [
            {
                "class": " ".join(of_output[one] for of_output, one in zip(names, combination, strict=True)),
                "label": combination,
                "probability": round(value, 6),
            }
            for value, combination in zip(top.values.tolist(), labels, strict=True)
        ]


def build_predictor(cfg: CfgNode, weights: str | Path) -> Predictor:
    """The network of `cfg` with `weights`, the views of cfg.TEST, and the names of its classes."""
    device = device_from_cfg(cfg)
    model = build_model(cfg)
    report = load_weights_for(cfg, model, weights, fine_tune=False)
    views = TestViews(
        [],
        ClipSampling.from_cfg(cfg),
        TestTransform.from_cfg(cfg, cfg.TEST.NUM_SPATIAL_CROPS),
        cfg.TEST.NUM_ENSEMBLE_VIEWS,
    )
    views.frame_pattern = build_frame_pattern(cfg)
    return Predictor(
        pack_(fold_batch_norms(model)).to(device),
        build_normalize(cfg),
        views,
        report.class_names or class_names_from_cfg(cfg),
        cfg.TEST.BATCH_SIZE,
    )


def class_names_from_cfg(cfg: CfgNode) -> ClassNames:
    """The data set's class names, for weights that do not carry them; "class 17" where its folder is not given."""
    if cfg.DATA.PATH_TO_DATA_DIR:
        return DATASET_REGISTRY.find(cfg.TEST.DATASET, "TEST.DATASET").from_cfg(cfg).class_names()
    classes = cfg.MODEL.NUM_CLASSES
    if isinstance(classes, list):
        outputs = zip(cfg.MODEL.OUTPUTS, classes, strict=True)
        return {output: [f"{output} {label}" for label in range(count)] for output, count in outputs}
    return [f"class {label}" for label in range(classes)]
