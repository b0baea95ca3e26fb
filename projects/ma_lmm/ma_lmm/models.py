"""InstructBLIP and BLIP-2 of transformers, watching videos: `pixel_values` (B, T, 3, H, W) beside (B, 3, H, W).

`from_pretrained` of a folder of published weights, `forward(labels=)` and `generate` are the library's and work on
videos; with images these classes are the library's models, bit for bit.

B batch, T frames, P tokens of a frame (patches and CLS), C their channels, N learned queries, D of the language model.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Blip2ForConditionalGeneration, InstructBlipForConditionalGeneration
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.blip_2.modeling_blip_2 import BaseModelOutputWithVisionQformerOutputs as Blip2Features
from transformers.models.instructblip.modeling_instructblip import (
    BaseModelOutputWithVisionQformerOutputs as InstructBlipFeatures,
)
from transformers.utils import can_return_tuple

from ma_lmm.memory.banks import VideoMemory
from ma_lmm.memory.hooks import attach_query_banks, detach
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.prompts import check_image_tokens
from ma_lmm.watching import Watcher
from slowfast_gta.errors import ConfigError

NUM_POSITIONS = 120  # of the authors' checkpoints


class FramePositions(nn.Embedding):
    """A vector for the time of a frame (eq. 1), zero at the start. A class of its own: `from_pretrained` starts what
    a checkpoint lacks anew, and would start any other nn.Embedding with noise."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)

    def of(self, frame: int) -> Tensor:
        """The vector (C,) of frame number `frame`; frames beyond the table have its last vector."""
        return self.weight[min(frame, self.num_embeddings - 1)]


