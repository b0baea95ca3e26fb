"""A folder of published weights -> a model that watches videos, with its processor: all checks, no hub, no pickle."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoProcessor, logging
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TEXT_MODELS

from ma_lmm.frames import FrameTransform
from ma_lmm.memory.rules import MemoryRule
from ma_lmm.models import Blip2ForVideo, InstructBlipForVideo, VideoModel
from ma_lmm.prompts import MAX_PROMPT_TOKENS, PromptBuilder
from slowfast_gta.errors import RunError, WeightsError, counted

MODELS = {"instructblip": InstructBlipForVideo, "blip-2": Blip2ForVideo}
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"
_BYTES_OF = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}


@dataclass
class Loaded:
    """A model, in eval mode, and what makes its inputs. `notes`: what a user should know, as sentences."""

    model: VideoModel
    processor: object
    prompts: PromptBuilder
    transform: FrameTransform
    notes: list[str]


def load_video_model(
    folder: str | Path, rule: MemoryRule, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Loaded:
    """Load `folder` as transformers saves models. Raises WeightsError, RunError (memory)."""
    folder = Path(folder)
    config = read_config(folder)
    files = weight_files(folder)
    check_room(folder, files, dtype, device)
    processor = load_processor(folder, config)
    model, notes = _load_model(folder, config, dtype)
    model.memory_rule = rule
    is_encoder_decoder = model.config.text_config.is_encoder_decoder
    longest = min(MAX_PROMPT_TOKENS, model.config.qformer_config.max_position_embeddings)
    prompts = PromptBuilder(processor, config["image_token_index"], is_encoder_decoder, longest)
    notes += _first_token_notes(config, prompts)
    try:
        return Loaded(model.to(device), processor, prompts, FrameTransform(processor.image_processor), notes)
    except torch.OutOfMemoryError:
        raise RunError(f"{folder}: the weights do not fit into the memory of {device}. Use --dtype bfloat16.") from None


def read_config(folder: Path) -> dict:
    """config.json of `folder`, of a model that can watch videos."""
    if not folder.is_dir():
        raise WeightsError(
            f"{folder}: there is no such folder. Give one that has been downloaded; nothing is downloaded here."
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{folder}: it has no config.json. It must be a model folder of transformers.") from None
    except (OSError, ValueError, RecursionError) as fault:
        raise WeightsError(f"{folder / 'config.json'}: it cannot be read ({fault}).") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in MODELS:
        text_only = (
            f"'{kind}' is a text-only model, which sees no frames" if str(kind) in TEXT_MODELS else f"'{kind}' is not"
        )
        raise WeightsError(f"{folder}: the model must be {' or '.join(MODELS)}; {text_only}.")
    if config.get("image_token_index") is None:
        raise WeightsError(
            f"{folder / 'config.json'}: image_token_index is missing: an old folder. Set it to the id of the "
            "tokenizer's <image> token, and num_query_tokens in processor_config.json."
        )
    return config


def weight_files(folder: Path) -> list[Path]:
    """The .safetensors files that hold the weights, all there."""
    index = folder / _INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as fault:
            raise WeightsError(f"{index}: it cannot be read ({fault}).") from None
        if foreign := [
            name
            for name in names
            if not isinstance(name, str) or Path(name).name != name or name in ("", "..") or "\0" in name
        ]:
            raise WeightsError(f"{index}: {foreign[0]!r} is not a file of this folder. Download the folder again.")
        files = [folder / name for name in names]
    else:
        files = [folder / _WHOLE]
    missing = [file.name for file in files if not file.is_file()]
    if missing and not index.is_file():
        pickled = [file.name for file in folder.glob("*.bin")]
        reason = f"only {pickled[0]}, which can run code when read; convert it" if pickled else "no weights in it"
        raise WeightsError(f"{folder}: there is no {_WHOLE} or {_INDEX}: {reason}.")
    if missing:
        raise WeightsError(f"{folder}: missing weight files: {len(missing)} of {len(files)}, for example {missing[0]}.")
    return files


@cache
def folder_digest(folder: Path) -> str:
    """SHA-256 of config.json and all weights of `folder`; read once by each process."""
    digest = hashlib.sha256()
    for path in (folder / "config.json", *weight_files(folder)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def check_room(folder: Path, files: list[Path], dtype: torch.dtype, device: str) -> None:
    """The weights fit into the memory that is free now: a machine that swaps, or kills, says less."""
    if not device.startswith("cpu"):
        return
    wanted = sum(_num_bytes(file, dtype.itemsize) for file in files)
    free = free_memory_bytes()
    if free is not None and wanted > free:
        raise RunError(
            f"{folder}: its weights need {wanted / 1e9:.1f} GB in {str(dtype).removeprefix('torch.')}, and "
            f"{free / 1e9:.1f} GB of memory are free. Use --dtype bfloat16, a GPU, or a smaller model."
        )


def free_memory_bytes() -> int | None:
    """What is free now, and no more than the control group allows; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    try:
        allowed = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        return min(free, allowed - int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return free


def load_processor(folder: Path, config: dict):
    """The folder's processor, which must agree with the model on the image tokens: the library does not check it."""
    try:
        with _quiet():
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as fault:
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise WeightsError(f"{folder}: its processor (tokenizer, image processor) cannot be loaded: {reason}") from None
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise WeightsError(f"{folder}: its processor has no image processor; processor_config.json is missing.")
    expected, stated = config.get("num_query_tokens", 32), getattr(processor, "num_query_tokens", None)
    if stated != expected:
        raise WeightsError(
            f"{folder}: processor_config.json says num_query_tokens {stated}, config.json {expected}. They must be "
            "equal: with fewer positions some of the visual tokens would be dropped silently."
        )
    token = str(processor.image_token)
    number = processor.tokenizer.convert_tokens_to_ids(token)
    if number != config["image_token_index"]:
        raise WeightsError(
            f"{folder}: the tokenizer's {token} has the id {number}, but config.json says image_token_index "
            f"{config['image_token_index']}. Tokenizer and model are from different folders."
        )
    return processor


def _load_model(folder: Path, config: dict, dtype: torch.dtype) -> tuple[VideoModel, list[str]]:
    try:
        with _quiet():
            model, report = MODELS[config["model_type"]].from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as fault:
        if isinstance(fault, torch.OutOfMemoryError):
            raise RunError(f"{folder}: the weights do not fit into memory. Use --dtype bfloat16.") from None
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise WeightsError(f"{folder}: its weights cannot be loaded: {reason}") from None
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise WeightsError(
            f"{folder}: its weights lack {counted(len(missing), 'tensor')} of the model, for example "
            f"{missing[0]}. They would be random numbers."
        )
    unused = sorted(report["unexpected_keys"])
    notes = [f"Tensors of {folder} that are not used: {len(unused)}, for example {unused[0]}."] if unused else []
    return model.eval(), notes


def _first_token_notes(config: dict, prompts: PromptBuilder) -> list[str]:
    if config["model_type"] != "instructblip" or config.get("text_config", {}).get("model_type") != "llama":
        return []
    first = prompts.first_token()
    if first == prompts.tokenizer.eos_token:
        return []
    return [
        f"The prompt begins with {first}. InstructBLIP with Vicuna was trained with </s> there (LAVIS sets Vicuna's "
        "BOS to it); with another token, its answers have been reported to be much worse."
    ]


def _num_bytes(file: Path, itemsize: int) -> int:
    """Bytes of a .safetensors file's tensors, floating-point ones as `itemsize` bytes a number. Reads the header."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        sizes = [(str(entry["dtype"]), entry["data_offsets"][1] - entry["data_offsets"][0]) for entry in entries]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise WeightsError(f"{file}: not a complete .safetensors file ({fault}). Download it again.") from None
    return sum(size * itemsize // _BYTES_OF.get(kind, itemsize) if "F" in kind else size for kind, size in sizes)


class _quiet:  # noqa: N801 - reads as a statement
    """Hides the library's messages about its defaults while it loads: what matters is checked and logged here."""

    def __enter__(self) -> None:
        self._level = logging.get_verbosity()
        logging.set_verbosity_error()

    def __exit__(self, *exception) -> None:
        logging.set_verbosity(self._level)
