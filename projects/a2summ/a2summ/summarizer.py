"""What scores a video's frames and sentences: a trained A2Summ out of a file, or centrality, which needs no training.

A summarizer's file names the network and the encoder whose features it was trained on, and is refused with others.
N sampled frame, M sentence, C channel.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from a2summ import training_free
from a2summ.model import A2Summ
from a2summ.samples import Sample, collate
from a2summ.shots.boxes import scores_from_runs
from slowfast_gta.errors import DataError, WeightsError
from slowfast_gta.files import whole_file
from slowfast_gta.models.weights.read import load_torch_file

FILE_NAME = "summarizer.pth"
_FORMAT = "a2summ summarizer 1"
_PIECE = 600  # frames scored at once: five minutes at two a second, as in BLiSS


@dataclass(frozen=True)
class Inputs:
    """Which features a summarizer takes: the network's and the encoder's names, digests and sizes, and the rate."""

    network: str
    network_digest: str
    network_dim: int
    encoder: str
    encoder_digest: str
    encoder_dim: int
    rate: float
    network_cfg: str = ""  # its config as YAML, and where its weights were, so that they need not be given again
    network_weights: str = ""

    def check(self, others: "Inputs", where: str) -> None:
        """Raises WeightsError where features of `others` are not these."""
        for what, ours, theirs in (
            ("frame features", (self.network, self.network_digest), (others.network, others.network_digest)),
            ("sentence features", (self.encoder, self.encoder_digest), (others.encoder, others.encoder_digest)),
            ("frames per second", (self.rate, ""), (others.rate, "")),
        ):
            if ours[1] != theirs[1] or (what == "frames per second" and ours != theirs):
                raise WeightsError(
                    f"{where}: was trained on {what} of {ours[0]} ({ours[1][:12]}), but was given those of "
                    f"{theirs[0]} ({theirs[1][:12]}). Scores of other features are meaningless: give the same, "
                    "or train on yours."
                )


class Summarizer(Protocol):
    """(features (N, C), sentence vectors (M, C'), spans (M, 2)) -> scores of frames (N,) and of sentences (M,)."""

    name: str

    def __call__(
        self, frames: np.ndarray, sentences: np.ndarray, spans: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]: ...


class Centrality:
    """The training-free score under its own name."""

    name = training_free.NAME

    def __call__(self, frames: np.ndarray, sentences: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return training_free.frame_scores(frames, sentences, spans)


class TrainedSummarizer:
    """A network with weights. Long videos are scored in pieces of five minutes; runs may cross from one to the next."""

    def __init__(self, model: A2Summ, name: str):
        self.model, self.name = model.eval(), name

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray, sentences: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_frames, of_sentences, offsets = [], np.full(len(sentences), -np.inf), []
        for start, stop in _pieces(len(frames)):
            inside = np.flatnonzero((spans[:, 0] < stop) & (spans[:, 1] > start))
            piece = Sample(
                f"frames {start} to {stop}",
                torch.from_numpy(frames[start:stop]),
                torch.from_numpy(sentences[inside]),
                np.clip(spans[inside], start, stop) - start,
            )
            outputs = self.model(collate([piece]))
            text = outputs.text.logits[0].sigmoid().numpy()
            of_sentences[inside] = np.maximum(of_sentences[inside], text)
            scores = outputs.video.logits[0].sigmoid()
            if outputs.video.offsets is not None:
                scores = scores * outputs.video.centerness[0]
                offsets.append(outputs.video.offsets[0].numpy())
            of_frames.append(scores.numpy())
        scores = np.concatenate(of_frames)
        return scores_from_runs(scores, np.concatenate(offsets)) if offsets else scores, of_sentences


def _pieces(num_frames: int) -> list[tuple[int, int]]:
    """Pieces of equal length, the longest at most _PIECE."""
    bounds = np.linspace(0, num_frames, -(-num_frames // _PIECE) + 1).round().astype(int).tolist()
    return list(pairwise(bounds))


def save_summarizer(path: str | Path, model: A2Summ, options: dict, inputs: Inputs) -> None:
    """`options` are the arguments that A2Summ(**options) was made with."""
    content = {"format": _FORMAT, "options": options, "inputs": asdict(inputs), "state": model.state_dict()}
    with whole_file(path) as file:
        torch.save(content, file)


def load_summarizer(path: str | Path) -> tuple[TrainedSummarizer, Inputs]:
    """A summarizer's file, or the folder of a run that holds one. Raises WeightsError."""
    path = Path(path)
    if path.is_dir():
        candidates = (path / FILE_NAME, path / "artefacts" / FILE_NAME)
        found = [candidate for candidate in candidates if candidate.is_file()]
        if not found:
            raise WeightsError(
                f"{path}: there is no {FILE_NAME} in this folder: only a finished run on videos writes it."
            )
        path = found[0]
    content = load_torch_file(path)
    if content.get("format") != _FORMAT:
        raise WeightsError(
            f"{path}: this is not a summarizer. --weights needs the {FILE_NAME} that a run writes; a checkpoint "
            "does not record which features it was trained on."
        )
    try:
        inputs = Inputs(**content["inputs"])
        model = A2Summ(**content["options"])
        model.load_state_dict(content["state"])
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as fault:
        raise WeightsError(f"{path}: a damaged summarizer ({fault}).") from None
    if not (model.use_mask or model.segments is not None):
        raise DataError(f"{path}: was trained without times of sentences, but those of a transcript are needed here.")
    return TrainedSummarizer(model, f"A2Summ, {path.resolve().parent.name}/{path.name}"), inputs
