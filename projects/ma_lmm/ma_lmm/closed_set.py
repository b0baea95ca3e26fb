"""Answers from a closed set, ranked by how likely the language model finds them: no beam can miss them.

B samples, K classes, n visual tokens, D channels of the language model.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ma_lmm.models import VideoModel
from ma_lmm.prompts import IGNORED, PromptBuilder


@torch.no_grad()
def log_likelihoods(
    model: VideoModel,
    builder: PromptBuilder,
    visual_tokens: Tensor,
    prompts: list[str],
    names: list[str],
    chunk: int = 32,
) -> Tensor:
    """(B, K): the log probability of each class name, with its EOS, as the answer; `chunk` of them at a time."""
    rows = []
    for tokens, prompt in zip(visual_tokens.split(1), prompts, strict=True):
        scores = [
            _of_answers(model, builder, tokens, prompt, names[start : start + chunk])
            for start in range(0, len(names), chunk)
        ]
        rows.append(torch.cat(scores))
    return torch.stack(rows)


def _of_answers(model: VideoModel, builder: PromptBuilder, tokens: Tensor, prompt: str, names: list[str]) -> Tensor:
    inputs = builder.with_answers([prompt] * len(names), names, tokens.shape[1]).to(tokens.device)
    embeds = model.put_into_prompt(tokens.expand(len(names), -1, -1), inputs.input_ids)
    arguments = {"inputs_embeds": embeds, "attention_mask": inputs.attention_mask}
    labels = inputs.labels
    if model.config.use_decoder_only_language_model:
        logits, labels = model.language_model(**arguments).logits[:, :-1], labels[:, 1:]
    else:
        logits = model.language_model(**arguments, labels=labels).logits
    losses = cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return -losses.sum(dim=1)
