"""Questions about one video: its frames are decoded and watched one after the other, then answered.

Q questions, N visual tokens each, D channels of the language model.
"""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import TextStreamer

from ma_lmm.frames import even_indices, frame_times, indices_at_rate, no_frames, open_video, read_one_by_one
from ma_lmm.loading import Loaded
from ma_lmm.memory.banks import VideoMemory
from ma_lmm.prompts import Prompts
from slowfast_gta.errors import RunError


@dataclass
class Watched:
    """A video as it was watched with a list of questions."""

    questions: list[str]
    visual_tokens: Tensor  # (Q, n, D); (1, n, D) of a model whose Q-Former reads no prompt
    memory: VideoMemory
    indices: list[int]  # of the frames watched
    times_sec: np.ndarray  # when they are shown
    sec_per_frame: float
    num_repeated: int = 0  # frames that did not decode; the nearest one was watched instead

    def spans(self, question: int = 0) -> list[tuple[int, int]]:
        """The watched frames (first, last) that each entry of the memory holds: of the visual bank at the CLS token, or
        of the deepest query bank at the first query, for that question."""
        if self.memory.visual is not None:
            return self.memory.visual.spans()
        return self.memory.queries[-1].spans(0, question)

    def spans_sec(self, question: int = 0) -> list[tuple[float, float]]:
        """The same in seconds."""
        return [(float(self.times_sec[first]), float(self.times_sec[last])) for first, last in self.spans(question)]


def choose_frames(video, path: str | Path, fps: float | None, num_frames: int | None) -> tuple[list[int], np.ndarray]:
    """The frames to watch, each once, and when they are shown in seconds (of a folder of images: their numbers)."""
    if video.num_frames < 1:
        raise no_frames(path)
    if num_frames is not None:
        indices = list(dict.fromkeys(even_indices(video.num_frames, num_frames)))
        timed = video.times_sec is not None or video.fps
        times = frame_times(video, path) if timed else np.arange(video.num_frames, dtype=float)
    else:
        times = frame_times(video, path)
        indices = indices_at_rate(times, fps or 1.0)
    return indices, times[indices]


@torch.inference_mode()
def watch_video(
    loaded: Loaded,
    path: str | Path,
    questions: list[str],
    fps: float | None = None,
    num_frames: int | None = None,
    chunk: int = 8,
    progress=iter,
) -> Watched:
    """Watch the video at `path` with `questions` in mind. `chunk`: frames that go through the vision encoder at once.

    `progress`: wraps an iterator over the frames; their number is passed as `total=`.
    """
    model, device = loaded.model, loaded.model.device
    with open_video(path) as video:
        indices, times = choose_frames(video, path, fps, num_frames)
        num_tokens = model.memory_rule.num_visual_tokens(model.query_tokens.shape[1], len(indices))
        prompts = loaded.prompts.questions(questions, num_tokens).to(device)
        watcher = model.watch(len(indices), prompts.qformer_input_ids, prompts.qformer_attention_mask)
        frames = (loaded.transform(frame) for frame in read_one_by_one(video, indices))
        shown = iter(progress(frames, total=len(indices))) if progress is not iter else frames
        start = time.perf_counter()
        try:
            while chunk_pixels := list(islice(shown, chunk)):
                pixels = torch.stack(chunk_pixels).to(device, model.dtype)
                for features in model.encode_frame(pixels).last_hidden_state.split(1):
                    watcher.see(features)
            tokens, num_repeated = watcher.visual_tokens(), video.num_repeated
        except (torch.OutOfMemoryError, MemoryError):
            raise RunError(
                f"{path}: out of memory while watching. Use a smaller --memory or --chunk, fewer questions at once, or "
                "--dtype bfloat16."
            ) from None
    seconds = (time.perf_counter() - start) / len(indices)
    return Watched(questions, tokens, watcher.memory, indices, times, seconds, num_repeated)


@torch.inference_mode()
def answer(
    loaded: Loaded, watched: Watched, number: int, max_new_tokens: int = 50, num_beams: int = 1, stream: bool = False
) -> str:
    """The answer to question `number`. With `stream` it is printed as it comes, which beams cannot be."""
    tokens = watched.visual_tokens
    tokens = tokens[number : number + 1] if len(tokens) > 1 else tokens
    prompts = loaded.prompts.questions([watched.questions[number]], tokens.shape[1]).to(tokens.device)
    streamer = TextStreamer(loaded.prompts.tokenizer, skip_prompt=True, skip_special_tokens=True) if stream else None
    options = {"max_new_tokens": max_new_tokens, "num_beams": num_beams, "do_sample": False, "streamer": streamer}
    try:
        ids = generate(loaded.model, tokens, prompts, **options)
    except (torch.OutOfMemoryError, MemoryError):
        raise RunError("Out of memory while answering. Use fewer beams, or --dtype bfloat16.") from None
    return loaded.prompts.text(ids)[0]


def generate(model, visual_tokens: Tensor, prompts: Prompts, **options) -> Tensor:
    """The answers' token ids (B * num_return_sequences, L), without the prompts, for `visual_tokens` (B, n, D).

    The prompt goes in as embeddings alone, as in LAVIS: its words are then not punished by repetition_penalty, and
    lengths count the answer.
    """
    embeds = model.put_into_prompt(visual_tokens, prompts.input_ids)
    with warnings.catch_warnings():  # that the penalty leaves the prompt out, which is what is wanted
        warnings.filterwarnings("ignore", category=UserWarning, module="transformers.generation")
        return model.language_model.generate(inputs_embeds=embeds, attention_mask=prompts.attention_mask, **options)


def middle_frames(path: str | Path, spans: list[tuple[int, int]], indices: list[int]) -> Iterator[np.ndarray]:
    """The middle frame of each span of watched frames, read again: uint8 (H, W, 3)."""
    wanted = [indices[(first + last) // 2] for first, last in spans]
    with open_video(path) as video:
        yield from read_one_by_one(video, wanted)
