"""How near chosen key frames are to a reference's, when the reference is no frame of the video (a thumbnail).

K reference and chosen frames, T frame, C channel.
"""

import numpy as np


def key_frame_cosine(chosen: np.ndarray, references: np.ndarray) -> float:
    """(K', C), (K, C) -> the mean cosine of pairs, matched one to one greedily from the most similar pair on; 0 for a
    reference that gets no partner."""
    similarity = _normalised(references) @ _normalised(chosen).T
    return _greedy_mean(similarity)


def rescaled_key_frame_cosine(frames: np.ndarray, chosen: np.ndarray, references: np.ndarray) -> float:
    """BLiSS: the same, after the similarities of the references to ALL valid frames were min-max scaled to 0..1.

    `frames` (T, C) are the valid ones only: padding, which the release lets in, changes the scale. `chosen` (K',) are
    indices.
    """
    similarity = _normalised(references) @ _normalised(frames).T
    low, high = similarity.min(), similarity.max()
    return _greedy_mean(((similarity - low) / max(high - low, 1e-12))[:, chosen])


def _normalised(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _greedy_mean(similarity: np.ndarray) -> float:
    """(K, K'): take the largest entry, strike out its row and column, and so on; the sum over K."""
    left, total = similarity.copy(), 0.0
    for _ in range(min(left.shape)):
        row, column = np.unravel_index(np.argmax(left), left.shape)
        total += left[row, column]
        left[row, :], left[:, column] = -np.inf, -np.inf
    return float(total / max(len(similarity), 1))
