"""The needle: 16 noisy copies of one picture, one of them replaced by a plain colour at a random time. Which colour?

A bank that merges what is most alike keeps the one frame that differs, in 4 entries; first in, first out has
forgotten it mostly, and 4 evenly chosen frames have mostly never seen it. The model is tiny, made and trained here.

B batch, T frames, P positions.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ma_lmm.frames import FrameTransform, even_indices
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.models import VideoModel
from ma_lmm.prompts import PromptBuilder
from ma_lmm.tiny import NUM_QUERIES, tiny_model, tiny_processor
from slowfast_gta.datasets.synthetic.encoding import encode_video

NUM_FRAMES, MEMORY, IMAGE_PX = 16, 4, 14
COLOURS = {
    **{"black": (16, 16, 16), "red": (240, 16, 16), "green": (16, 240, 16), "blue": (16, 16, 240)},
    **{"yellow": (240, 240, 16), "purple": (240, 16, 240), "cyan": (16, 240, 240), "white": (240, 240, 240)},
}
WORDS = ("which", "colour", "flashes", "?", *COLOURS)
QUESTION = "which colour flashes ?"
_CELL_PX = 7  # a cell of a picture, and a patch of the vision encoder
_NOISE = 14  # of 255, at most, up or down
_FILE_SCALE = 4  # of the frames in a file: what a codec does to 14 x 14 pixels is no picture of what it does to a video
ANSWERS = "answers.json"  # beside the files: {name: colour}


@dataclass(frozen=True)
class Method:
    """One way to spend a memory of 4 frames: a rule of memory over all frames, or a few frames."""

    rule: MemoryRule
    num_frames: int = NUM_FRAMES
    visible: tuple[int, ...] = tuple(range(NUM_FRAMES))  # the frames that can reach the answer

    @property
    def ceiling(self) -> float:
        """The best possible share of right answers: seen, or guessed among the colours."""
        seen = len(self.visible) / NUM_FRAMES
        return seen + (1 - seen) / len(COLOURS)


_VISUAL = MemoryRule(length=MEMORY, query=False)
METHODS = {
    "uniform, visual bank": Method(_VISUAL, MEMORY, tuple(even_indices(NUM_FRAMES, MEMORY))),
    "fifo, visual bank": Method(
        replace(_VISUAL, update="fifo"), visible=tuple(range(NUM_FRAMES - MEMORY - 1, NUM_FRAMES))
    ),
    "compression, visual bank": Method(_VISUAL),
    "compression": Method(MemoryRule(length=MEMORY)),
}


def draw_needles(
    batch: int,
    generator: np.random.Generator,
    times: Sequence[int] = range(NUM_FRAMES),
    num_frames: int = NUM_FRAMES,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 videos (B, T, IMAGE_PX, IMAGE_PX, 3), the numbers of their colours (B,), and the frames (B,) in which they
    flash, among `times`."""
    cells = np.repeat(generator.integers(0, 256, (batch, 1, 2, 2, 3), np.int16), num_frames, axis=1)
    colours, flashes = generator.integers(len(COLOURS), size=batch), generator.choice(times, size=batch)
    cells[np.arange(batch), flashes] = np.array(list(COLOURS.values()))[colours][:, None, None]
    videos = cells.repeat(_CELL_PX, axis=2).repeat(_CELL_PX, axis=3)
    videos += generator.integers(-_NOISE, _NOISE + 1, videos.shape, np.int8)
    return videos.clip(0, 255).astype(np.uint8), colours, flashes


def write_needles(
    folder: Path, number: int, seed: int, times: Sequence[int] = range(NUM_FRAMES), num_frames: int = NUM_FRAMES
) -> dict[str, str]:
    """`number` encoded video files, needle_000.mp4 ..., and ANSWERS beside them; -> {file name: colour}."""
    folder.mkdir(parents=True, exist_ok=True)
    videos, colours, _ = draw_needles(number, np.random.default_rng((seed, 1)), times, num_frames)
    answers = {}
    for index, (frames, colour) in enumerate(zip(videos, colours, strict=True)):
        name = f"needle_{index:03d}.mp4"
        large = frames.repeat(_FILE_SCALE, axis=1).repeat(_FILE_SCALE, axis=2)
        (folder / name).write_bytes(encode_video(large, "h264"))
        answers[name] = list(COLOURS)[colour]
    (folder / ANSWERS).write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    return answers


