"""Tiny models with random weights: for tests, for the proofs of this project, and to try the commands without weights.

2 ViT layers on 28 x 28 pixels, 4 Q-Former layers of width 24, 4 queries, a vocabulary of about a hundred words.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2Processor,
    BlipImageProcessorPil,
    InstructBlipConfig,
    InstructBlipProcessor,
    PreTrainedTokenizerFast,
)

from ma_lmm.models import Blip2ForVideo, InstructBlipForVideo, VideoModel

NUM_QUERIES = 4
WORDS = [
    *("what", "is", "which", "symbol", "shown", "in", "the", "video", "?", "a"),
    *("of", "does", "describe", "activity", "movie", "breakfast", "type", "question", "short", "answer"),
    *("coffee", "tea", "milk", "person", "dog", "cat", "red", "green", "blue", "one"),
    *("two", "three", "four", "five", "six", "seven", "eight", "zero", "left", "right"),
]
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]


def tiny_tokenizer(words: list[str] | tuple[str, ...] = tuple(WORDS)) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words: [<s>] words."""
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*_SPECIAL, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )


def tiny_model(kind: str = "instructblip", language: str = "llama", seed: int = 0, **sizes: float) -> VideoModel:
    """A model of `kind` instructblip or blip2, its language model llama or t5, in eval mode. `sizes`: image, vision,
    qformer, language (widths), vocabulary, layers and dropout (of the Q-Former)."""
    size = {"image": 28, "vision": 16, "qformer": 24, "vocabulary": 100, "layers": 4, "language": 32, "dropout": 0.1}
    size |= sizes
    vision = {
        **{"hidden_size": size["vision"], "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"image_size": size["image"], "patch_size": 7, "initializer_range": 0.05},
    }
    qformer = {
        **{"hidden_size": size["qformer"], "intermediate_size": 2 * size["qformer"], "num_attention_heads": 2},
        **{"num_hidden_layers": size["layers"], "vocab_size": size["vocabulary"], "max_position_embeddings": 64},
        **{"encoder_hidden_size": size["vision"], "initializer_range": 0.2},
        **{"hidden_dropout_prob": size["dropout"], "attention_probs_dropout_prob": size["dropout"]},
    }
    name, config_class = {
        "instructblip": (InstructBlipForVideo, InstructBlipConfig),
        "blip2": (Blip2ForVideo, Blip2Config),
    }[kind]
    config = config_class(
        vision_config=vision,
        qformer_config=qformer,
        text_config=_text_config(language, size["vocabulary"], size["language"]),
        num_query_tokens=NUM_QUERIES,
        image_token_index=_SPECIAL.index("<image>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = name(config)
        with torch.no_grad():
            model.query_tokens.normal_()
    return model.eval()


def tiny_processor(model: VideoModel, words: list[str] | tuple[str, ...] = tuple(WORDS)):
    """The processor of a tiny model."""
    image_px = model.config.vision_config.image_size
    images = BlipImageProcessorPil(size={"height": image_px, "width": image_px})
    tokenizer = tiny_tokenizer(words)
    if model.reads_prompt:
        return InstructBlipProcessor(images, tokenizer, tiny_tokenizer(words), num_query_tokens=NUM_QUERIES)
    return Blip2Processor(images, tokenizer, num_query_tokens=NUM_QUERIES)


def save_tiny(folder: Path, model: VideoModel, words: list[str] | tuple[str, ...] = tuple(WORDS)) -> Path:
    """Write a folder as published weights are: config, weights, processor."""
    model.save_pretrained(folder)
    tiny_processor(model, words).save_pretrained(folder)
    return folder


def _text_config(language: str, vocabulary: int, width: int) -> dict:
    tokens = {"vocab_size": vocabulary, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if language == "t5":
        sizes = {"d_model": width, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
        return {"model_type": "t5", "decoder_start_token_id": 0, "tie_word_embeddings": True, **tokens, **sizes}
    sizes = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {"model_type": "llama", "initializer_range": 0.2, **tokens, **sizes}
