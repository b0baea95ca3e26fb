"""MA-LMM as a Task of the core: a large frozen base, a small part that learns, answers that are generated.

B samples, T frames, S pixels of a side, V samples in all, K classes.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ma_lmm.answering import generate
from ma_lmm.closed_set import log_likelihoods
from ma_lmm.config import memory_rule_from_cfg
from ma_lmm.frames import FrameTransform
from ma_lmm.loader import COUNTS, SampleFrames, SampleLoader, VideoBatch
from ma_lmm.loading import folder_digest, load_processor, load_video_model, read_config, weight_files
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.prompts import IGNORED, PromptBuilder
from ma_lmm.tasks import TASKS
from ma_lmm.tasks.outcome import Answered, evaluation_of
from ma_lmm.tasks.samples import Sample, Videos
from ma_lmm.tasks.video_task import Source
from ma_lmm.trained import freeze_base, is_trained, load_trained
from slowfast_gta import distributed
from slowfast_gta.engine.logging import Progress
from slowfast_gta.engine.task import Evaluation, Losses, Task
from slowfast_gta.errors import ConfigError, DataError, counted
from slowfast_gta.loading.loader import TestBatchSampler, TrainBatchSampler


class MaLmmTask(Task):
    """Questions, captions or classes of videos, one of TASKS."""

    name = "ma_lmm"
    counts = COUNTS
    score = "score"

    def __init__(
        self,
        task_name: str,
        model_dir: Path,
        rule: MemoryRule,
        num_frames: int,
        dtype: str = "float32",
        closed: bool = False,
        generation: Mapping[str, Any] | None = None,
        max_prompt_tokens: int = 128,
    ):
        """closed: answers are ranked by likelihood; `generation`: options of generate otherwise."""
        self.task_name, self.model_dir, self.rule, self.num_frames = task_name, model_dir, rule, num_frames
        self.dtype, self.closed, self.generation = dtype, closed, dict(generation or {})
        self.class_names: list[str] = []
        self._max_prompt_tokens = max_prompt_tokens
        self._sample_digest = ""

    @classmethod
    def from_cfg(cls, cfg: CfgNode, earlier: Sequence[Path] = ()) -> "MaLmmTask":
        section = cfg.MA_LMM
        generation = {
            "num_beams": section.NUM_BEAMS,
            "num_return_sequences": section.NUM_BEAMS,
            "max_new_tokens": section.MAX_NEW_TOKENS,
            "min_new_tokens": section.MIN_NEW_TOKENS,
            "length_penalty": float(section.LENGTH_PENALTY),
            "repetition_penalty": float(section.REPETITION_PENALTY),
            "do_sample": False,
        }
        return cls(
            section.TASK,
            Path(section.MODEL_DIR),
            memory_rule_from_cfg(cfg),
            section.NUM_FRAMES,
            section.DTYPE,
            section.ANSWERS == "likelihood",
            generation,
            section.MAX_PROMPT_TOKENS,
        )

    # ------------------------------------------------------------------------------------------------------ data

    def check(self, cfg: CfgNode) -> None:
        if not cfg.MA_LMM.MODEL_DIR:
            raise ConfigError("MA_LMM.MODEL_DIR is empty: name the folder of a downloaded InstructBLIP or BLIP-2.")
        weight_files(self.model_dir)
        self._inputs()

    def prepare(self, cfg: CfgNode, splits: Sequence[str]) -> None:
        for split in splits:
            load_samples(cfg, split)

    def build_loader(self, cfg: CfgNode, split: str) -> SampleLoader:
        samples, self.class_names = load_samples(cfg, split)
        transform = self._inputs()[1]
        timeout_sec = cfg.DATA_LOADER.SAMPLE_TIMEOUT_SEC or None
        rule = TASKS[self.task_name].index_rule
        frames = SampleFrames(samples, self.num_frames, transform, cfg.RNG_SEED, rule, timeout_sec)
        rank, world_size = distributed.get_rank(), distributed.get_world_size()
        if split != "train":
            order = TestBatchSampler(len(samples), cfg.TEST.BATCH_SIZE, rank, world_size)
            return SampleLoader(frames, order, cfg.DATA_LOADER.NUM_WORKERS)
        self._sample_digest = hashlib.sha256(repr(samples).encode()).hexdigest()
        batch_size = cfg.TRAIN.BATCH_SIZE
        if not world_size <= batch_size <= len(samples):
            raise ConfigError(
                f"TRAIN.BATCH_SIZE is {batch_size}; it must be from {world_size} (the processes) to {len(samples)} "
                "(the training samples)."
            )
        order = TrainBatchSampler(len(samples), batch_size, cfg.RNG_SEED, rank, world_size)
        return SampleLoader(frames, order, cfg.DATA_LOADER.NUM_WORKERS)

    def _inputs(self) -> tuple[PromptBuilder, FrameTransform]:
        return _inputs_of(self.model_dir, self._max_prompt_tokens)

    # ----------------------------------------------------------------------------------------------------- network

    def build_model(self, cfg: CfgNode, starting: bool = True) -> nn.Module:
        model = load_video_model(self.model_dir, self.rule, "cpu", getattr(torch, self.dtype)).model
        freeze_base(model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if starting and cfg.TRAIN.CHECKPOINT_FILE_PATH:
            load_trained(model, cfg.TRAIN.CHECKPOINT_FILE_PATH, self.model_dir)
        return model.train()

    def loss(self, model: nn.Module, batch: VideoBatch) -> Losses:
        """The mean over samples of the mean over an answer's tokens (eq. 8): the same however a batch is split."""
        builder, transform = self._inputs()
        if not batch.num_samples:
            return Losses(0 * self._logits(model, *self._blank(model)).float().sum())
        device = batch.frames.device
        num_tokens = self.rule.num_visual_tokens(_base(model).query_tokens.shape[1], batch.frames.shape[1])
        prompts = builder.with_answers(
            [sample.prompt for sample in batch.samples], [sample.answers[0] for sample in batch.samples], num_tokens
        ).to(device)
        logits = self._logits(model, transform.normalise(batch.frames), prompts)
        return Losses(answer_losses(logits, prompts.labels, _is_decoder_only(model)).mean())

    def _logits(self, model: nn.Module, pixel_values: Tensor, prompts) -> Tensor:
        inputs = {name: value for name, value in vars(prompts).items() if value is not None}
        if _is_decoder_only(model):
            del inputs["labels"]
        return model(pixel_values=pixel_values, **inputs).logits

    def _blank(self, model: nn.Module):
        """One black frame, and a word: what a process without a sample runs the model on."""
        builder, transform = self._inputs()
        base = _base(model)
        prompts = builder.with_answers(["a"], ["a"], self.rule.num_visual_tokens(base.query_tokens.shape[1], 1))
        pixels = torch.zeros(1, 1, 3, transform.image_px, transform.image_px, device=base.device)
        return pixels, prompts.to(base.device)

    def load_weights(self, cfg: CfgNode, model: nn.Module, path: str | Path) -> str:
        load_trained(model, path, self.model_dir)
        return str(path)

    def describe(self, cfg: CfgNode) -> str:
        return (
            f"MA-LMM on {self.model_dir.name}, {self.task_name}, {counted(self.num_frames, 'frame')}, "
            f"memory {self.rule.length}"
        )

    # -------------------------------------------------------------------------------------------------- evaluation

    @torch.no_grad()
    def evaluate(self, model: nn.Module, loader: SampleLoader, split: str) -> Evaluation | None:
        was_training, base = model.training, _base(model)
        base.eval()
        answered, bad, counts = [], [], Counter()
        for batch in Progress(loader, len(loader), "testing" if split == "test" else "validation"):
            bad += batch.errors
            counts.update(batch.counts)
            if batch.num_samples:
                with self._autocast(base.device):
                    answered += self._answers(base, batch.to(base.device))
        base.train(was_training)
        gathered = distributed.gather((answered, bad, counts))
        if not distributed.is_main():
            return None
        answered = [one for part, _, _ in gathered for one in part]
        bad = [one for _, part, _ in gathered for one in part]
        counts = sum((part for _, _, part in gathered), Counter())
        metric = TASKS[self.task_name].metric
        return evaluation_of(self.task_name, metric, answered, self.class_names, bad, dict(counts))

    def _answers(self, model: nn.Module, batch: VideoBatch) -> list[Answered]:
        builder, transform = self._inputs()
        pixels = transform.normalise(batch.frames)
        texts = [sample.prompt for sample in batch.samples]
        num_tokens = self.rule.num_visual_tokens(model.query_tokens.shape[1], pixels.shape[1])
        prompts = builder.questions(texts, num_tokens).to(pixels.device)
        names = ("qformer_input_ids", "qformer_attention_mask") if model.reads_prompt else ()
        for_qformer = {name: getattr(prompts, name) for name in names}
        tokens = model.get_image_features(pixels, return_dict=True, **for_qformer).pooler_output
        if self.closed:
            scores = log_likelihoods(model, builder, tokens, texts, self.class_names)
            order = scores.argsort(dim=1, descending=True, stable=True).tolist()
            beams = [[self.class_names[number] for number in row[:5]] for row in order]
            return [
                Answered(sample.id, sample.answers, texts, row)
                for sample, texts, row in zip(batch.samples, beams, order, strict=True)
            ]
        options = dict(self.generation) or {"do_sample": False, "max_new_tokens": 10}
        found = builder.text(generate(model, tokens, prompts, **options))
        num_beams = len(found) // batch.num_samples
        beams = [found[start : start + num_beams] for start in range(0, len(found), num_beams)]
        return [Answered(sample.id, sample.answers, texts) for sample, texts in zip(batch.samples, beams, strict=True)]

    def _autocast(self, device: torch.device) -> AbstractContextManager:
        half = self.dtype != "float32"
        return torch.autocast(device.type, getattr(torch, self.dtype) if half else None, enabled=half)

    # ------------------------------------------------------------------------------------------------- checkpoints

    def origin(self, cfg: CfgNode) -> dict[str, Any]:
        return {"samples": self._sample_digest, "MA_LMM.NUM_FRAMES": self.num_frames}

    def saved(self, model: nn.Module) -> frozenset[str]:
        return frozenset(name for name in model.state_dict() if is_trained(name))

    def builds_on(self, model: nn.Module) -> dict[str, str]:
        """The base folder by its name, and the SHA-256 of its config and weights."""
        return {self.model_dir.name: folder_digest(self.model_dir)}