def needle_model(seed: int, kind: str = "instructblip") -> VideoModel:
    model = tiny_model(
        kind, "llama", seed=seed, vision=32, qformer=32, image=IMAGE_PX, vocabulary=20, layers=2, dropout=0.0
    )
    return model.requires_grad_(True)


class NeedleTask:
    """Batches of needles, and what a model answers."""

    def __init__(self, model: VideoModel, method: Method):
        self.model, self.method = model, method
        processor = tiny_processor(model, WORDS)
        self._transform = FrameTransform(processor.image_processor)
        builder = PromptBuilder(processor, model.config.image_token_index, is_encoder_decoder=False)
        self._prompts = builder.with_answers([QUESTION] * len(COLOURS), list(COLOURS), NUM_QUERIES)
        self._colour_ids = torch.tensor(builder.tokenizer.convert_tokens_to_ids(list(COLOURS)))
        model.memory_rule = method.rule

    def pixels(self, videos: np.ndarray) -> Tensor:
        """(B, T, 3, IMAGE_PX, IMAGE_PX) of the frames that the method looks at."""
        chosen = videos[:, even_indices(videos.shape[1], self.method.num_frames)]
        return self._transform.normalise(torch.from_numpy(chosen).movedim(-1, 2))

    def loss(self, videos: np.ndarray, colours: np.ndarray) -> Tensor:
        return self._read(videos, colours, labels=self._prompts.labels[colours]).loss

    @torch.no_grad()
    def num_correct(self, videos: np.ndarray, colours: np.ndarray) -> int:
        """Answers whose most likely word, of all words, is the colour's."""
        logits = self._read(videos, colours).logits[:, -3]  # before the colour and EOS
        return int((logits.argmax(-1) == self._colour_ids[colours]).sum())

    def _read(self, videos: np.ndarray, colours: np.ndarray, **labels: Tensor):
        """The language model's output for prompts with answers. All frames go through the vision encoder at once,
        which learns nothing here: the same as the model's own loop, and faster."""
        model, prompts = self.model, self._prompts
        pixels = self.pixels(videos)
        with torch.no_grad():
            features = model.encode_frame(pixels.flatten(0, 1)).last_hidden_state.unflatten(0, pixels.shape[:2])
        asked = prompts.qformer_input_ids[colours] if model.reads_prompt else None
        watcher = model.watch(pixels.shape[1], asked)
        for number, states in enumerate(features.unbind(1)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and watcher.needs_gradient(number)):
                watcher.see(states)
        embeds = model.put_into_prompt(watcher.visual_tokens(), prompts.input_ids[colours])
        return model.language_model(inputs_embeds=embeds, attention_mask=prompts.attention_mask[colours], **labels)


def train_needle(
    method: Method,
    seed: int,
    num_steps: int,
    batch: int = 32,
    lr: float = 2e-3,
    kind: str = "instructblip",
    num_frames: int = NUM_FRAMES,
) -> tuple[VideoModel, dict[str, float]]:
    """Train a model of `kind` by one method on videos of `num_frames`; returns it, and what it took.

    For the first three quarters every colour flashes where the method can see it: without, the methods that mostly miss
    it need many times as long to come near their ceilings. The last quarter and the test are all frames.
    """
    torch.manual_seed(seed)
    model = needle_model(seed, kind).train()
    model.vision_model.requires_grad_(False).eval()
    task = NeedleTask(model, method)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=num_steps, pct_start=0.1)
    generator, start = np.random.default_rng(seed), time.process_time()
    for step in range(num_steps):
        times = method.visible if 4 * step < 3 * num_steps else range(num_frames)
        videos, colours, _ = draw_needles(batch, generator, times, num_frames)
        loss = task.loss(videos, colours)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
    return model.eval(), {"loss": float(loss.detach()), "cpu_sec": time.process_time() - start}


def share_right(model: VideoModel, method: Method, num_videos: int = 2048, seed: int = 10_000) -> float:
    """The share of right answers about new videos of NUM_FRAMES frames."""
    task, generator, num_correct = NeedleTask(model, method), np.random.default_rng(seed), 0
    for _ in range(num_videos // 128):
        videos, colours, _ = draw_needles(128, generator)
        num_correct += task.num_correct(videos, colours)
    return num_correct / (num_videos // 128 * 128)
