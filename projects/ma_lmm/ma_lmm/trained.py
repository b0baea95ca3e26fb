"""What MA-LMM learns, apart from the frozen base: which parameters, their files, and the authors' checkpoints.

The names in the authors' checkpoints are recalled, not checked: no file of theirs was at hand. A name or a shape that
does not fit is refused, so that nothing is ever loaded in the wrong place or left out silently.
"""

from pathlib import Path

from torch import Tensor

from ma_lmm.loading import folder_digest
from ma_lmm.models import VideoModel
from slowfast_gta.errors import WeightsError, counted
from slowfast_gta.models.weights.read import load_torch_file

TRAINED = ("qformer.", "query_tokens", "language_projection.", "frame_positions.", "vision_model.post_layernorm.")
_AUTHORS = (
    ("image_pe", "frame_positions"),
    ("ln_vision.", "vision_model.post_layernorm."),
    ("llm_proj.", "language_projection."),
    ("t5_proj.", "language_projection."),
    ("Qformer.bert.embeddings.LayerNorm.", "qformer.embeddings.layernorm."),
    ("Qformer.bert.", "qformer."),
)
_UNUSED = ("Qformer.cls.", "Qformer.bert.embeddings.position_ids", "visual_encoder.", "llm_model.", "t5_model.")


def is_trained(name: str) -> bool:
    """Whether the parameter `name` is learned (the authors' code; the paper names the Q-Former)."""
    return name.startswith(TRAINED)


def freeze_base(model: VideoModel) -> None:
    """Let learn what MA-LMM learns, and nothing else."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_trained(name))


def trained_state(model: VideoModel) -> dict[str, Tensor]:
    """The tensors that a checkpoint holds."""
    return {name: value for name, value in model.state_dict().items() if is_trained(name)}


def load_trained(model: VideoModel, file: str | Path, base: Path | None = None) -> list[str]:
    """Put the learned tensors of `file`, ours or the authors', into `model`. Returns what a user should know.

    base: the folder that `model` was loaded from; a checkpoint of ours names the one that it was trained on, and is
    refused on another, whose shapes may be the same.
    """
    content = load_torch_file(Path(file))
    if base is not None:
        _check_base(content, Path(file), base)
    state = state_in(content, Path(file))
    authors = any(name.startswith("Qformer.") for name in state)
    state, unused = convert_authors(state) if authors else (state, [])
    own = trained_state(model)
    unknown, missing = sorted(state.keys() - own.keys()), sorted(own.keys() - state.keys())
    if unknown:
        raise WeightsError(
            f"{file}: {counted(len(unknown), 'tensor')} unknown to this model, for example {unknown[0]}."
        )
    if missing:
        raise WeightsError(f"{file}: {counted(len(missing), 'learned tensor')} missing, for example {missing[0]}.")
    for name, value in state.items():
        if value.shape != own[name].shape:
            shapes = f"{tuple(value.shape)} there, {tuple(own[name].shape)} in the model"
            raise WeightsError(f"{file}: {name} has another shape: {shapes}. Was it trained on another base model?")
    model.load_state_dict(state, strict=False)
    return [f"Tensors of {file} that are not used: {len(unused)}, for example {unused[0]}."] if unused else []


def convert_authors(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Names of the authors' code (LAVIS) -> ours, and the names that are left out."""
    converted, unused = {}, []
    for name, value in state.items():
        if name.startswith(_UNUSED):
            unused.append(name)
            continue
        for theirs, ours in _AUTHORS:
            if name.startswith(theirs):
                name = ours + name[len(theirs) :]
                break
        name = "frame_positions.weight" if name == "frame_positions" else name
        converted[name.replace("attention.self.", "attention.attention.")] = value
    return converted, unused


def _check_base(content: object, file: Path, base: Path) -> None:
    trained_on = content.get("builds_on") if isinstance(content, dict) else None
    if isinstance(trained_on, dict) and trained_on and folder_digest(base) not in trained_on.values():
        raise WeightsError(
            f"{file}: it was trained on the base {', '.join(map(str, trained_on))}, and {base} has other "
            "weights or another config.json. Name the folder of the right base."
        )


def state_in(content: object, file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint's `content`, by name."""
    for key in ("model", "model_state"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{file}: it contains no table of tensors.")
    return content
