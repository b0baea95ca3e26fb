"""Text in and out: prompts with placeholders for the visual tokens, targets, labels.

[visual tokens][BOS, prompt] -> answer, EOS. The image tokens stand before BOS, as the library's processors put them.

B batch, L tokens, n visual tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slowfast_gta.errors import ConfigError, DataError, counted

IGNORED = -100  # labels that are no targets
MAX_WORDS = 50
MAX_PROMPT_TOKENS = 128
_REMOVED = str.maketrans("", "", '.!"()*#:;~')


class PromptError(DataError):
    """A prompt that does not fit the model: the wrong number of image tokens, or too many words."""


def clean_text(text: str, max_words: int = MAX_WORDS) -> str:
    """A prompt or target as the authors' code has it: lower case, without . ! " ( ) * # : ; ~, at most 50 words."""
    return " ".join(text.lower().translate(_REMOVED).split()[:max_words])


def check_image_tokens(input_ids: Tensor, image_token: int | None, num_tokens: int) -> None:
    """Each row of `input_ids` (B, L) has a placeholder for each visual token. Fewer would be filled silently, with
    another row's tokens too."""
    if image_token is None:
        raise PromptError(
            "The model's config.json has no image_token_index: an old folder. Set it to the id of the tokenizer's "
            "image token (<image>), and num_query_tokens in processor_config.json."
        )
    counts = (input_ids == image_token).sum(dim=1).tolist()
    if wrong := [count for count in counts if count != num_tokens]:
        raise PromptError(
            f"A prompt has {counted(wrong[0], 'image token')} (id {image_token}), but the model fills {num_tokens}. "
            "Processor and model disagree: num_query_tokens must be the same in processor_config.json and config.json."
        )


@dataclass
class Prompts:
    """Tokenised prompts, for the language model and for the Q-Former (which of BLIP-2 reads none), (B, L)."""

    input_ids: Tensor
    attention_mask: Tensor
    qformer_input_ids: Tensor | None
    qformer_attention_mask: Tensor | None
    labels: Tensor | None = None

    def to(self, device: torch.device | str) -> "Prompts":
        moved = {name: None if value is None else value.to(device) for name, value in vars(self).items()}
        return Prompts(**moved)


class PromptBuilder:
    """Makes token ids of words, by the tokenizers of a model's processor."""

    def __init__(
        self, processor, image_token: int, is_encoder_decoder: bool, max_prompt_tokens: int = MAX_PROMPT_TOKENS
    ):
        self.tokenizer = processor.tokenizer
        self._qformer_tokenizer = getattr(processor, "qformer_tokenizer", None)
        self._image_token = image_token
        self._is_encoder_decoder = is_encoder_decoder
        self._max_prompt_tokens = max_prompt_tokens
        if self.tokenizer.eos_token_id is None:
            raise ConfigError("The folder's tokenizer has no end-of-sentence token, so an answer would never end.")

    def questions(self, prompts: list[str], num_visual_tokens: int) -> Prompts:
        """For generation. Padded on the left for a decoder, which goes on where the prompt ends; else on the right."""
        rows = [self._prompt_ids(prompt, num_visual_tokens) for prompt in prompts]
        ids, mask = self._padded(rows, left=not self._is_encoder_decoder)
        return Prompts(ids, mask, *self._for_qformer(prompts))

    def with_answers(self, prompts: list[str], answers: list[str], num_visual_tokens: int) -> Prompts:
        """For training and scoring: `labels` (B, L) are the answers with EOS, all else is ignored (eq. 8)."""
        rows = [self._prompt_ids(prompt, num_visual_tokens) for prompt in prompts]
        targets = [self._answer_ids(answer) for answer in answers]
        if self._is_encoder_decoder:
            ids, mask = self._padded(rows)
            labels = self._padded(targets, IGNORED)[0]
        else:
            ids, mask = self._padded([row + target for row, target in zip(rows, targets, strict=True)])
            ignored = [[IGNORED] * len(row) for row in rows]
            labels = self._padded([row + target for row, target in zip(ignored, targets, strict=True)], IGNORED)[0]
        return Prompts(ids, mask, *self._for_qformer(prompts), labels)

    def check_length(self, prompt: str) -> None:
        """Raises PromptError where only a part of `prompt` would be read."""
        for tokenizer in filter(None, (self.tokenizer, self._qformer_tokenizer)):
            if (number := len(tokenizer(prompt)["input_ids"])) > self._max_prompt_tokens:
                raise PromptError(
                    f"The question {prompt[:40]!r}... has {counted(number, 'token')}, more than the limit of "
                    f"{self._max_prompt_tokens}: shorten it."
                )

    def text(self, ids: Tensor) -> list[str]:
        """The answers in generated `ids` (B, L)."""
        return [line.strip() for line in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def first_token(self) -> str | None:
        """What stands between the visual tokens and the prompt's words: LAVIS's InstructBLIP was trained with </s>."""
        first = self._prompt_ids("a", 0)
        return self.tokenizer.convert_ids_to_tokens(first[0]) if len(first) > 1 else None

    def _prompt_ids(self, prompt: str, num_visual_tokens: int) -> list[int]:
        ids = self.tokenizer(prompt, truncation=True, max_length=self._max_prompt_tokens)["input_ids"]
        if self._image_token in ids:
            raise PromptError(f"The prompt {prompt!r} contains the image token itself; leave it out.")
        return [self._image_token] * num_visual_tokens + ids

    def _answer_ids(self, answer: str) -> list[int]:
        return [*self.tokenizer(answer, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]

    def _padded(self, rows: list[list[int]], value: int | None = None, left: bool = False) -> tuple[Tensor, Tensor]:
        """Rows of unequal length -> (B, L) and their mask."""
        pad = self.tokenizer.pad_token_id if value is None else value
        pad = self.tokenizer.eos_token_id if pad is None else pad
        length = max(len(row) for row in rows)
        ids = torch.full((len(rows), length), pad)
        mask = torch.zeros(len(rows), length, dtype=torch.long)
        for number, row in enumerate(rows):
            where = slice(length - len(row), length) if left else slice(0, len(row))
            ids[number, where] = torch.tensor(row)
            mask[number, where] = 1
        return ids, mask

    def _for_qformer(self, prompts: list[str]) -> tuple[Tensor | None, Tensor | None]:
        if self._qformer_tokenizer is None:
            return None, None
        tokens = self._qformer_tokenizer(
            prompts, padding=True, truncation=True, max_length=self._max_prompt_tokens, return_tensors="pt"
        )
        return tokens["input_ids"], tokens["attention_mask"]
