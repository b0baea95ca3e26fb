"""A network with several outputs (verb, noun) as one that learns and answers: {output: (B, K)}, labels (B, outputs).

With one output, the answers are (B, K) and the labels (B,). An answer of several outputs is right when all are.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Outputs = Tensor | dict[str, Tensor]


def per_head(answers: Outputs, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """[((B, K), (B,))], one for each output."""
    if isinstance(answers, dict):
        return list(zip(answers.values(), labels.unbind(1), strict=True))
    return [(answers, labels)]


def cross_entropy(answers: Outputs, labels: Tensor, label_smoothing: float) -> Tensor:
    """The loss; of several outputs, the sum of theirs."""
    losses: Iterator[Any] = (
        F.cross_entropy(logits.float(), wanted, label_smoothing=label_smoothing)
        for logits, wanted in per_head(answers, labels)
    )
    return sum(losses)


def num_correct(answers: Outputs, labels: Tensor) -> Tensor:
    """How many of the B answers are right: 0-d, on their device."""
    return torch.stack([logits.argmax(1) == wanted for logits, wanted in per_head(answers, labels)]).all(0).sum()


def concat_heads(answers: Outputs) -> Tensor:
    """(B, K), or (B, K of all outputs together)."""
    return torch.cat(list(answers.values()), 1) if isinstance(answers, dict) else answers
