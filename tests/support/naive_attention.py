"""Attention in loops written from the paper's equations (BMVC 2021: 1-4), in numpy, one position at a time.

Legend: B batch, C channel, T frame, H W space, E channels inside.
"""

import math
from itertools import product

import numpy as np
from torch import nn


def weight_of(projection: nn.Module) -> np.ndarray:
    return projection.weight.detach().numpy().reshape(projection.out_channels, projection.in_channels)


def project(x: np.ndarray, projection: nn.Module) -> np.ndarray:
    """X W at every position, (B, C, T, H, W)."""
    weight = weight_of(projection)
    out = np.zeros((x.shape[0], len(weight), *x.shape[2:]))
    for b, t, i, j in product(*(range(x.shape[axis]) for axis in (0, 2, 3, 4))):
        out[b, :, t, i, j] = weight @ x[b, :, t, i, j]
        if projection.bias is not None:
            out[b, :, t, i, j] += projection.bias.detach().numpy()
    return out


def max_pooled(x: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """The largest of each whole window; what is left over at an odd edge belongs to none."""
    out = np.zeros((*x.shape[:2], *(have // want for have, want in zip(x.shape[2:], size, strict=True))))
    for t, i, j in product(*map(range, out.shape[2:])):
        window = x[
            :,
            :,
            t * size[0] : (t + 1) * size[0],
            i * size[1] : (i + 1) * size[1],
            j * size[2] : (j + 1) * size[2],
        ]
        out[:, :, t, i, j] = window.max((2, 3, 4))
    return out


def normalised(x: np.ndarray, norm: nn.Module, training: bool) -> np.ndarray:
    """BatchNorm, channel by channel."""
    out = np.zeros_like(x)
    for c in range(x.shape[1]):
        mean = x[:, c].mean() if training else norm.running_mean[c].item()
        variance = ((x[:, c] - mean) ** 2).mean() if training else norm.running_var[c].item()
        scale, shift = norm.weight[c].item(), norm.bias[c].item()
        out[:, c] = (x[:, c] - mean) / math.sqrt(variance + norm.eps) * scale + shift
    return out


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.array([math.exp(score - scores.max()) for score in scores])
    return exponentials / exponentials.sum()


def attended(query: np.ndarray, keys: list[np.ndarray], values: list[np.ndarray], kind: str = "softmax") -> np.ndarray:
    """A = M V for one position, M = softmax(Q K^T / sqrt(E)), or Q K^T / M for the dot-product form."""
    scores = np.array([query @ key for key in keys])
    weights = softmax(scores / math.sqrt(len(query))) if kind == "softmax" else scores / len(keys)
    return sum(weight * value for weight, value in zip(weights, values, strict=True))


def projected(x: np.ndarray, query: nn.Module, key: nn.Module, value: nn.Module, pool: str, size: tuple) -> tuple:
    """Q at every position; K and V max-pooled before or after their projections, or not."""
    source = max_pooled(x, size) if pool == "before" else x
    keys, values = project(source, key), project(source, value)
    if pool == "after":
        keys, values = max_pooled(keys, size), max_pooled(values, size)
    return project(x, query), keys, values


def naive_nl(x: np.ndarray, block: nn.Module, pool="after", size=(1, 2, 2), group=1, kind="softmax") -> np.ndarray:
    """Equations 1 and 2, over all positions of the clip, or of each of `group` parts of it in time."""
    length = x.shape[2] // group
    added = np.zeros_like(x)
    for part in range(group):
        frames = slice(part * length, (part + 1) * length)
        query, key, value = projected(x[:, :, frames], block.conv_theta, block.conv_phi, block.conv_g, pool, size)
        mixed = np.zeros_like(query)
        positions = list(product(*map(range, key.shape[2:])))
        for b, t, i, j in product(range(len(x)), *map(range, query.shape[2:])):
            keys = [key[b, :, u, k, m] for u, k, m in positions]
            values = [value[b, :, u, k, m] for u, k, m in positions]
            mixed[b, :, t, i, j] = attended(query[b, :, t, i, j], keys, values, kind)
        added[:, :, frames] = project(mixed, block.conv_out)
    return x + normalised(added, block.bn, block.training)


def naive_sa(x: np.ndarray, block: nn.Module, pool: str = "after") -> np.ndarray:
    """Equation 3: in each frame t by itself."""
    query, key, value = projected(x, block.query, block.key, block.value, pool, (1, 2, 2))
    mixed = np.zeros_like(query)
    positions = list(product(*map(range, key.shape[3:])))
    for b, t, i, j in product(range(len(x)), *map(range, query.shape[2:])):
        keys = [key[b, :, t, k, m] for k, m in positions]
        values = [value[b, :, t, k, m] for k, m in positions]
        mixed[b, :, t, i, j] = attended(query[b, :, t, i, j], keys, values)
    return x + normalised(project(mixed, block.out), block.bn, block.training)


def naive_ta(x: np.ndarray, block: nn.Module, embedding: np.ndarray | None = None) -> np.ndarray:
    """Equation 4: at each position (i, j) by itself. `embedding` (T, E) is added to Q, K and V, not to X."""
    parts = [project(x, projection) for projection in (block.query, block.key, block.value)]
    if embedding is not None:
        for part in parts:
            for t in range(x.shape[2]):
                part[:, :, t] += embedding[t][None, :, None, None]
    query, key, value = parts
    mixed = np.zeros_like(query)
    for b, t, i, j in product(range(len(x)), *map(range, query.shape[2:])):
        keys = [key[b, :, u, i, j] for u in range(x.shape[2])]
        values = [value[b, :, u, i, j] for u in range(x.shape[2])]
        mixed[b, :, t, i, j] = attended(query[b, :, t, i, j], keys, values)
    return x + normalised(project(mixed, block.out), block.bn, block.training)
