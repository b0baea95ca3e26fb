"""One pass over the frames of a batch of videos, a frame at a time, in constant memory.

V videos, B prompts (V = B, or V = 1: one video, several questions, whose visual bank they share), P tokens of a frame,
C their channels, N learned queries, D channels of the language model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ma_lmm.memory.summaries import SUMMARIES
from slowfast_gta.errors import DataError

if TYPE_CHECKING:
    from ma_lmm.models import VideoModel


class Watcher:
    """`see` every frame once, in order; then `visual_tokens` are what the language model is given."""

    def __init__(
        self, model: VideoModel, num_frames: int, input_ids: Tensor | None = None, attention_mask: Tensor | None = None
    ):
        if num_frames < 1:
            raise DataError("The video contains no frames.")
        self._model = model
        self._prompt = (input_ids, attention_mask) if model.reads_prompt else ()
        self._num_frames = num_frames
        self._summary = SUMMARIES[model.memory_rule.summary]()
        self._keeps_last = model.memory_rule.summary == "last"
        self.memory = model.new_memory()
        self.qformer_outputs = None

    def needs_gradient(self, number: int) -> bool:
        """Whether anything can be learned at frame `number`: the banks are detached, so the last frame's queries carry
        all of the gradient, unless those of every frame are given to the language model."""
        return number == self._num_frames - 1 or not self._keeps_last

    def see(self, features: Tensor) -> None:
        """Take in the next frame: the vision encoder's `features` (V, P, C)."""
        memory = self.memory
        number = memory.num_frames
        assert number < self._num_frames, "more frames than were announced"
        features = features + self._model.frame_positions.of(number).to(features)  # eq. 1
        if self.needs_gradient(number) or memory.queries:
            self._ask(features)
        if memory.visual is not None:
            memory.visual.append(features)
        memory.num_frames += 1
        memory.check()

    def visual_tokens(self) -> Tensor:
        """(B, n, D), n = MemoryRule.num_visual_tokens."""
        assert self.memory.num_frames == self._num_frames, "not all frames were seen"
        projection = self._model.language_projection
        return projection(self._summary.tokens().to(projection.weight.dtype))

    def _ask(self, features: Tensor) -> None:
        memory = self.memory
        states = features if memory.visual is None else memory.visual.before(features)
        if self._model.reads_prompt and states.shape[0] == 1:
            states = states.expand(self._prompt[0].shape[0], -1, -1)
        output = self._model.query_frame(states, memory, self._prompt)
        if self.needs_gradient(memory.num_frames):
            self.qformer_outputs = output
            self._summary.add(output.last_hidden_state[:, : memory.num_queries])
