"""Classification of videos, the first Task: clips in, one class of each output, the mean over a video's views."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_gta.class_names import check_classes, fingerprint, plain_class_names
from slowfast_gta.config.check import check_data_paths
from slowfast_gta.datasets.build import build_dataset
from slowfast_gta.datasets.cleaned import describe_mark, read_mark
from slowfast_gta.datasets.records import VideoDataset
from slowfast_gta.engine.device import Normalize, build_normalize, device_from_cfg
from slowfast_gta.engine.evaluation.results import (
    backwards_scores,
    format_summary,
    mean_loss,
    order_results,
    result_arrays,
    scalar_metrics,
    summarize,
    video_arrays,
)
from slowfast_gta.engine.evaluation.score import Scores, score_videos
from slowfast_gta.engine.outputs import concat_heads, cross_entropy, num_correct
from slowfast_gta.engine.precision import (
    LOWER,
    Rounding,
    check_precision,
    in_precision,
    num_classes_from_cfg,
    precision_dtype,
)
from slowfast_gta.engine.task import Evaluation, Losses, Task
from slowfast_gta.engine.teacher import Teacher, build_teacher
from slowfast_gta.errors import WeightsError
from slowfast_gta.loading.batch import VIDEO_COUNTS, Batch
from slowfast_gta.loading.check import check_splits
from slowfast_gta.loading.loader import ClipLoader, build_test_loader, build_train_loader
from slowfast_gta.loading.shared_memory import check_shared_memory
from slowfast_gta.models.build import build_model
from slowfast_gta.models.fold import fold_batch_norms
from slowfast_gta.models.packed import prepack_convs_
from slowfast_gta.models.weights.load import check_weights, load_weights_for
from slowfast_gta.models.weights.report import WeightsReport

logger = logging.getLogger("slowfast_gta")


def check_test_weights(cfg: CfgNode, class_names: list[str] | dict[str, list[str]]) -> None:
    """Raises WeightsError, before a training rather than after it, where TEST.CHECKPOINT_FILE_PATH cannot be tested."""
    with torch.device("meta"):
        network = build_model(cfg)
    report = check_weights(cfg, network, cfg.TEST.CHECKPOINT_FILE_PATH, fine_tune=False)
    if not report.fits:
        raise WeightsError(f"TEST.CHECKPOINT_FILE_PATH: {report.fault()}")
    policy = "keep" if cfg.TRAIN.CHECKPOINT_OTHER_CLASSES == "keep" else "refuse"
    check_classes(report.class_names, class_names, policy, f"TEST.CHECKPOINT_FILE_PATH {report.path}")


class Classification(Task):
    """Videos of a data set, each of one class (or one of each output)."""

    name = "classification"
    metrics = {"top1": 3}
    counts = (*VIDEO_COUNTS, "repeated_frames")
    score = "top1"

    def __init__(
        self,
        normalize: Normalize,
        clip_shape: tuple[int, int, int],
        label_smoothing: float,
        batch_size: int,
        num_views: int,
        dataset_name: str,
        head_act: str = "softmax",
        precision: str = "float32",
        num_classes: Sequence[int] = (),
        backwards: bool = False,
    ):
        """`clip_shape`: T, H, W of a training clip; `batch_size`: views at a time in evaluation; `num_views` of a video
        in testing; `dataset_name`: what results.json calls the data tested; `head_act`: MODEL.HEAD_ACT;
        `precision`: of the network in testing; `num_classes`: K of each output; `backwards`: test every clip
        backwards too."""
        self.normalize, self.clip_shape, self.label_smoothing = normalize, clip_shape, label_smoothing
        self.batch_size, self.num_views, self.dataset_name = batch_size, num_views, dataset_name
        self.head_act, self.precision, self.num_classes = head_act, precision, list(num_classes)
        self.backwards = backwards
        self._rounding: Rounding | None = None
        self.teacher: Teacher | None = None
        self._dataset: VideoDataset | None = None

    @classmethod
    def from_cfg(cls, cfg: CfgNode, earlier: Sequence[Path] = ()) -> "Classification":
        """The task of a config; `earlier` stages leave weights, which the config names."""
        size = cfg.DATA.TRAIN_CROP_SIZE
        return cls(
            build_normalize(cfg),
            (cfg.DATA.NUM_FRAMES, size, size),
            cfg.TRAIN.LABEL_SMOOTHING,
            cfg.TEST.BATCH_SIZE,
            cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS,
            cfg.TEST.DATASET,
            cfg.MODEL.HEAD_ACT,
            cfg.TEST.PRECISION,
            num_classes_from_cfg(cfg),
            cfg.TEST.BACKWARDS,
        )

    # ------------------------------------------------------------------------------------------------------ data

    def check(self, cfg: CfgNode) -> None:
        check_data_paths(cfg, [])

    def prepare(self, cfg: CfgNode, splits: Sequence[str]) -> None:
        check_data_paths(cfg, splits)
        check_shared_memory(cfg, splits)
        check_splits(cfg, splits)
        if "test" in splits:
            check_precision(cfg.TEST.PRECISION, device_from_cfg(cfg))
        if "train" in splits and "test" in splits and cfg.TEST.CHECKPOINT_FILE_PATH:
            check_test_weights(cfg, build_dataset(cfg, "test").class_names())

    def build_loader(self, cfg: CfgNode, split: str) -> ClipLoader:
        if split != "val" or self._dataset is None:
            self._dataset = build_dataset(cfg, split)
        if split == "train":
            return build_train_loader(cfg, self._dataset)
        return build_test_loader(cfg, split, self._dataset)

    @property
    def dataset(self) -> VideoDataset:
        """That of the loader that was built last."""
        if self._dataset is None:
            raise RuntimeError("build_loader comes first: it knows the data set")
        return self._dataset

    # ----------------------------------------------------------------------------------------------------- network

    def build_model(self, cfg: CfgNode, starting: bool = True) -> nn.Module:
        network = build_model(cfg)
        if starting and cfg.TRAIN.CHECKPOINT_FILE_PATH:
            names = self.dataset.class_names()
            load_weights_for(cfg, network, cfg.TRAIN.CHECKPOINT_FILE_PATH, fine_tune=True, class_names=names)
        return network

    def start(self, cfg: CfgNode, model: nn.Module) -> None:
        if cfg.TRAIN.TEACHER_FILE_PATH:
            self.teacher = build_teacher(cfg, model)

    def blank(self, cfg: CfgNode) -> Tensor:
        return torch.empty(1, 3, *self.clip_shape, device="meta")

    def loss(self, model: nn.Module, batch: Batch) -> Losses:
        clips = self._clips(model, batch)
        logits = model(clips)
        if not batch.num_samples:
            return Losses(0 * concat_heads(logits).float().sum())
        total = cross_entropy(logits, batch.label, self.label_smoothing)
        if self.teacher is not None:
            total = total + self.teacher.loss(clips)
        return Losses(total, {"top1": 100.0 * num_correct(logits, batch.label)})

    def forward(self, model: nn.Module, batch: Batch) -> None:
        model(self._clips(model, batch))

    def _clips(self, model: nn.Module, batch: Batch) -> Tensor:
        """Normalised (B, 3, T, H, W); where no video could be read, one clip of the mean colour."""
        if batch.frames is None:
            return torch.zeros(1, 3, *self.clip_shape, device=next(model.parameters()).device)
        return self.normalize(batch.frames)

    def eval_form(self, model: nn.Module) -> nn.Module:
        exact = prepack_convs_(fold_batch_norms(model))
        if self.precision not in LOWER:
            return exact
        self._rounding = Rounding(self.precision, exact, self.num_classes)
        # Folded before it is rounded: what is rounded is rounded once.
        return prepack_convs_(in_precision(fold_batch_norms(model), precision_dtype(self.precision)))

    def load_weights(self, cfg: CfgNode, model: nn.Module, path: str | Path) -> str:
        return str(self.load_report(cfg, model, path).path)

    def load_report(self, cfg: CfgNode, model: nn.Module, path: str | Path) -> WeightsReport:
        """All weights of `path`, which must be for the classes of the data set."""
        names = self._dataset.class_names() if self._dataset else None
        return load_weights_for(cfg, model, path, fine_tune=False, class_names=names)

    # -------------------------------------------------------------------------------------------------- evaluation

    def evaluate(self, model: nn.Module, loader: ClipLoader, split: str) -> Evaluation | None:
        """With one centre view of each video in validation, with all of TEST's views in testing."""
        num_views = self.num_views if split == "test" else 1
        title = "testing" if split == "test" else "validation"
        rounding = self._rounding if split == "test" else None
        per_video = score_videos(model, loader, self.normalize, self.batch_size, num_views, title, rounding)
        back = None
        if split == "test" and self.backwards:
            title = "testing, backwards"
            back = score_videos(model, loader, self.normalize, self.batch_size, num_views, title, backwards=True)
        return None if per_video is None else self._evaluation(per_video, split, back)

    def _evaluation(self, per_video: Scores, split: str, back: Scores | None = None) -> Evaluation:
        """`back`: the scores of the same clips played backwards."""
        names, pairs = self.dataset.class_names(), self.dataset.reversed_pairs()
        results, arrays = summarize(per_video, names, pairs), result_arrays(per_video, names, pairs)
        if back is not None:
            results["order"] = order_results(per_video, back, pairs)
            arrays["backwards_scores"] = backwards_scores(per_video, back)
        if split != "test":  # a test's scores are means over views, and compared by accuracy
            results = {"loss": round(mean_loss(per_video, names, self.head_act), 6)} | results
        else:
            results["precision"] = self.precision
            if self._rounding is not None:
                results["rounding"] = self._rounding.change
            arrays |= video_arrays(per_video.video_ids, self.dataset.records("test"))
        remarks = []
        if alike := per_video.counts.get("num_alike_clips"):
            remarks.append(f"Clips identical to another: {alike}; their videos are too short for so many.")
        if mark := read_mark(self.dataset.data_dir):  # on lists that check_data has shortened
            results["cleaned"] = mark
            remarks.append(f"Tested on {describe_mark(mark)}: not comparable with figures on the published data set.")
        return Evaluation(
            {"dataset": self.dataset_name} | results,
            arrays,
            scalar_metrics(results),
            format_summary(results),
            tuple(remarks),
            tuple(per_video.bad_videos),
        )

    def format_metrics(self, values: Mapping[str, float]) -> str:
        return f"top-1 {values['top1']:.1f} %"

    def describe(self, cfg: CfgNode) -> str:
        return f"{cfg.MODEL.MODEL_NAME} {cfg.MODEL.ARCH}, attention {cfg.ATTENTION.NAME}"

    # -------------------------------------------------------------------------------------------------- checkpoints

    def entries(self) -> dict[str, Any]:
        names = self.dataset.class_names()
        return {"class_names": names, "class_fingerprint": fingerprint(names)}

    def check_resumed(self, cfg: CfgNode, content: Mapping[str, Any]) -> None:
        """Raises WeightsError where the checkpoint was trained on other classes, or in another order."""
        theirs, source = plain_class_names(content.get("class_names")), f"The newest checkpoint in {cfg.OUTPUT_DIR}"
        ours, policy = self.dataset.class_names(), cfg.TRAIN.CHECKPOINT_OTHER_CLASSES
        if note := check_classes(theirs, ours, policy, source):
            logger.warning("%s: %s", source, note)

    def origin(self, cfg: CfgNode) -> dict[str, Any]:
        return {"input": "BGR" if cfg.DATA.REVERSE_INPUT_CHANNEL else "RGB"}