class _WatchesVideos:
    """What both models add to the library's class, which comes after this one in their bases."""

    _keys_to_ignore_on_load_missing = [r"^frame_positions\.weight$"]  # published folders have none: zero
    memory_rule = MemoryRule()

    def __init__(self, config):
        super().__init__(config)
        self.frame_positions = FramePositions(NUM_POSITIONS, config.vision_config.hidden_size)
        self._bank_hooks = attach_query_banks(self.qformer)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, FramePositions):
            init.zeros_(module.weight)
        else:
            super()._init_weights(module)

    def train(self, mode: bool = True):
        """Training mode; what does not learn as a whole stays in eval mode, without dropout."""
        super().train(mode)
        for module in (self.vision_model.encoder, self.vision_model.embeddings, self.language_model):
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()
        return self

    def detach_banks(self) -> None:
        """Remove the hooks for good: only images from now on, and the visual bank."""
        detach(self._bank_hooks)

    def encode_frame(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """The vision encoder's output of one frame of each video, (B, 3, H, W): `last_hidden_state` (B, P, C)."""
        return self.vision_model(pixel_values=pixel_values, return_dict=True, **kwargs)

    def new_memory(self) -> VideoMemory:
        if self.memory_rule.query and not self._bank_hooks:
            raise ConfigError("the query banks were detached from this model; load it again, or use query=False.")
        if self.training and any(getattr(module, "gradient_checkpointing", False) for module in self.qformer.modules()):
            raise ConfigError(
                "gradient checkpointing runs a layer twice, and its query bank would receive a frame twice: "
                "switch it off for the Q-Former."
            )
        return VideoMemory(self.memory_rule, len(self.qformer.encoder.layer), self.query_tokens.shape[1])

    def watch(self, num_frames: int, qformer_input_ids: Tensor | None = None, qformer_attention_mask=None) -> Watcher:
        """A pass over the frames of a batch of videos, or of one video with a batch of prompts."""
        return Watcher(self, num_frames, qformer_input_ids, qformer_attention_mask)

    def _watch_all(self, pixel_values: Tensor, prompt: tuple, interpolate_pos_encoding: bool, kwargs: dict):
        """The frame loop over `pixel_values` (B, T, 3, H, W) -> (vision output of the last frame, Watcher)."""
        num_frames = pixel_values.shape[1]
        watcher = self.watch(num_frames, *prompt)
        for number in range(num_frames):
            with torch.set_grad_enabled(torch.is_grad_enabled() and watcher.needs_gradient(number)):
                vision = self.encode_frame(
                    pixel_values[:, number], interpolate_pos_encoding=interpolate_pos_encoding, **kwargs
                )
                watcher.see(vision.last_hidden_state)
        return vision, watcher

    def put_into_prompt(self, visual_tokens: Tensor, input_ids: Tensor) -> Tensor:
        """The prompts' embeddings (B, L, D), `visual_tokens` (B, n, D) instead of the image tokens."""
        check_image_tokens(input_ids, self.config.image_token_index, visual_tokens.shape[1])
        embeds = self.get_input_embeddings()(input_ids)
        mask = (input_ids == self.config.image_token_index)[..., None].to(embeds.device)
        return embeds.masked_scatter(mask, visual_tokens.to(embeds.device, embeds.dtype))

    def forward(self, pixel_values: Tensor | None = None, *args: Any, **kwargs: Any):
        if pixel_values is not None and pixel_values.ndim == 5 and kwargs.get("input_ids") is not None:
            num_tokens = self.memory_rule.num_visual_tokens(self.query_tokens.shape[1], pixel_values.shape[1])
            check_image_tokens(kwargs["input_ids"], self.config.image_token_index, num_tokens)
        return super().forward(pixel_values, *args, **kwargs)

    @torch.no_grad()
    def generate(self, pixel_values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As the library's. Of a video the arguments come by keyword, and `input_ids` begin with the image tokens; a
        decoder-only model gives the prompt back, too, and counts it in max_length."""
        if pixel_values.ndim != 5:
            return super().generate(pixel_values, *args, **kwargs)
        input_ids = kwargs.pop("input_ids", None)
        if args or input_ids is None:
            raise ConfigError("generate: a video needs input_ids with its image tokens, and all arguments by keyword.")
        names = ("qformer_input_ids", "qformer_attention_mask", "interpolate_pos_encoding")
        of_video = {name: kwargs.pop(name) for name in names if name in kwargs}
        tokens = self.get_image_features(pixel_values, return_dict=True, **of_video).pooler_output
        kwargs["inputs_embeds"] = self.put_into_prompt(tokens, input_ids)
        kwargs.setdefault("attention_mask", torch.ones_like(input_ids))
        if not self.language_model.config.is_encoder_decoder:
            kwargs["input_ids"] = input_ids
        return self.language_model.generate(**kwargs)


class InstructBlipForVideo(_WatchesVideos, InstructBlipForConditionalGeneration):
    """InstructBLIP (Vicuna or FLAN-T5) with a memory: the model of the paper."""

    reads_prompt = True

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: Tensor,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Any,
    ) -> InstructBlipFeatures:
        """As the library's, of images (B, 3, H, W) or videos (B, T, 3, H, W); of a video `vision_outputs` are those of
        the last frame."""
        prompt = (qformer_input_ids, qformer_attention_mask)
        if pixel_values.ndim != 5:
            return super().get_image_features(pixel_values, *prompt, interpolate_pos_encoding, **kwargs)
        kwargs.pop("return_dict", None)
        vision, watcher = self._watch_all(pixel_values, prompt, interpolate_pos_encoding, kwargs)
        features = InstructBlipFeatures(**vision, vision_outputs=vision, qformer_outputs=watcher.qformer_outputs)
        features.pooler_output = watcher.visual_tokens()
        return features

    def query_frame(self, states: Tensor, memory: VideoMemory, prompt: tuple[Tensor, Tensor | None]):
        """The Q-Former's output for a frame: `states` (B, *, C) are [visual bank; frame]."""
        input_ids, mask = prompt
        queries = self.query_tokens.expand(states.shape[0], -1, -1)
        ones = torch.ones(queries.shape[:2], dtype=torch.long, device=states.device)
        mask = torch.ones_like(input_ids) if mask is None else mask.to(states.device)
        return self.qformer(
            input_ids=input_ids,
            attention_mask=torch.cat([ones, mask], dim=1),
            query_embeds=queries,
            encoder_hidden_states=states,
            video_memory=memory,
            return_dict=True,
        )


class Blip2ForVideo(_WatchesVideos, Blip2ForConditionalGeneration):
    """BLIP-2 with a memory. Its Q-Former reads no prompt: what it remembers does not depend on the question."""

    reads_prompt = False

    @can_return_tuple
    def get_image_features(
        self, pixel_values: Tensor, interpolate_pos_encoding: bool = False, **kwargs: Any
    ) -> Blip2Features:
        """As the library's, of images (B, 3, H, W) or videos (B, T, 3, H, W)."""
        if pixel_values.ndim != 5:
            return super().get_image_features(pixel_values, interpolate_pos_encoding, **kwargs)
        kwargs.pop("return_dict", None)
        vision, watcher = self._watch_all(pixel_values, (), interpolate_pos_encoding, kwargs)
        features = Blip2Features(**vision, vision_outputs=vision, qformer_outputs=watcher.qformer_outputs)
        features.pooler_output = watcher.visual_tokens()
        return features

    def query_frame(self, states: Tensor, memory: VideoMemory, prompt: tuple):
        """The Q-Former's output for a frame: `states` (B, *, C) are [visual bank; frame]."""
        queries = self.query_tokens.expand(states.shape[0], -1, -1)
        return self.qformer(query_embeds=queries, encoder_hidden_states=states, video_memory=memory, return_dict=True)


VideoModel = InstructBlipForVideo | Blip2ForVideo