def answer_losses(logits: Tensor, labels: Tensor, decoder_only: bool) -> Tensor:
    """(B,): the mean cross-entropy of each sample's answer tokens; a decoder's logits (B, L, K) are of the next."""
    if decoder_only:
        logits, labels = logits[:, :-1], labels[:, 1:]
    losses = cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return losses.sum(dim=1) / (labels != IGNORED).sum(dim=1)


def load_samples(cfg: CfgNode, split: str) -> tuple[list[Sample], list[str]]:
    """The samples of `split`, and the closed set of answers (or none). Raises DataError."""
    section, task = cfg.MA_LMM, TASKS[cfg.MA_LMM.TASK]
    file = section[f"{split.upper()}_ANNOTATIONS"] or (section.TEST_ANNOTATIONS if split == "val" else "")
    if not file:
        raise ConfigError(f"MA_LMM.{split.upper()}_ANNOTATIONS is empty: name the annotations of the {split} samples.")
    videos = Videos(Path(section.VIDEO_DIR), section.FOLDER_FPS)
    references = Path(section.REFERENCES) if section.REFERENCES else None
    source = Source(Path(file), videos, references)
    samples = task.read(source, split)
    if not samples:
        raise DataError(f"{file}: it contains no sample of {section.TASK} for {split}.")
    videos.check_found()
    names = task.class_names(source) if task.class_names else []
    if task.class_names and section.TRAIN_ANNOTATIONS and split != "train":
        names = sorted({*names, *task.class_names(Source(Path(section.TRAIN_ANNOTATIONS), videos))})
    return samples, names


@cache
def _inputs_of(model_dir: Path, max_prompt_tokens: int) -> tuple[PromptBuilder, FrameTransform]:
    """What makes a model's inputs; not part of the task, which goes to other processes."""
    config = read_config(model_dir)
    processor = load_processor(model_dir, config)
    is_encoder_decoder = config.get("text_config", {}).get("model_type") == "t5"
    builder = PromptBuilder(processor, config["image_token_index"], is_encoder_decoder, max_prompt_tokens)
    return builder, FrameTransform(processor.image_processor)


def _base(model: nn.Module) -> nn.Module:
    """The model itself, without what averages its gradients."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _is_decoder_only(model: nn.Module) -> bool:
    return _base(model).config.use_decoder_only_language_model
