"""Samples of random numbers, and a network with random weights, in float64."""

import numpy as np
import torch
from a2summ.model import A2Summ
from a2summ.samples import Sample

DIM_VIDEO, DIM_TEXT = 6, 5


def make_sample(name: str, num_frames: int, spans, seed: int = 0, **labels) -> Sample:
    """`spans`: [(start, stop), ...] or None with `num_sentences` in labels."""
    generator = torch.Generator().manual_seed(seed)
    num_sentences = labels.pop("num_sentences", 0)
    num_sentences = num_sentences if spans is None else len(spans)
    frames = torch.randn(num_frames, DIM_VIDEO, generator=generator, dtype=torch.float64)
    sentences = torch.randn(num_sentences, DIM_TEXT, generator=generator, dtype=torch.float64)
    bounds = None if spans is None else np.array(spans, np.int64).reshape(-1, 2)
    labels.setdefault("frame_labels", (torch.rand(num_frames, generator=generator) < 0.4).double())
    labels.setdefault("sentence_labels", (torch.rand(num_sentences, generator=generator) < 0.5).double())
    return Sample(name, frames, sentences, bounds, **labels)


def make_model(num_layers: int = 1, dim: int = 16, seed: int = 0, **options) -> A2Summ:
    """In float64 and eval mode, every weight random (also those that start at 0 or 1)."""
    model = A2Summ(DIM_VIDEO, DIM_TEXT, dim, num_layers, max_tokens=64, **{"max_segments": 64, **options})
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return model.double().eval()
