"""A2Summ as a Task of the core: training, checkpoints, exact resume, several processes and testing are the core's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from a2summ.config import ARTICLE_SETS, VIDEO_SETS, build_loss, model_options
from a2summ.data.articles import load_articles
from a2summ.data.own import load_own, prepare_features
from a2summ.data.summe_tvsum import load_summe_tvsum
from a2summ.evaluation import evaluate_sample, means_of, run_alone, set_seed_of
from a2summ.frames import RATE, PlainDescriptor
from a2summ.loading import SampleLoader, hold_out, with_shuffled_text
from a2summ.losses import SummaryLoss
from a2summ.model import A2Summ, Outputs
from a2summ.network import build_network, digest_from_cfg, name_from_cfg
from a2summ.released import model_of, read_released_state
from a2summ.samples import Batch, Sample
from a2summ.summarizer import FILE_NAME, Inputs, save_summarizer
from a2summ.text_encoder import SentenceEncoder
from slowfast_gta import load_config
from slowfast_gta.distributed import gather, get_rank, get_world_size, is_main
from slowfast_gta.engine.task import Evaluation, Losses, Task
from slowfast_gta.errors import ConfigError, DataError, WeightsError, counted
from slowfast_gta.models.weights.read import load_torch_file

# What a data set's one number is: SumMe's and TVSum's F1 are the maximum and the mean over users.
_SCORES = {"SumMe": "f1_max", "TVSum": "f1_mean", "Own": "f1_mean"}


class LearnedSummarizer(nn.Module):
    """The network and its losses, whose scales learn too. forward: Batch -> {name: loss}."""

    def __init__(self, summarizer: A2Summ, loss: SummaryLoss):
        super().__init__()
        self.summarizer, self.loss = summarizer, loss

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.loss(self.summarizer(batch), batch)

    def outputs(self, batch: Batch) -> Outputs:
        return run_alone(self.summarizer, batch)


class A2SummTask(Task):
    """Summaries of videos and their texts."""

    name = "a2summ"

    def __init__(self, dataset: str, split: int, budget: float, max_iou: float, selected_on_test: bool):
        self.dataset, self.split, self.budget, self.max_iou = dataset, split, budget, max_iou
        self.selected_on_test = selected_on_test
        self.score = _SCORES.get(dataset, "rouge1")
        self.metrics = dict.fromkeys(("loss_video", "loss_text", "loss_inter", "loss_intra"), 4)
        self.options: dict[str, Any] = {}
        self.inputs: Inputs | None = None
        self._digest = ""
        self._samples: dict[str, list[Sample]] = {}

    @classmethod
    def from_cfg(cls, cfg: CfgNode, earlier: Sequence[Path] = ()) -> "A2SummTask":
        node = cfg.A2SUMM
        if node.SPLIT == "all":
            raise ConfigError("A2SUMM.SPLIT is all: projects/a2summ/run.py makes a run of each split.")
        return cls(node.DATASET, node.SPLIT, node.BUDGET, node.NMS_IOU, node.SELECT_ON_TEST)

    # ------------------------------------------------------------------------------------------------------ data

    def check(self, cfg: CfgNode) -> None:
        root = cfg.DATA.PATH_TO_DATA_DIR
        if not root or not Path(root).is_dir():
            raise ConfigError(
                f"DATA.PATH_TO_DATA_DIR is {root!r}, and must be the folder that has {self.dataset}/ in it, or with "
                "A2SUMM.DATASET Own that of your videos. README.md has the layouts."
            )

    def prepare(self, cfg: CfgNode, splits: Sequence[str]) -> None:
        if self.dataset == "Own":
            node = cfg.A2SUMM
            network = PlainDescriptor()
            if node.NETWORK_CFG:
                network = build_network(load_config(node.NETWORK_CFG), node.NETWORK_WEIGHTS)
            prepare_features(Path(cfg.DATA.PATH_TO_DATA_DIR), network, SentenceEncoder(node.TEXT_ENCODER or None))
        self._load(cfg)

    def build_loader(self, cfg: CfgNode, split: str) -> SampleLoader:
        samples = self._load(cfg)
        loader = SampleLoader(samples[split], cfg.TRAIN.BATCH_SIZE, cfg.RNG_SEED, get_rank(), get_world_size())
        if split == "train":
            self._digest = loader.digest
        return loader

    def _load(self, cfg: CfgNode) -> dict[str, list[Sample]]:
        """{"train", "val", "test"}, read once."""
        if self._samples:
            return self._samples
        root, node = cfg.DATA.PATH_TO_DATA_DIR, cfg.A2SUMM
        if self.dataset in VIDEO_SETS:
            parts = load_summe_tvsum(root, self.dataset, self.split)
        elif self.dataset in ARTICLE_SETS:
            parts = {part: load_articles(root, self.dataset, part) for part in ("train", "test")}
        else:
            self.inputs = _own_inputs(cfg)
            parts = load_own(root, self.inputs.network_digest, self.inputs.encoder_digest, self.split, self.budget)
        if node.SHUFFLE_TEXT:
            parts = {part: with_shuffled_text(samples, cfg.RNG_SEED) for part, samples in parts.items()}
        for part, samples in parts.items():
            if not samples:
                raise DataError(f"{root}: {self.dataset} has no samples in its split {part}.")
        train, held = hold_out(parts["train"], node.VAL_SHARE, cfg.RNG_SEED)
        # without a share for validation, its figures are those of the training samples, and choose nothing
        val = parts["test"] if node.SELECT_ON_TEST else held or train
        self._samples = {"train": train, "val": val, "test": parts["test"]}
        first = train[0]
        self.options = model_options(cfg, first.frames.shape[1], first.sentences.shape[1])
        return self._samples

    # --------------------------------------------------------------------------------------------------- network

    def build_model(self, cfg: CfgNode, starting: bool = True) -> LearnedSummarizer:
        self._load(cfg)
        model = LearnedSummarizer(A2Summ(**self.options), build_loss(cfg))
        if starting and cfg.TRAIN.CHECKPOINT_FILE_PATH:
            self.load_weights(cfg, model, cfg.TRAIN.CHECKPOINT_FILE_PATH)
        return model

    def loss(self, model: nn.Module, batch: Batch) -> Losses:
        parts = model(batch)
        if not batch.num_samples:
            return Losses(0 * parts["loss"])
        sums = {name: batch.num_samples * parts[name].item() for name in self.metrics if name in parts}
        return Losses(parts["loss"], sums)

    def load_weights(self, cfg: CfgNode, model: nn.Module, path: str | Path) -> str:
        """A checkpoint of ours, or one of the authors' (A2SUMM.AS_RELEASED True)."""
        path = Path(path)
        if path.suffix == ".pt":
            if not self.options["shared_layers"]:  # some of its slips show in no shape
                raise WeightsError(f"{path}: is one of the authors' files, which need A2SUMM.AS_RELEASED True.")
            released = model_of(read_released_state(path), str(path))
            state = {f"summarizer.{name}": value for name, value in released.state_dict().items()}
            state |= {f"loss.{name}": value for name, value in model.loss.state_dict().items()}
        else:
            state = load_torch_file(path).get("model_state")
        if not isinstance(state, dict):
            raise WeightsError(
                f"{path}: this is neither a checkpoint of this codebase (.pyth) nor of A2Summ's authors (.pt)."
            )
        try:
            model.load_state_dict(state)
        except RuntimeError as fault:
            reason = " ".join(str(fault).split())[:300]
            raise WeightsError(f"{path}: is of another network than the config describes. {reason}") from None
        return str(path)

    def describe(self, cfg: CfgNode) -> str:
        return f"A2Summ, {counted(cfg.A2SUMM.NUM_LAYERS, 'layer')} of {cfg.A2SUMM.DIM}, {self.dataset}"

    # ------------------------------------------------------------------------------------------------ evaluation

    def evaluate(self, model: nn.Module, loader: SampleLoader, split: str) -> Evaluation | None:
        device = next(model.parameters()).device
        rows, scores = {}, {}
        for sample, batch in loader:
            outputs = model.outputs(batch.to(device))
            rows[sample.id] = evaluate_sample(sample, outputs, self.budget, self.max_iou, set_seed_of(sample.id))
            scores[sample.id] = outputs.video.logits[0].float().cpu().numpy()
        gathered = gather((rows, scores))
        if not is_main():
            return None
        by_id = {name: row for part, _ in gathered for name, row in part.items()}
        by_id = {sample.id: by_id[sample.id] for sample in loader.samples}
        return self._evaluation(by_id, {name: value for _, part in gathered for name, value in part.items()})

    def _evaluation(self, rows: dict[str, dict], scores: dict[str, np.ndarray]) -> Evaluation:
        means = means_of(list(rows.values()))
        results = {"dataset": self.dataset, "num_videos": len(rows), "selected_on_test": self.selected_on_test}
        if self.dataset in _SCORES:
            results["split_number"] = self.split
        chance = f"chance_{self.score}"
        summary = (
            f"{self.score} {means[self.score]:.2f} ({counted(len(rows), 'sample')}), random scores {means[chance]:.2f}"
        )
        constant = sum(value for name, value in means.items() if name.endswith("num_constant"))
        remarks = (f"Left out, since constant references have no rank: {constant}.",) if constant else ()
        metrics = {name: value for name, value in means.items() if not np.isnan(value)}
        order = list(rows)
        arrays = {
            "video_id": np.array(order),
            "num_frames": np.array([len(scores[name]) for name in order]),
            "frame_logits": np.concatenate([scores[name] for name in order]),
        }
        means = {name: None if np.isnan(value) else value for name, value in means.items()}
        clean = {video: {k: None if np.isnan(v) else v for k, v in row.items()} for video, row in rows.items()}
        return Evaluation({**results, **means, "per_video": clean}, arrays, metrics, summary, remarks)

    # ----------------------------------------------------------------------------------------------- checkpoints

    def origin(self, cfg: CfgNode) -> dict[str, Any]:
        return {"samples": self._digest, "split": self.split}

    def artefacts(self, model: nn.Module, folder: Path) -> bool:
        """summarizer.pth, for `summarize --weights`, where the features are ones that we can compute ourselves."""
        if self.inputs is None:
            return False
        if is_main():
            save_summarizer(folder / FILE_NAME, model.summarizer.cpu(), self.options, self.inputs)
        return True


def _own_inputs(cfg: CfgNode) -> Inputs:
    """Which network and encoder one's own data are seen with."""
    node = cfg.A2SUMM
    encoder = SentenceEncoder(node.TEXT_ENCODER or None)
    common = (encoder.name, encoder.digest, encoder.dim, RATE)
    if not node.NETWORK_CFG:
        return Inputs(PlainDescriptor.name, PlainDescriptor.digest, PlainDescriptor.dim, *common)
    network_cfg = load_config(node.NETWORK_CFG)
    weights = str(Path(node.NETWORK_WEIGHTS).resolve())
    name, digest = name_from_cfg(network_cfg), digest_from_cfg(network_cfg, weights)
    return Inputs(name, digest, 0, *common, network_cfg.dump(), weights)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation over the splits."""
    known = torch.tensor(list(values), dtype=torch.float64)
    return float(known.mean()), float(known.std()) if len(known) > 1 else float("nan")
