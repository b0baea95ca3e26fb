"""How the query banks reach the attention of an unmodified Q-Former.

transformers' Q-Former hands keyword arguments down to every attention layer. A video's memory is such an argument,
`video_memory=`: a hook takes it out before each self-attention and lets that layer attend to [bank; its input] (eq. 4).
Without the argument the hooks change nothing, and they hold nothing: images, and whatever fails, leave no trace.

B batch, Q queries attending, S tokens of a frame (N learned queries, then the prompt's), K entries.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ma_lmm.memory.banks import VideoMemory
from slowfast_gta.errors import ConfigError


def attach_query_banks(qformer: nn.Module) -> list[RemovableHandle]:
    """Register the hooks on `qformer`, once; `detach` them by their handles. They survive deepcopy, pickle and DDP."""
    handles = []
    for number, layer in enumerate(qformer.encoder.layer):
        hook = partial(_attend_to_bank, layer=number)
        handles.append(layer.attention.attention.register_forward_pre_hook(hook, with_kwargs=True))
        if layer.has_cross_attention:
            handles.append(layer.crossattention.attention.register_forward_pre_hook(_ignore_memory, with_kwargs=True))
    return handles


def detach(handles: list[RemovableHandle]) -> None:
    """Remove the hooks; the Q-Former is then the library's own again."""
    for handle in handles:
        handle.remove()
    handles.clear()


def _ignore_memory(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict] | None:
    if "video_memory" not in kwargs:
        return None
    return args, {name: value for name, value in kwargs.items() if name != "video_memory"}


def _attend_to_bank(module: nn.Module, args: tuple, kwargs: dict[str, Any], layer: int) -> tuple[tuple, dict] | None:
    memory: VideoMemory | None = kwargs.get("video_memory")
    if memory is None or not memory.queries:
        return _ignore_memory(module, args, kwargs)
    kwargs = {name: value for name, value in kwargs.items() if name != "video_memory"}
    states = args[0] if args else kwargs["hidden_states"]  # (B, S, C)
    bank = memory.queries[layer]
    if len(bank):
        kwargs["encoder_hidden_states"] = bank.before(states)
        kwargs["encoder_attention_mask"] = _mask_of_bank(kwargs.get("attention_mask"), len(bank), bank.entries.shape[2])
    bank.append(states if memory.rule.bank_text else states[:, : memory.num_queries])
    return args, kwargs


def _mask_of_bank(mask: Tensor | None, num_entries: int, num_tokens: int) -> Tensor | None:
    """The mask (B, 1, Q, S) of a frame's own tokens, for [bank; frame]: (B, 1, Q, K * P + S). The prompt is the same at
    every frame, and so is its padding."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        raise ConfigError(
            f"the Q-Former's attention uses masks of type {type(mask).__name__}, which the query banks cannot extend. "
            "Load the model with attn_implementation sdpa or eager."
        )
    return torch.cat([mask[..., :num_tokens]] * num_entries + [mask], dim=-1)
