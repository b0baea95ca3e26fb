"""The authors' checkpoints: names of weights there and here, and files in their format.

model_step{i}_last_epoch.pth (the last step: model_step{i}_best_epoch.pth) hold {"epoch", "model_state_dict",
"optimizer", "best_test_mAP"}.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from slowfast_gta.errors import WeightsError, counted
from slowfast_gta.models.weights.read import load_torch_file

from .network import ASMLoc

_ATTENTION = {"conv_query": "query", "conv_key": "key", "conv_value": "value", "conv_out": "out", "bn": "bn"}
_MODULES = {"att_branch": "attention", "snippet_cls": "classifier", "uncertainty_branch": "uncertainty"}
_SEGMENTS = {"MHSA_Intra": "intra", "MHSA_Inter": "inter"}
_THEIRS = {ours: theirs for table in (_ATTENTION, _MODULES, _SEGMENTS) for theirs, ours in table.items()}
# A checkpoint of numpy's float64 mAP names these; torch refuses every other name.
_SAFE = [np.dtype, np._core.multiarray.scalar, type(np.dtype(np.float64))]


def from_released_name(name: str) -> str | None:
    """The name here of a weight there; None for a name that is not ASM-Loc's."""
    head, _, rest = name.partition(".")
    if head == "feature_embedding":
        index, _, leaf = rest.partition(".")  # 0 for THUMOS-14; 1 for ActivityNet, after a Dropout
        return f"embed.{leaf}" if index in ("0", "1") else None
    if head in _SEGMENTS:
        layer, _, leaf = rest.partition(".")
        return f"{_SEGMENTS[head]}.{_ATTENTION[layer]}.{leaf}" if layer in _ATTENTION else None
    return f"{_MODULES[head]}.{rest}" if head in _MODULES else None


def to_released_name(name: str, embed_index: int) -> str:
    """The inverse; `embed_index`: 0 for THUMOS-14, 1 for ActivityNet."""
    head, _, rest = name.partition(".")
    if head == "embed":
        return f"feature_embedding.{embed_index}.{rest}"
    if head in _SEGMENTS.values():
        layer, _, rest = rest.partition(".")
        return f"{_THEIRS[head]}.{_THEIRS[layer]}.{rest}"
    return f"{_THEIRS[head]}.{rest}"


def load_released(network: ASMLoc, path: Path) -> None:
    """Fill `network` with the weights of a released file (or of `save_released`); all must be there, and fit."""
    network.load_state_dict(released_state(network, _read(path), path))


def released_state(network: ASMLoc, found: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights under our names, checked against what the network expects."""
    state, expected = {}, network.state_dict()
    for name, tensor in found.items():
        ours = from_released_name(name.removeprefix("module."))
        if ours is None or ours not in expected:
            raise WeightsError(
                f"{path}: this network ({_kind(network)}) has no weight {name}: check that the step and "
                "the parts switched off are those of the file."
            )
        if tensor.shape != expected[ours].shape:
            raise WeightsError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, but the network needs {tuple(expected[ours].shape)}: "
                "check the number of classes and of channels."
            )
        state[ours] = tensor
    missing = sorted(set(expected) - set(state))
    if missing:
        raise WeightsError(
            f"{path} lacks {counted(len(missing), 'weight')} of the network ({_kind(network)}), for example "
            f"{missing[0]}."
        )
    return state


def _kind(network: ASMLoc) -> str:
    return "with segments, of steps 1 and later" if network.with_segments else "base, of step 0"


def load_weights_into(network: ASMLoc, path: Path) -> list[str] | None:
    """Fill `network` from a checkpoint of this codebase (the running average where it has one) or of the authors.

    Returns the names of the classes where the file has them. All weights must be there, and fit.
    """
    with torch.serialization.safe_globals(_SAFE):
        content = load_torch_file(path)
    if "model_state_dict" in content:
        network.load_state_dict(released_state(network, content["model_state_dict"], path))
        return None
    state = content.get("ema_state") or content.get("model_state")
    if not isinstance(state, dict):
        raise WeightsError(f"{path} is neither a checkpoint of this codebase nor one of ASM-Loc's authors.")
    expected = network.state_dict()
    wrong = [n for n, t in expected.items() if n not in state or state[n].shape != t.shape]
    wrong += [n for n in state if n not in expected]
    if wrong:
        raise WeightsError(f"{path} is of another network ({wrong[0]} differs): this one is {_kind(network)}.")
    network.load_state_dict(state)
    names = content.get("class_names")
    return list(names) if isinstance(names, list) else None


def _read(path: Path) -> dict[str, Tensor]:
    with torch.serialization.safe_globals(_SAFE):
        content = load_torch_file(path)
    state = content.get("model_state_dict")
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f'{path} has no "model_state_dict": it is not a checkpoint of ASM-Loc.')
    return state


def save_released(network: ASMLoc, path: Path, epoch: int, best_test_map: float = 0.0) -> None:
    """Write the weights in the authors' format; their optimiser's state, which testing does not read, is left empty."""
    index = 1 if network.settings.embed_dropout else 0
    state = {to_released_name(name, index): tensor for name, tensor in network.state_dict().items()}
    content = {"epoch": epoch, "model_state_dict": state, "optimizer": {}, "best_test_mAP": best_test_map}
    torch.save(content, path)
