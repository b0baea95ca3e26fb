"""ASM-Loc as a Task of the engine: each refinement step is a stage with a network of its own, fed with the proposals
that the stage before left as an artefact."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.engine.checkpoint.artefacts import load_artefacts
from slowfast_gta.engine.task import Evaluation, Losses, Task
from slowfast_gta.errors import DataError, RunError, WeightsError, counted

from .annotations import read_json
from .attention import Proposals
from .batches import Batch
from .config import DataFiles, check_data_keys, settings_from_cfg, tiou_from_cfg
from .datasets import VideoSet
from .evaluation import Found, evaluation_of, find
from .loading import TestLoader, TrainLoader
from .losses import losses
from .network import ASMLoc
from .pictures import save_pages
from .refinement import propose
from .released import load_weights_into
from .segments import Segments
from .settings import Settings

logger = logging.getLogger("slowfast_gta")

PROPOSALS = "proposals.json"  # {"classes": [...], "videos": {name: [[label, start, end, score], ...]}}


class AsmLocTask(Task):
    """One step: the base network (no stage before), or the full one, from the proposals of the stage before."""

    name = "asm_loc"
    score = "score"
    counts = (
        *("num_requested", "num_decoded", "num_skipped"),
        *("proposals_outside", "proposals_over_limit"),
    )

    def __init__(
        self, settings: Settings, files: DataFiles, tiou: Sequence[float], num_pictures: int, earlier: Sequence[Path]
    ) -> None:
        self.settings, self.files, self.tiou = settings, files, tuple(tiou)
        self.num_pictures, self.step = num_pictures, len(earlier)
        self.previous = earlier[-1] if earlier else None
        terms = ("foreground", "background", "action_in_background", *(("instance",) if self.step else ()))
        self.metrics = {**dict.fromkeys((f"loss_{name}" for name in terms), 6), "accuracy": 3}
        self._sets: dict[str, VideoSet] | None = None
        self._given: tuple[dict[str, Segments], str] | None = None

    @classmethod
    def from_cfg(cls, cfg: CfgNode, earlier: Sequence[Path] = ()) -> "AsmLocTask":
        """The task of a stage; `earlier`: the output folders of the stages before it."""
        check_data_keys(cfg)
        settings, files = settings_from_cfg(cfg), DataFiles.from_cfg(cfg)
        return cls(settings, files, tiou_from_cfg(cfg), cfg.ASM_LOC.NUM_PICTURES, earlier)

    # ------------------------------------------------------------------------------------------------------ data

    def sets(self) -> dict[str, VideoSet]:
        """The splits, opened once in each process."""
        if self._sets is None:
            self._sets = self.files.load()
        return self._sets

    def proposals(self) -> dict[str, Segments] | None:
        """Of the stage before, {video: Segments}; None in step 0."""
        return self._load_proposals()[0] if self.previous else None

    def _load_proposals(self) -> tuple[dict[str, Segments], str]:
        if self._given is None:
            files, digest = load_artefacts(self.previous)
            if PROPOSALS not in files:
                raise RunError(f"{self.previous} has no {PROPOSALS}: it is not a step of ASM-Loc.")
            document = read_json(files[PROPOSALS])
            if document["classes"] != self.sets()["train"].classes:
                raise DataError(f"The proposals of {self.previous} are for other classes than those of the data.")
            found = {name: Segments.from_rows(rows) for name, rows in document["videos"].items()}
            needed = {a.video for part in self.sets().values() for a in part.videos}
            if lacking := sorted(needed - set(found)):
                raise DataError(
                    f"The proposals of {self.previous} lack {counted(len(lacking), 'video')} of the data, for "
                    f"example {lacking[0]}: the data have changed since; train again in another OUTPUT_DIR."
                )
            self._given = found, digest
        return self._given

    def __getstate__(self) -> dict[str, Any]:
        """Other processes open the files themselves."""
        return {**vars(self), "_sets": None, "_given": None}

    def check(self, cfg: CfgNode) -> None:
        self.sets()

    def prepare(self, cfg: CfgNode, splits: Sequence[str]) -> None:
        sets = self.sets()
        for summary in dict.fromkeys(sets[split].summary() for split in splits):
            logger.info("%s", summary)
        dims = {split: sets[split].features(0).rows.shape[1] for split in ("train", "test")}
        if len(set(dims.values())) > 1:
            raise DataError(
                f"Training features have {counted(dims['train'], 'channel')}, but test features {dims['test']}."
            )

    def build_loader(self, cfg: CfgNode, split: str) -> TrainLoader | TestLoader:
        rank, world_size = distributed.get_rank(), distributed.get_world_size()
        videos = self.sets()[split]
        if split != "train":
            return TestLoader(videos, rank, world_size)
        threads = cfg.DATA_LOADER.NUM_WORKERS
        share = (cfg.TRAIN.BATCH_SIZE, cfg.RNG_SEED, rank, world_size, threads)
        return TrainLoader(videos, self.proposals(), self.settings, *share)

    # ---------------------------------------------------------------------------------------------------- network

    def build_model(self, cfg: CfgNode, starting: bool = True) -> nn.Module:
        train = self.sets()["train"]
        dim = train.features(0).rows.shape[1]
        network = ASMLoc(dim, len(train.classes), bool(self.step), self.settings.network)
        if starting and cfg.TRAIN.CHECKPOINT_FILE_PATH:
            load_weights_into(network, Path(cfg.TRAIN.CHECKPOINT_FILE_PATH))
        return network

    def loss(self, model: nn.Module, batch: Batch) -> Losses:
        if not batch.num_samples:
            return Losses(0 * self._blank(model))
        outputs = model(batch.features, batch.proposals)
        terms = losses(outputs, batch.labels, batch.target, self.settings.loss)
        sums = {f"loss_{name}": float(value.detach().sum()) for name, value in terms.items() if name != "total"}
        threshold = self.settings.proposals.class_threshold
        right = ((outputs.foreground[:, :-1] >= threshold) == batch.labels.bool()).all(1)
        return Losses(terms["total"].mean(), {**sums, "accuracy": 100 * float(right.sum())})

    def _blank(self, model: nn.Module) -> torch.Tensor:
        """The sum of the outputs for one row of zeros, all of its parameters taking part."""
        weight = next(model.parameters())
        rows = torch.zeros(1, 2, weight.shape[1], device=weight.device)
        empty = torch.zeros(1, 1, dtype=torch.long, device=weight.device)
        outputs = model(rows, Proposals(empty, empty - 1) if self.step else None)
        return sum(part.float().sum() for part in outputs if part is not None)

    def load_weights(self, cfg: CfgNode, model: nn.Module, path: str | Path) -> str:
        names = load_weights_into(model, Path(path))
        if names is not None and names != self.sets()["test"].classes:
            raise WeightsError(f"{path} was trained on other classes than those of the data.")
        return str(path)

    def describe(self, cfg: CfgNode) -> str:
        return f"ASM-Loc, step {self.step}, {'full' if self.step else 'base'} network"

    def format_metrics(self, values: Mapping[str, float]) -> str:
        parts = [f"{name} {value:.3f}" for name, value in values.items() if name.startswith("loss_")]
        return f"{', '.join(parts)}, all labels right {values['accuracy']:.1f} %"

    # ------------------------------------------------------------------------------------------------- evaluation

    def evaluate(self, model: nn.Module, loader: TestLoader, split: str) -> Evaluation | None:
        """Detections of this step's network, given the proposals of the step before: the whole chain's answer."""
        was_training = model.training
        model.eval()
        found = Found.merge(distributed.gather(find(model, loader, self.proposals(), self.settings, self.num_pictures)))
        model.train(was_training)
        if not distributed.is_main():
            return None
        facts = {"step": self.step, "options": vars(self.settings.options)}
        if split == "val":
            facts["selected_on"] = "the test set" if self.files.select_on_test else loader.videos.name
        return evaluation_of(found, loader.videos, self.tiou, self.settings, facts)

    def draw(self, output_dir: Path) -> None:
        save_pages(output_dir)

    # ------------------------------------------------------------------------------------------------ checkpoints

    def entries(self) -> dict[str, Any]:
        train = self.sets()["train"]
        made_by = {key: str(value) for key, value in train.source.describe().items()}
        return {"class_names": train.classes, "step": self.step, "features": made_by}

    def check_resumed(self, cfg: CfgNode, content: Mapping[str, Any]) -> None:
        for name, value in self.entries().items():
            if content.get(name) != value:
                raise WeightsError(
                    f'The newest checkpoint in {cfg.OUTPUT_DIR} has "{name}" {content.get(name)}, but this run '
                    f"{value}. Choose another OUTPUT_DIR, or give the data that it was trained on."
                )

    def builds_on(self, model: nn.Module) -> dict[str, str]:
        return {"proposals of the step before": self._load_proposals()[1]} if self.previous else {}

    def artefacts(self, model: nn.Module, folder: Path) -> bool:
        """The proposals on all videos, training ones restricted to their own classes."""
        was_training = model.training
        model.eval()
        own: dict[str, list[list[float]]] = {}
        for split, videos in self._all_videos().items():
            table = videos.labels()
            for index in TestLoader(videos, distributed.get_rank(), distributed.get_world_size()):
                segments = self._propose(model, videos, index)
                if split != "test":
                    segments = segments.of_labels(np.flatnonzero(table[index]).tolist())
                own[videos.videos[index].video] = segments.to_rows()
        model.train(was_training)
        found = distributed.gather(own)
        if distributed.is_main():
            rows = {name: part[name] for part in found for name in part}
            document = {"classes": self.sets()["train"].classes, "videos": dict(sorted(rows.items()))}
            (folder / PROPOSALS).write_text(json.dumps(document), encoding="utf-8")
        return True

    def _all_videos(self) -> dict[str, VideoSet]:
        """Each split once: without held-out videos, "val" is another name of "train" or "test"."""
        sets = self.sets()
        return sets if self.files.val_share else {split: sets[split] for split in ("train", "test")}

    def _propose(self, model: nn.Module, videos: VideoSet, index: int) -> Segments:
        """None at all for a video that cannot be read; training counts it each time that it is asked for."""
        given = self.proposals()
        name = videos.videos[index].video
        try:
            features = videos.features(index)
        except DataError as error:
            logger.warning("No proposals for %s: %s", name, error)
            return Segments.empty()
        return propose(model, features, None if given is None else given[name], self.settings)
