"""A score that needs no training: how typical a frame, or a sentence, is of its video. Named "centrality" everywhere.

A frame's centrality is its mean cosine with all frames, a sentence's with all sentences. N frame, M sentence.
"""

import numpy as np

NAME = "training-free centrality"


def centrality(vectors: np.ndarray) -> np.ndarray:
    """(N, C) -> (N,): the mean cosine of each with all, scaled to 0..1 over the video; 0.5 where all are equal."""
    x = np.asarray(vectors, np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return _scaled(x @ x.mean(0)) if len(x) else np.zeros(0)


def _scaled(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return np.full_like(values, 0.5) if high - low < 1e-9 else (values - low) / (high - low)


def frame_scores(frames: np.ndarray, sentences: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, C), (M, C') and spans (M, 2) of frames -> scores of frames (N,) and of sentences (M,).

    A frame that has sentences gets the mean of its own centrality and of theirs.
    """
    of_frames, of_sentences = centrality(frames), centrality(sentences)
    spoken, number = np.zeros(len(frames)), np.zeros(len(frames))
    for (start, stop), score in zip(spans, of_sentences, strict=True):
        spoken[start:stop] += score
        number[start:stop] += 1
    return np.where(number > 0, (of_frames + spoken / np.maximum(number, 1)) / 2, of_frames), of_sentences
