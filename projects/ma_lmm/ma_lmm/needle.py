"""The needle: 16 noisy copies of one picture, one of them replaced by a symbol at a random time. Which symbol?

A bank that merges what is most alike keeps the one frame that differs, in 4 entries; first in, first out has
forgotten it mostly, and 4 evenly chosen frames have mostly never seen it. The model is tiny, made and trained here.

B batch, T frames, P positions.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ma_lmm.frames import FrameTransform, even_indices
from ma_lmm.models import VideoModel
from ma_lmm.prompts import PromptBuilder
from ma_lmm.rules import MemoryRule
from ma_lmm.tiny import NUM_QUERIES, tiny_model, tiny_processor

NUM_FRAMES, MEMORY, IMAGE_PX = 16, 4, 28
SYMBOLS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
QUESTION = "which symbol is shown ?"
_CELL_PX = 7  # a cell of a picture, and a patch of the vision encoder
_NOISE = 8.0  # of 255


@dataclass(frozen=True)
class Method:
    """One way to spend 4 places: a rule of memory over all frames, or a few frames."""

    rule: MemoryRule
    num_frames: int = NUM_FRAMES
    num_visible: int = NUM_FRAMES  # frames that can reach the answer

    @property
    def ceiling(self) -> float:
        """The best possible share of right answers: seen, or guessed among the symbols."""
        seen = self.num_visible / NUM_FRAMES
        return seen + (1 - seen) / len(SYMBOLS)


_VISUAL = MemoryRule(length=MEMORY, query=False)
METHODS = {
    "compression": Method(MemoryRule(length=MEMORY)),
    "compression, visual bank": Method(_VISUAL),
    "fifo, visual bank": Method(replace(_VISUAL, update="fifo"), num_visible=MEMORY + 1),
    "uniform, visual bank": Method(_VISUAL, num_frames=MEMORY, num_visible=MEMORY),
}


def symbol_pictures() -> np.ndarray:
    """uint8 (8, IMAGE_PX, IMAGE_PX, 3): the same in every run."""
    return _blown_up(np.random.default_rng(8).integers(0, 2, (len(SYMBOLS), 4, 4, 3)) * 200 + 28)


def draw_needles(batch: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 videos (B, T, IMAGE_PX, IMAGE_PX, 3), their symbols (B,), and when these are shown (B,)."""
    pictures = _blown_up(generator.integers(0, 256, (batch, 4, 4, 3)))
    symbols, times = generator.integers(len(SYMBOLS), size=batch), generator.integers(NUM_FRAMES, size=batch)
    videos = np.repeat(pictures[:, None], NUM_FRAMES, axis=1).astype(np.float32)
    videos[np.arange(batch), times] = symbol_pictures()[symbols]
    videos += generator.normal(0, _NOISE, videos.shape)
    return videos.clip(0, 255).round().astype(np.uint8), symbols, times


def _blown_up(cells: np.ndarray) -> np.ndarray:
    return cells.astype(np.uint8).repeat(_CELL_PX, axis=-3).repeat(_CELL_PX, axis=-2)


def needle_model(seed: int) -> VideoModel:
    model = tiny_model("instructblip", "llama", seed=seed, vision=32, qformer=32)
    return model.requires_grad_(True)


class NeedleTask:
    """Batches of needles, and what a model answers."""

    def __init__(self, model: VideoModel, method: Method):
        self.model, self.method = model, method
        processor = tiny_processor(model)
        self._transform = FrameTransform(processor.image_processor)
        builder = PromptBuilder(processor, model.config.image_token_index, is_encoder_decoder=False)
        self._prompts = builder.with_answers([QUESTION] * len(SYMBOLS), list(SYMBOLS), NUM_QUERIES)
        self._symbol_ids = torch.tensor(builder.tokenizer.convert_tokens_to_ids(list(SYMBOLS)))
        model.memory_rule = method.rule

    def pixels(self, videos: np.ndarray) -> Tensor:
        """(B, T, 3, IMAGE_PX, IMAGE_PX) of the frames that the method looks at."""
        chosen = videos[:, even_indices(NUM_FRAMES, self.method.num_frames)]
        mean, std, scale = self._transform._mean, self._transform._std, self._transform._scale
        return (torch.from_numpy(chosen).movedim(-1, 2).float() * scale - mean) / std

    def loss(self, videos: np.ndarray, symbols: np.ndarray) -> Tensor:
        inputs = {name: value[symbols] for name, value in vars(self._prompts).items()}
        return self.model(self.pixels(videos), **inputs).loss

    @torch.no_grad()
    def num_right(self, videos: np.ndarray, symbols: np.ndarray) -> int:
        """Answers whose most likely word, of all words, is the symbol's."""
        inputs = {name: value[symbols] for name, value in vars(self._prompts).items() if name != "labels"}
        logits = self.model(self.pixels(videos), **inputs).logits[:, -3]  # before the symbol and EOS
        return int((logits.argmax(-1) == self._symbol_ids[symbols]).sum())


def train_needle(method: Method, seed: int, num_steps: int, batch: int = 32, lr: float = 2e-3) -> tuple[float, dict]:
    """Train a model by one method; returns the share of right answers on 2,048 new videos, and what it took."""
    torch.manual_seed(seed)
    model = needle_model(seed).train()
    model.vision_model.requires_grad_(False).eval()
    task = NeedleTask(model, method)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=num_steps, pct_start=0.1)
    generator, start = np.random.default_rng(seed), time.process_time()
    for _ in range(num_steps):
        videos, symbols, _ = draw_needles(batch, generator)
        loss = task.loss(videos, symbols)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
    cpu_sec = time.process_time() - start
    return test_needle(task), {"model": model, "loss": float(loss.detach()), "cpu_sec": cpu_sec}


def test_needle(task: NeedleTask, num_videos: int = 2048, seed: int = 10_000) -> float:
    task.model.eval()
    generator, num_right = np.random.default_rng(seed), 0
    for _ in range(num_videos // 128):
        videos, symbols, _ = draw_needles(128, generator)
        num_right += task.num_right(videos, symbols)
    return num_right / (num_videos // 128 * 128)
