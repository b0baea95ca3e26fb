"""A network with several outputs (verb, noun) as one that trains and predicts: {output: (B, K)}, labels (B, outputs).

With one output, the outputs are (B, K) and the labels (B,). A prediction of several outputs is correct when all are.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Outputs = Tensor | dict[str, Tensor]


def per_head(outputs: Outputs, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """[((B, K), (B,))], one for each output."""
    if isinstance(outputs, dict):
        return list(zip(outputs.values(), labels.unbind(1), strict=True))
    return [(outputs, labels)]


def cross_entropy(outputs: Outputs, labels: Tensor, label_smoothing: float) -> Tensor:
    """The loss; of several outputs, the sum of theirs."""
    losses: Iterator[Any] = (
        F.cross_entropy(logits.float(), wanted, label_smoothing=label_smoothing)
        for logits, wanted in per_head(outputs, labels)
    )
    return sum(losses)


def num_correct(outputs: Outputs, labels: Tensor) -> Tensor:
    """How many of the B predictions are correct: 0-d, on their device."""
    return torch.stack([logits.argmax(1) == wanted for logits, wanted in per_head(outputs, labels)]).all(0).sum()


def concat_heads(outputs: Outputs) -> Tensor:
    """(B, K), or (B, K of all outputs together)."""
    return torch.cat(list(outputs.values()), 1) if isinstance(outputs, dict) else outputs
